"""Random weights of any model from their names alone, equal in every process."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import nn


def fill(module: nn.Module, seed: int = 0) -> None:
    """Fill parameters and running statistics so that every part of a model shows in its output."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point() or "threshold" in name:
                continue
            rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
            draw = rng.standard_normal(tensor.shape)
            if name.endswith("running_var"):
                value = 1.0 + 0.1 * np.abs(draw)
            elif tensor.ndim >= 2:
                value = draw / np.sqrt(np.prod(tensor.shape[1:]))
            elif name.endswith((".weight", ".gamma", ".mult_bias")):
                value = 1.0 + 0.1 * draw
            else:
                value = 0.1 * draw
            tensor.copy_(torch.from_numpy(np.asarray(value, np.float32)))
