"""What a build is asked for, whom it tells how it gets on, and what it reports."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fasdk.backends.engine import Backend
from fasdk.bundle.manifest import Precision
from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk.progress import Progress

if TYPE_CHECKING:
    from fasdk_engines.quantization.mixed_precision.request import Int8Request
    from fasdk_engines.quantization.mixed_precision.summary import Int8Summary

INT8_PRECISIONS = (Precision.INT8, Precision.INT8_FP32)


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        source: Checkpoint, or a ready ONNX file.
        out: Bundle to write.
        model: Registered model name; `READY` for a ready ONNX file.
        config: Named settings, or a JSON file; None takes the checkpoint's own, else the published.
        precision: Types of the graph.
        backend: Which plan to build along; ONNXRUNTIME builds none, None builds one where a
            TensorRT flavor is installed.
        max_batch: Largest batch of the plan's optimization profile.
        compute_capabilities: GPU generations a TensorRT-RTX plan is built for; empty takes all
            of `DEFAULT_COMPUTE_CAPABILITIES`.
        development: List of labeled captures to choose an operating point on, or None.
        sign_key: PEM file of an Ed25519 private key, or None to leave the bundle unsigned.
        preprocess: TOML file that describes a ready ONNX file; None for a checkpoint.
        required: Modalities without which a capture is refused, besides the model's own.
        int8: How to quantize, for a precision in eight bits; else None.
    """

    source: Path
    out: Path
    model: str
    config: str | None = None
    precision: Precision = Precision.FP32
    backend: Backend | None = None
    max_batch: int = 8
    compute_capabilities: tuple[str, ...] = ()
    development: Path | None = None
    sign_key: Path | None = None
    preprocess: Path | None = None
    required: tuple[Modality, ...] = ()
    int8: Int8Request | None = None

    def require_consistent(self) -> None:
        """Check what the request alone can show.

        Raises:
            UsageError: An option is out of its range, missing, or goes with another precision.
        """
        if self.max_batch < 1:
            raise UsageError(f"--max-batch is {self.max_batch}: it must be at least 1")
        if self.precision not in INT8_PRECISIONS:
            if self.int8 is not None:
                raise UsageError(
                    f"--calibration goes with --precision int8, int8-fp32 or auto: "
                    f"{self.precision.value} needs none"
                )
        elif self.int8 is None:
            raise UsageError(
                f"--precision {self.precision.value} needs --calibration LIST: captures to "
                "measure ranges on, of people the model is not judged on"
            )
        elif self.int8.search and self.development is None:
            raise UsageError(
                "--precision auto needs --development LIST: labeled captures to hold the "
                "liveness budget on"
            )


@dataclass(frozen=True)
class BuildReport:
    """What was built, and how it was shown to be right.

    Attributes:
        bundle: The file written.
        bundle_id: SHA-256 of its manifest.
        model: Model name.
        config: Its settings.
        precision: Types of the graph.
        parameters: Weights in the deployed graph.
        nodes: Nodes in the graph.
        size_bytes: Size of the bundle.
        torch_parity: Largest logit difference, published form against deployed form, in torch;
            None for a ready graph.
        graph_parity: Largest logit difference, deployed form against its FP32 graph; for a ready
            graph the largest score difference, file as given against the graph in the bundle.
        half_drift: Largest logit difference, FP32 graph against the half-precision graph with
            every operator's output rounded; None in FP32.
        half_drift_ratio: The same over the logits' standard deviation; None in FP32.
        half_max_activation: Largest magnitude of any half-precision tensor; None in FP32.
        plan: TensorRT flavor and release a plan was built with, or None.
        plan_targets: Compute capabilities it was built for; empty for this very machine.
        plan_bytes: Its size; 0 without a plan.
        operating_points: Threshold by name.
        operating_points_note: Where they come from, or why there are none.
        phase_seconds: Time by phase.
        int8: What eight bits add; None in another precision.
    """

    bundle: str
    bundle_id: str
    model: str
    config: dict[str, Any]
    precision: str
    parameters: int
    nodes: int
    size_bytes: int
    torch_parity: float | None
    graph_parity: float
    half_drift: float | None
    half_drift_ratio: float | None
    half_max_activation: float | None
    plan: str | None
    plan_targets: tuple[str, ...]
    plan_bytes: int
    operating_points: dict[str, float]
    operating_points_note: str
    phase_seconds: dict[str, float]
    int8: Int8Summary | None = None


class BuildListener(Progress, Protocol):
    """Hears how a build is getting on; `plan_progress` hears the plan compiler's own steps."""

    @property
    def plan_progress(self) -> Progress | None:
        """Who hears the plan compiler, or None."""
        ...

    def phase(self, name: str) -> None:
        """Note that the phase called `name` begins."""
        ...


@dataclass
class Phases:
    """Times the phases of one build and tells the listener.

    Attributes:
        listener: Who hears, or None.
        seconds: Time by phase that has ended.
    """

    listener: BuildListener | None
    seconds: dict[str, float] = field(default_factory=dict)
    _current: str | None = None
    _since: float = 0.0

    def start(self, name: str) -> None:
        """End the phase that runs and begin another."""
        self.stop()
        self._current, self._since = name, time.perf_counter()
        if self.listener is not None:
            self.listener.phase(name)

    def stop(self) -> None:
        """End the phase that runs."""
        if self._current is not None:
            self.seconds[self._current] = round(time.perf_counter() - self._since, 3)
        self._current = None

    def update(self, name: str, step: int, steps: int) -> None:
        """Tell how far a part of the phase is."""
        if self.listener is not None:
            self.listener.update(name, step, steps)
