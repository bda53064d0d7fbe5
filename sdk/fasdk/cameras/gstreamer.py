"""Cameras read by GStreamer: any pipeline, and CSI cameras of a Jetson."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from fasdk.cameras.camera import READ_TIMEOUT_MS
from fasdk.cameras.emitter import Emitter, LitFrames, emitter_of
from fasdk.cameras.gst_frames import SampleReader, caps_of
from fasdk.cameras.gst_library import require_gstreamer
from fasdk.cameras.gst_pipeline import PipelineText, RunningPipeline
from fasdk.cameras.identity import pipeline_identity, pipeline_nodes
from fasdk.cameras.mode import VideoMode
from fasdk.cameras.pin import CameraPin
from fasdk.cameras.pixels import capture_of
from fasdk.cameras.pump import Pump
from fasdk.cameras.pumped import PumpedCamera
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.errors import UsageError
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger("fasdk.cameras")
_START_PATIENCE_MS = 20_000.0
_LARGEST_DENOMINATOR = 1001  # 30000/1001 is 29.97


@dataclass(frozen=True)
class _Pulled:
    """A frame and its time in milliseconds of `time.monotonic`; None for a recording's."""

    frame: NDArray[Any]
    taken_ms: float | None


@dataclass(frozen=True)
class _Open:
    """A pipeline that runs, with what is known of its frames so far."""

    pipeline: RunningPipeline
    lit: LitFrames | None


class GStreamerCamera(PumpedCamera[_Pulled]):
    """A GStreamer pipeline that ends in an appsink: frames of one modality.

    A live pipeline, as every camera's is, gives its newest frame at each read; one that is not
    taken before the next one arrives is dropped. A frame is stamped with its buffer's time, which
    `PipelineClock` maps, and with its arrival where it has none. A pipeline that is not live is a
    recording: every frame comes once, in order, stamped with the time of the read, and is over at
    its end.

    An element that fails, or a live source that ends, is a fault: the next read starts the
    pipeline anew. An element below an `errorignore` may fail as long as frames come; a warning is
    logged.

    Args:
        pipeline: The pipeline as gst-launch-1.0 takes it. An appsink without caps of its own gets
            those of the modality.
        modality: Modality of the frames; depth is GRAY16_LE in millimeters.
        emitter: How the infrared emitter shines; of a flashing one only lit frames are given, and a
            warning is logged where that was found out.
        ir_shift: Number of lowest bits to leave out of infrared levels of 16 bits.
        name: Name in logs and errors; None for that of the pipeline's elements.
        pin: What the devices of its v4l2src elements must be; None for any hardware.

    Raises:
        UsageError: The text is no pipeline with one appsink, GStreamer or an element of it is not
            installed, or an emitter or a shift is given for another modality than infrared.
    """

    is_buffered = False

    def __init__(
        self,
        pipeline: str,
        *,
        modality: Modality = Modality.RGB,
        emitter: Emitter = Emitter.AUTO,
        ir_shift: int | None = None,
        name: str | None = None,
        pin: CameraPin | None = None,
    ) -> None:
        written = PipelineText.named(pipeline)
        self._written = written if name is None else PipelineText(pipeline, name)
        super().__init__(self._written.name)
        self.modality = as_choice("modality", modality, Modality)
        self._emitter = emitter_of(self.modality, emitter, ir_shift)
        self._gst = require_gstreamer()
        self._samples = SampleReader(self._gst, self.modality, self.name, ir_shift)
        self._written.parse(self._gst)
        self._stopping = threading.Event()
        self._nodes = pipeline_nodes(pipeline)
        self._pin = pin or CameraPin()

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the next frame as a capture; see `Camera.read`.

        Raises:
            EndOfStreamError: A recording is over; the read after it plays it again.
            CameraError: The pipeline does not start, an element failed, a live source ended, or
                nothing came in time. After a failure, or five seconds without a frame, the next
                read starts it again.
        """
        pulled = self._take(timeout_ms).value
        taken_ms = monotonic_ms() if pulled.taken_ms is None else pulled.taken_ms
        return capture_of(pulled.frame, self.modality, taken_ms)

    def identity(self) -> str:
        """Return the name of the device or stream it begins with; see `Camera.identity`."""
        return pipeline_identity(self._written.text)

    def close(self) -> None:
        """Stop the pipeline; one that does not stop within two seconds is left behind."""
        self._stopping.set()
        super().close()

    def _patience_ms(self, *, is_open: bool) -> float:
        # A start has a limit of its own, after which only a driver that hangs holds it.
        return super()._patience_ms(is_open=is_open) if is_open else _START_PATIENCE_MS

    def _start_pump(self) -> Pump[_Pulled]:
        self._stopping = threading.Event()
        return Pump(
            partial(self._open, self._stopping),
            self._grab,
            _release,
            self.name,
            keeps_each=_is_recording,
            stopping=self._stopping,
        )

    def _open(self, stopping: threading.Event) -> _Open:
        caps = caps_of(self.modality)
        before = [self._pin.admit(node, self.name) for node in self._nodes]
        pipeline = RunningPipeline(self._gst, self._written, caps, stopping)
        try:
            for node, found in zip(self._nodes, before, strict=True):
                self._pin.require_same(found, node, self.name)
        except BaseException:
            pipeline.close()
            raise
        _log.info("%s runs as a %s", self.name, "camera" if pipeline.is_live else "recording")
        return _Open(pipeline, LitFrames.of(self._emitter))

    def _grab(self, device: _Open) -> _Pulled | None:
        """Return the pipeline's next frame, or None where it is not to be used."""
        sample = device.pipeline.next()
        for fault in device.pipeline.collect_ignored():
            _log.warning("%s goes on after a fault below errorignore: %s", self.name, fault)
        if sample is None:
            return None
        arrived_ms = monotonic_ms()
        frame = self._samples.frame(sample)
        if device.lit is not None and not device.lit.is_used(frame, arrived_ms, self.name):
            return None
        if not device.pipeline.is_live:
            return _Pulled(frame, None)
        return _Pulled(frame, device.pipeline.taken_ms(sample, arrived_ms))


