"""Engine and lane protocols that every backend implements."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk.telemetry import DeviceTimes


class Backend(str, Enum):
    """Name of a library that can run a bundle; see the table in `fasdk.backends.registry`."""

    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    OPENVINO = "openvino"


class Preprocessing(str, Enum):
    """Where the tensors of a capture are made; the bits are the same.

    AUTO is DEVICE where the backend has kernels for this GPU, and HOST elsewhere.
    """

    AUTO = "auto"
    HOST = "host"
    DEVICE = "device"


@dataclass(frozen=True)
class EngineOutputs:
    """Outputs of one engine call.

    Attributes:
        logits: Logits of the batch, float32 [B, classes].
        reliability: How typical each sensor's picture is, float32 [B, modalities] in model order,
            or None where the graph has no such output.
        device: Times of the call on a GPU, or None where they were not taken.
        certainty: Certainty of the model, float32 [B, modalities] in model order, or None where the
            graph has no such output.
    """

    logits: NDArray[np.float32]
    reliability: NDArray[np.float32] | None = None
    device: DeviceTimes | None = None
    certainty: NDArray[np.float32] | None = None

    @classmethod
    def from_named(
        cls, outputs: Mapping[str, NDArray[Any]], device: DeviceTimes | None = None
    ) -> EngineOutputs:
        """Build from a graph's outputs by name, as float32, and the call's times on a GPU.

        Raises:
            BackendError: There are no logits, or an output does not hold floating-point numbers.
        """
        if "logits" not in outputs:
            raise BackendError(
                f"the graph has outputs {', '.join(outputs) or 'none'}, expected logits: "
                "build the bundle again"
            )
        reliability, certainty = outputs.get("reliability"), outputs.get("certainty")
        return cls(
            logits=_as_float32("logits", outputs["logits"]),
            reliability=None if reliability is None else _as_float32("reliability", reliability),
            device=device,
            certainty=None if certainty is None else _as_float32("certainty", certainty),
        )

    def require(self, batch: int, shapes: Mapping[str, tuple[int]]) -> None:
        """Check that the engine answered what it was asked, row for row.

        Args:
            batch: Captures in the call.
            shapes: Shape of each output by name, without the batch axis.

        Raises:
            BackendError: An output is absent, of another dtype, or of another shape.
        """
        for name, (columns,) in shapes.items():
            _require_rows(name, getattr(self, name, None), (batch, columns))

    def rows(self, first: int = 0, step: int = 1) -> EngineOutputs:
        """Return every `step`-th row from `first` on, without the times."""
        kept = slice(first, None, step)
        return EngineOutputs(
            self.logits[kept],
            None if self.reliability is None else self.reliability[kept],
            certainty=None if self.certainty is None else self.certainty[kept],
        )


def _as_float32(name: str, values: object) -> NDArray[np.float32]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise BackendError(f"output {name} is no tensor: {error}") from error
    if array.dtype.kind != "f":
        raise BackendError(f"output {name} is {array.dtype}, expected floating point")
    return array.astype(np.float32, copy=False)


def new_rows(
    shapes: Mapping[str, tuple[int, ...]], max_batch: int
) -> dict[str, NDArray[np.float32]]:
    """Return zeroed input rows of a lane.

    Args:
        shapes: Shape of each input by name, without the batch axis.
        max_batch: Largest batch of the lane.

    Returns:
        float32 [max_batch, ...] by input name.

    Raises:
        BackendError: There is no memory for such a batch, or a shape has an extent that is not
            fixed.
    """
    if max_batch < 1:
        raise BackendError(f"a lane for batches of {max_batch}, expected at least 1")
    for name, shape in shapes.items():
        if not all(isinstance(extent, int) and extent > 0 for extent in shape):
            raise BackendError(
                f"input {name} is {['batch', *shape]}, expected fixed extents after the batch: "
                "build the bundle again"
            )
    try:
        return {name: np.zeros((max_batch, *shape), np.float32) for name, shape in shapes.items()}
    except (MemoryError, ValueError, OverflowError) as error:
        raise BackendError(
            f"no memory for a lane of batches of {max_batch}: ask for a smaller max_batch"
        ) from error


def _require_rows(name: str, values: object, shape: tuple[int, int]) -> None:
    if not isinstance(values, np.ndarray):
        raise BackendError(f"the engine returned no {name}, expected float32 {list(shape)}")
    if values.dtype != np.float32 or values.shape != shape:
        raise BackendError(
            f"the engine returned {name} {values.dtype} {list(values.shape)}, "
            f"expected float32 {list(shape)}"
        )


class Lane(Protocol):
    """One stream's worth of an engine: buffers and state of its own, one call at a time.

    Several lanes of an engine may run at once, each from its own thread. Everything is allocated
    when the lane is opened; a call allocates nothing that grows with the batch.
    """

    @property
    def max_batch(self) -> int:
        """Largest batch one call may hold."""
        ...

    @property
    def inputs(self) -> Mapping[str, NDArray[np.float32]]:
        """Float32 [max_batch, ...] by input name, page-locked where the backend has a device.

        Fill the first rows, then `run`. They may be written only while no call is under way.
        """
        ...

    def run(self, batch: int) -> EngineOutputs:
        """Run the first `batch` rows of `inputs` and return copies of what came out.

        Raises:
            BackendError: The backend failed, or the lane is closed; nothing may be used. The lane
                is fit for another call unless the device is lost.
        """
        ...

    def close(self) -> None:
        """Release the lane's memory; a second call does nothing."""
        ...


@runtime_checkable
class CaptureLane(Lane, Protocol):
    """Lane that takes captures and makes their tensors on its device.

    `inputs` and `run` work too, in turns with `put` and `run_captures`.
    """

    def put(self, capture: Capture, row: int) -> None:
        """Copy what the model sees of a capture's frames, for a row of the next call.

        Rows are put in order from 0; putting one again replaces it and drops those behind it. The
        frames are not read once this returns. It touches host memory alone, so that a device that
        hangs holds nobody up here.

        Raises:
            PreprocessError: A frame does not fit its spec; the row is then not put.
            BackendError: The lane is closed, or a row before it was not put.
        """
        ...

    def run_captures(self, batch: int) -> EngineOutputs:
        """Run the first `batch` rows that were put and return copies of what came out.

        Raises:
            BackendError: As for `run`, or a row was not put since the last call.
        """
        ...

    def tend(self) -> None:
        """Make room for captures as large as the last call's, if it had none; between calls."""
        ...


def place_of_preprocessing(engine: Engine) -> Preprocessing:
    """Return where an open engine's lanes have the tensors of captures made: HOST or DEVICE."""
    on_device = getattr(engine, "preprocessing", None) is not None
    return Preprocessing.DEVICE if on_device else Preprocessing.HOST


class Engine(Protocol):
    """A loaded graph; `run` may be called from one thread at a time, lanes each from their own.

    Attributes:
        backend: Backend that runs the engine.
        version: The backend library's own version.
        max_batch: Largest batch one call may hold, or None when the backend sets no limit.
    """

    backend: Backend
    version: str
    max_batch: int | None

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch.

        Args:
            inputs: float32 [B, 3, H, W] by modality name, normalized, same B throughout.

        Raises:
            BackendError: The backend failed; nothing it returned may be used.
        """
        ...

    def open_lane(self, max_batch: int) -> Lane:
        """Return a new lane for batches of up to `max_batch`.

        Raises:
            BackendError: The engine is closed, takes no such batch, or the device has no memory
                left for another lane.
        """
        ...

    def close(self) -> None:
        """Release the device's memory, every lane's included; a second call does nothing."""
        ...
