"""Models of a proof: their modules, and their bundles and half-precision answers, made once.

Weights are seeded: those of the published implementations' golden answers, or random ones for the
small settings of a dry run. Bundles hold golden captures and no operating point.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from setting import ROOT

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import Manifest, ModelInfo, Precision, Provenance
from fasdk.bundle.members import CALIBRATION, EVALUATION, GRAPH
from fasdk.preprocess import to_batch
from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.build.captures import GOLDEN_COUNT
from fasdk_engines.build.golden import GOLDEN_TOLERANCE
from fasdk_engines.graph.captures import seeded_captures
from fasdk_engines.graph.emulation import emulate_fp16
from fasdk_engines.graph.export import export_graph
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.models.checkpoint import Checkpoint, load_into
from fasdk_engines.models.registry import get_family
from fasdk_engines.quantization import Quantizer
from fasdk_engines.quantization.graph.qdq_reference import QdqReferenceRunner
from fasdk_engines.quantization.quantizer import default_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from setting import Setting, Sizes
    from torch import nn

    from fasdk.capture import Capture
    from fasdk_engines.models.base import Family, ModelConfig

PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)
LARGEST_BATCH = 8
_SEED = 2
_SOURCES = ("sdk", "calibration", "engines")


@dataclass(frozen=True)
class ProofModel:
    """One model of a proof.

    Attributes:
        name: Registered name.
        sizes: Sizes of the proof, with the name of the settings.
        folder: Folder of what is made once; another one for other code.
    """

    name: str
    sizes: Sizes
    folder: Path

    @classmethod
    def of(cls, name: str, setting: Setting) -> ProofModel:
        """Return a model of a proof."""
        return cls(name, setting.sizes, setting.work / f"{setting.sizes.config}-{_code_digest()}")

    @property
    def family(self) -> Family:
        """The model's family."""
        return get_family(self.name)

    @property
    def config(self) -> ModelConfig:
        """The model's settings."""
        return self.family.configs[self.sizes.config]

    def bundle(self, precision: Precision) -> Path:
        """Return where the bundle of a precision is kept."""
        return self.folder / f"{self.name}.{precision.value}.fasb"

    @property
    def answers(self) -> Path:
        """File of the float32 logits and the emulated half-precision logits."""
        return self.folder / f"{self.name}.npz"

    def missing(self, precisions: tuple[Precision, ...]) -> list[Path]:
        """Return what `prepare` has yet to make."""
        wanted = [self.answers, *(self.bundle(each) for each in precisions)]
        return [path for path in wanted if not path.is_file()]

    def deployed(self) -> nn.Module:
        """Return the deployed form, float32, on the CPU."""
        import torch

        module = self.family.build(self.config).eval()
        if self.sizes.config == "full":
            measuring = import_module("measuring")
            seeded = import_module("fasdk_engines.models.seeded")
            seed = int(measuring.golden_outputs(self.name)["weights_seed"])
            weights = seeded.seeded_state_dict(measuring.published_shapes(self.name), seed)
            tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
            load_into(module, Checkpoint(Path(self.name), "0" * 64, tensors), self.family)
        else:
            import_module("support.random_weights").fill(module)
        return module.deployed().eval()

    @cached_property
    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Captures as the graph takes them, float32 [LARGEST_BATCH, ...] by input name."""
        tensors = self.family.example_inputs(self.config, LARGEST_BATCH, seed=_SEED)
        return {
            name: tensor.numpy()
            for name, tensor in zip(self.family.input_names, tensors, strict=True)
        }

    def prepare(self, precisions: tuple[Precision, ...]) -> None:
        """Make the bundles of these precisions, and the half-precision answers.

        Raises:
            FasdkError: The model cannot be exported, converted or quantized.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        family, module = self.family, self.deployed()
        parameters = sum(each.numel() for each in module.parameters())
        graph = export_graph(module, family, self.config)
        del module  # a full model's weights are there in several forms already
        half = convert(graph, Precision.FP16, islands_matching(graph, family.float32_islands))
        captures = seeded_captures(family.modalities, GOLDEN_COUNT)
        for precision in precisions:
            written, logits = self._typed(precision, graph, half, captures)
            self._write(precision, written, parameters, captures, logits)
        few = {name: rows[: self.sizes.half_captures] for name, rows in self.inputs.items()}
        report = emulate_fp16(half, [few], OnnxRuntimeEngine(graph).run(few).logits)
        np.savez(self.answers, float32=report.reference_logits, emulated=report.logits)

    def _typed(
        self, precision: Precision, graph: bytes, half: bytes, captures: list[Capture]
    ) -> tuple[bytes, NDArray[np.float32]]:
        """Return the graph of a precision and its logits on the golden captures."""
        batch = self._batch_of(captures)
        if precision is not Precision.INT8:
            typed = half if precision is Precision.FP16 else graph
            return typed, OnnxRuntimeEngine(typed).run(batch).logits
        quantizer = Quantizer.prepare(
            graph,
            [batch],
            self.family.preprocess(self.config),
            precision=Precision.INT8,
            float32_islands=self.family.float32_islands,
            # It takes long and changes codes of weights, not what a call costs.
            options=replace(default_options(Precision.INT8, RangeMethod.MSE), gptq=False),
        )
        quantized = quantizer.write()
        return quantized, QdqReferenceRunner(quantized).logits(batch)

    def _batch_of(self, captures: list[Capture]) -> dict[str, NDArray[np.float32]]:
        specs = self.family.preprocess(self.config)
        return to_batch(captures, specs, self.family.presence_order)

    def _write(
        self,
        precision: Precision,
        graph: bytes,
        parameters: int,
        captures: list[Capture],
        logits: NDArray[np.float32],
    ) -> None:
        family = self.family
        manifest = Manifest(
            product=self.name,
            model=ModelInfo(
                family=self.name,
                config=self.config.model_dump(mode="json"),
                parameters=parameters,
                published_in=family.published_in,
            ),
            modalities=family.modalities,
            required=family.required,
            inputs=family.preprocess(self.config),
            labels=family.labels,
            live_index=family.live_index,
            reliability=False,
            certainty=family.has_certainty,
            presence=family.takes_presence,
            precision=precision,
            operating_points=(),
            operating_points_note="weights are seeded: this bundle proves an engine and no face",
            max_batch=LARGEST_BATCH,
            golden_tolerance=GOLDEN_TOLERANCE,
            provenance=Provenance(checkpoint_sha256="0" * 64, tools={}),
        )
        members = {GRAPH: graph, EVALUATION: json.dumps({"captures": 0}).encode()}
        if precision is Precision.INT8:
            members[CALIBRATION] = import_module("support.tiny_bundle").calibration_json()
        members |= {
            f"golden/{number}.npz": GoldenCapture(capture, row).to_bytes()
            for number, (capture, row) in enumerate(zip(captures, logits, strict=True))
        }
        write_bundle(self.bundle(precision), manifest, members)


def _code_digest() -> str:
    """Return a short digest of the sources that what is kept depends on."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> Iterator[Path]:
    yield Path(__file__)
    for folder in _SOURCES:
        yield from sorted((ROOT / folder).rglob("*.py"))


def golden_cases(name: str) -> list[Any]:
    """Return a full model's published answers at its default settings; see `tools/verify`."""
    return [case for case in import_module("models").golden_cases(name) if not case.config]
