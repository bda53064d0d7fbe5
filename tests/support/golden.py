"""Outputs of the published implementations, with the weights and inputs that gave them.

`tests/data/golden` holds them: per model the outputs and seeds (`*.golden.npz`), and the keys and
shapes of the published state dict (`*.keys.json`). Weights and inputs are rebuilt from the seeds.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fasdk_engines.models.seeded import seeded_inputs, seeded_state_dict

DATA = Path(__file__).parents[1] / "data" / "golden"
IMAGE_SIZE = 224


class PublishedReference:
    """What one published implementation computed on seeded weights and inputs.

    Attributes:
        model: Registered name of the model.
        outputs: Arrays by name, among them logits float32 [B, 2] (index 1 is bona fide).
        shapes: Shape of every tensor of the published state dict, by key.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        with np.load(DATA / f"{model}.golden.npz", allow_pickle=False) as archive:
            self.outputs: dict[str, NDArray[np.float32]] = dict(archive)
        self.shapes: dict[str, list[int]] = json.loads((DATA / f"{model}.keys.json").read_text())

    @cached_property
    def state_dict(self) -> dict[str, Tensor]:
        """The published state dict, rebuilt from its seed."""
        weights = seeded_state_dict(self.shapes, int(self.outputs["weights_seed"]))
        return {name: torch.from_numpy(value) for name, value in weights.items()}

    def inputs(self, missing: str = "none") -> dict[str, NDArray[np.float32]]:
        """Return float32 [B, 3, 224, 224] by modality, the one called `missing` zeroed."""
        seed = int(self.outputs["inputs_seed"])
        images = seeded_inputs(int(self.outputs["batch"]), IMAGE_SIZE, seed)
        return {n: np.zeros_like(x) if n == missing else x for n, x in images.items()}
