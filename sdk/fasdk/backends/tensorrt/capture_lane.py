"""Lane of a TensorRT engine that makes the tensors of captures on the GPU.

The host copies what the model sees of each frame into page-locked staging. One copy takes it to the
device, kernels write every row of every input on the lane's stream, and the recorded graph follows
on that stream. A modality that draws HOG and PLGF maps, and a frame that staging has no room for,
is preprocessed on the host and uploaded as floats; the bits are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fasdk.backends.tensorrt.lane import Mark, TensorRtLane
from fasdk.backends.tensorrt.memory import SharedMemory
from fasdk.backends.tensorrt.row_kernels import (
    CaptureInputs,
    Launch,
    RowKernels,
    constant_row,
    frame_row,
    present_row,
)
from fasdk.backends.tensorrt.staging import Staging
from fasdk.errors import BackendError
from fasdk.preprocess import PRESENCE, to_tensor
from fasdk.preprocess.parts import part_of
from fasdk.preprocess.spec import DepthEncoding, depth_levels
from fasdk.telemetry import DeviceTimes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.backends.engine import EngineOutputs
    from fasdk.backends.tensorrt import api
    from fasdk.backends.tensorrt.module import TensorRt
    from fasdk.capture import Capture

# Staging of a new lane holds such a frame of each modality, a capture; larger ones make it grow.
_USUAL_FRAME_PX = 640 * 480
_LARGEST_STAGING_BYTES = 256 << 20


@dataclass(frozen=True)
class _Row:
    """One capture that was put.

    Attributes:
        launches: Kernels that write its row of the inputs.
        on_host: Inputs whose row the host wrote.
        used_bytes: Staging in use up to it.
        wanted_bytes: The same where everything had found room.
    """

    launches: tuple[Launch, ...]
    on_host: tuple[str, ...]
    used_bytes: int
    wanted_bytes: int


class CaptureTensorRtLane(TensorRtLane):
    """A `TensorRtLane` that takes captures too; see `CaptureLane`.

    Args:
        given: Arguments of `TensorRtLane`.
        kernels: Kernels of the engine, which outlive the lane.
        captures: Inputs as captures fill them.
        named: Named arguments of `TensorRtLane`.
    """

    _marked: ClassVar[tuple[Mark, ...]] = tuple(Mark)

    def __init__(
        self, *given: Any, kernels: RowKernels, captures: CaptureInputs, **named: Any
    ) -> None:
        self._kernels = kernels
        self._captures = captures
        self._rows: list[_Row] = []
        self._staging: Staging | None = None
        self._levels: dict[DepthEncoding, SharedMemory] = {}
        self._wanted_bytes = 0
        self._may_grow = True
        super().__init__(*given, **named)

    @property
    def staging_bytes(self) -> int:
        """Size of the memory that takes frames to the device."""
        return 0 if self._staging is None else self._staging.capacity_bytes

    def put(self, capture: Capture, row: int) -> None:
        """Copy what the model sees of a capture; see `CaptureLane.put`."""
        staging = self._staging
        if staging is None or not self._is_open:
            raise BackendError("the lane is closed")
        if not 0 <= row <= len(self._rows) or row >= self.max_batch:
            raise BackendError(
                f"row {row} is put after {len(self._rows)} of {self.max_batch}: put them in order"
            )
        del self._rows[row:]
        self._rows.append(self._packed(capture, row, staging))

    def run_captures(self, batch: int) -> EngineOutputs:
        """Run the rows that were put; see `CaptureLane.run_captures`."""
        try:
            return self._call(batch, from_captures=True)
        finally:
            self._wanted_bytes = max((row.wanted_bytes for row in self._rows), default=0)
            self._rows.clear()

    def tensors(self, batch: int) -> dict[str, NDArray[np.float32]]:
        """Return the inputs as the device makes them of the rows that were put, running nothing.

        Returns:
            float32 [batch, ...] by input name.

        Raises:
            BackendError: As for `run_captures`.
        """
        with self._turn, self._driver.current():
            stream = self._opened().stream
            try:
                self._upload_captures(batch)
                self._launch_rows(batch)
                for name in self._layout.inputs:
                    self._ports[name].download(self._driver, batch, stream)
            finally:
                stream.synchronize()
                self._rows.clear()
            return {name: self.inputs[name][:batch].copy() for name in self._layout.inputs}

    def tend(self) -> None:
        """Grow staging for captures as large as the last call's; see `CaptureLane.tend`."""
        staging, wanted_bytes = self._staging, self._wanted_bytes
        if staging is None or wanted_bytes <= staging.capacity_bytes or not self._may_grow:
            return
        size_bytes = 1 << (wanted_bytes - 1).bit_length()
        if size_bytes > _LARGEST_STAGING_BYTES:
            self._may_grow = False
            self._warn(
                f"captures of a batch need {wanted_bytes >> 20} MiB on the device, the limit is "
                f"{_LARGEST_STAGING_BYTES >> 20} MiB: the host preprocesses what is beyond it"
            )
            return
        with self._turn:
            if not self._is_open:
                return
            try:
                with self._driver.current():
                    grown = Staging(self._driver, size_bytes)
                    self._held[self._held.index(staging)] = grown
                    self._staging = grown
                    staging.free()
            except BackendError as error:
                self._may_grow = False
                self._warn(
                    f"staging cannot grow to {size_bytes >> 20} MiB ({error}): the host "
                    "preprocesses what does not fit"
                )

    def _open(self, trt: TensorRt, engine: api.ICudaEngine, *, graphs: bool, timed: bool) -> None:
        super()._open(trt, engine, graphs=graphs, timed=timed)
        specs = [self._captures.specs[m] for m in self._captures.on_device]
        frame_bytes = sum(_USUAL_FRAME_PX * (3 if spec.depth is None else 2) for spec in specs)
        self._staging = Staging(self._driver, self.max_batch * frame_bytes)
        self._held.append(self._staging)
        for encoding in {spec.depth: None for spec in specs if spec.depth is not None}:
            levels = depth_levels(encoding)
            memory = SharedMemory.allocate(
                self._driver, levels.shape, levels.dtype, self._held.append
            )
            np.copyto(memory.array, levels)
            memory.upload(self._driver, 0, len(levels), self._opened().stream)
            self._levels[encoding] = memory
        self._opened().stream.synchronize()  # nothing is under way once a lane is open

    def _packed(self, capture: Capture, row: int, staging: Staging) -> _Row:
        """Pack a capture into staging and return what writes its row."""
        launches: list[Launch] = []
        on_host: list[str] = []
        used_bytes, wanted_bytes = 0, 0
        if row > 0:
            used_bytes, wanted_bytes = self._rows[-1].used_bytes, self._rows[-1].wanted_bytes
        for modality, spec in self._captures.specs.items():
            out = self._row_address(modality.value, row)
            if modality not in capture.present:
                launches.append(constant_row(spec, out))
                continue
            frame, face = capture.frame(modality), capture.face_in(modality)
            landmarks = capture.landmarks_in(modality)
            place: tuple[int, int] | None = None
            if modality in self._captures.on_device:
                part = part_of(frame, face, spec, landmarks=landmarks)
                place = staging.pack(part.pixels, used_bytes)
                wanted_bytes = staging.place_of(part.pixels, wanted_bytes)[1]
                if place is not None:
                    start, used_bytes = place
                    levels = None
                    if spec.depth is not None:
                        levels = self._levels[spec.depth].device.address
                    launches.append(
                        frame_row(part, spec, frame=staging.address + start, levels=levels, out=out)
                    )
            if place is None:
                tensor = self.inputs[modality.value][row]
                to_tensor(frame, face, spec, landmarks=landmarks, out=tensor)
                on_host.append(modality.value)
        if self._captures.presence is not None:
            out = self._row_address(PRESENCE, row)
            launches.append(present_row(self._captures.presence, capture.present, out))
        return _Row(tuple(launches), tuple(on_host), used_bytes, wanted_bytes)

    def _row_address(self, name: str, row: int) -> int:
        port = self._ports[name]
        return port.device.address + row * (port.array.nbytes // self.max_batch)

    def _start(self, batch: int, *, from_captures: bool) -> None:
        """Feed the rows, then enqueue what follows them or launch its graph."""
        self._mark(Mark.BEGIN)
        if from_captures:
            self._upload_captures(batch)
        else:
            self._upload_rows(batch)
        self._mark(Mark.UPLOADED)
        if from_captures:
            self._launch_rows(batch)
        self._mark(Mark.PREPROCESSED)
        super()._start(batch, from_captures=False)

    def _enqueue(self, batch: int) -> None:
        """Enqueue what a graph holds: all that follows the inputs' rows."""
        execution = self._ready(batch)
        self._poison(batch)
        self._enqueue_execution(batch, execution)

    def _upload_captures(self, batch: int) -> None:
        stream, staging = self._opened().stream, self._staging
        if staging is None or len(self._rows) < batch:
            raise BackendError(f"{len(self._rows)} captures were put, a call asks for {batch}")
        staging.upload(self._rows[batch - 1].used_bytes, stream)
        for number, row in enumerate(self._rows[:batch]):
            for name in row.on_host:
                self._ports[name].upload(self._driver, number, number + 1, stream)

    def _launch_rows(self, batch: int) -> None:
        stream = self._opened().stream
        for row in self._rows[:batch]:
            for launch in row.launches:
                self._kernels.launch(launch, stream)

    def _times(self, elapsed_ms: tuple[float, ...]) -> DeviceTimes:
        upload_ms, preprocess_ms, engine_ms, download_ms = elapsed_ms
        return DeviceTimes(upload_ms, engine_ms, download_ms, preprocess_ms)

    def _release(self) -> None:
        super()._release()
        self._rows.clear()
        self._staging, self._levels = None, {}