def csi_camera(
    sensor: int,
    *,
    modality: Modality = Modality.RGB,
    mode: VideoMode | None = None,
    emitter: Emitter = Emitter.AUTO,
) -> GStreamerCamera:
    """Return a camera on a Jetson's own connector, read by NVIDIA's elements.

    Args:
        sensor: Number of the sensor, from 0.
        modality: RGB, or IR for a sensor without a color filter.
        mode: Frame size and rate; what is None is left to nvarguscamerasrc.
        emitter: How the infrared emitter shines; see `GStreamerCamera`.

    Raises:
        UsageError: GStreamer or NVIDIA's elements are not installed, or the modality is depth.
    """
    if modality is Modality.DEPTH:
        raise UsageError("a CSI camera gives no depth: choose modality rgb or ir")
    pipeline = csi_pipeline(sensor, modality, mode or VideoMode())
    return GStreamerCamera(
        pipeline, modality=modality, emitter=emitter, name=f"CSI camera {sensor}"
    )


def csi_pipeline(sensor: int, modality: Modality, mode: VideoMode) -> str:
    """Return the pipeline of a sensor: NVIDIA's converter gives RGBA, or GRAY8 for infrared."""
    given = ["video/x-raw(memory:NVMM)"]
    if mode.width_px is not None:
        given += [f"width={mode.width_px}", f"height={mode.height_px}"]
    if mode.fps is not None:
        rate = Fraction(mode.fps).limit_denominator(_LARGEST_DENOMINATOR)
        given.append(f"framerate={rate.numerator}/{rate.denominator}")
    format_ = "GRAY8" if modality is Modality.IR else "RGBA"
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! {','.join(given)} ! nvvidconv ! "
        f"video/x-raw,format={format_} ! appsink"
    )


def _is_recording(device: _Open) -> bool:
    return not device.pipeline.is_live


def _release(device: _Open) -> None:
    device.pipeline.close()
