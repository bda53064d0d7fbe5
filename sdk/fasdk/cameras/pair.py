"""Pair of cameras, color and infrared, whose frames are matched by time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from fasdk.cameras.camera import READ_TIMEOUT_MS, Camera, FrameCounts
from fasdk.cameras.gstreamer import GStreamerCamera
from fasdk.cameras.opencv import OpenCvCamera, OpenCvFile
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.errors import CameraError, EndOfStreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.registration import Rig

_log = logging.getLogger("fasdk.cameras")

# Half a period at 30 frames a second, the furthest two free-running cameras' frames can be from
# each other, and some jitter.
USUAL_SKEW_MS = 20.0

Member: TypeAlias = OpenCvCamera | OpenCvFile | GStreamerCamera


class PairCamera(Camera):
    """A color and an infrared camera; a capture holds a frame of each, taken at one moment.

    Each camera's newest frame is taken. Where the two were taken further apart than the limit, the
    older one is dropped and that camera's next one awaited, so an old frame never meets a new one.
    Cameras are matched by the times in `taken_ms`, videos by their frames' places in the video, and
    streams by their frames' arrival, which is right where both take equally long on their way.

    The two look from different places: give a rig, or the face box is scaled from color to
    infrared as if they shared one view.

    Args:
        rgb: Camera of the color frames.
        ir: Camera of the infrared frames.
        skew_ms: Greatest difference between the times of the two frames, in milliseconds.

    Raises:
        UsageError: The limit is not above 0, a camera is of the wrong modality, the two have no
            common clock, or a video loops.
    """

    def __init__(
        self,
        rgb: Member,
        ir: Member,
        *,
        skew_ms: float = USUAL_SKEW_MS,
    ) -> None:
        if not 0.0 < skew_ms <= 1000.0:
            raise UsageError(
                f"skew_ms {skew_ms:g} is no limit: give more than 0 and at most 1000, such as "
                f"{USUAL_SKEW_MS:g}"
            )
        self._cameras = {Modality.RGB: rgb, Modality.IR: ir}
        for modality, camera in self._cameras.items():
            if camera.modality is not modality:
                raise UsageError(
                    f"{camera.name} gives {camera.modality.value} and stands for "
                    f"{modality.value} in the pair: leave out its modality"
                )
        if _clock_of(rgb) != _clock_of(ir):
            raise UsageError(
                f"{rgb.name} and {ir.name} have no common clock: pair a camera with a camera, a "
                "stream with a stream, or a video with a video"
            )
        if any(isinstance(each, OpenCvFile) and each.loops for each in (rgb, ir)):
            raise UsageError(
                "a pair of videos cannot loop, since two of different lengths would drift apart: "
                "leave out loop"
            )
        self.name = f"pair of {rgb.name} and {ir.name}"
        self.counts = FrameCounts()
        self._skew_ms = skew_ms
        self._unmatched = 0
        self._said_no_rig = False
        self._closed = False

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the next two frames of one moment as a capture; see `Camera.read`.

        Raises:
            EndOfStreamError: One of two videos is over.
            CameraError: Either camera failed, or no two frames were close enough in time.
        """
        if self._closed:
            raise CameraError(f"{self.name} is closed: make a new camera")
        deadline_ms = monotonic_ms() + timeout_ms
        held: dict[Modality, tuple[Capture, float]] = {}
        closest_ms = float("inf")
        try:
            while True:
                for modality, camera in self._cameras.items():
                    if modality not in held:
                        left_ms = max(1.0, deadline_ms - monotonic_ms())
                        held[modality] = self._timed(camera, modality, left_ms)
                moments = {modality: moment for modality, (_, moment) in held.items()}
                skew_ms = abs(moments[Modality.RGB] - moments[Modality.IR])
                if skew_ms <= self._skew_ms:
                    self.counts.delivered += 1
                    return self._matched({m: capture for m, (capture, _) in held.items()}, moments)
                closest_ms = min(closest_ms, skew_ms)
                del held[min(moments, key=moments.__getitem__)]
                self._unmatched += 1
                if monotonic_ms() >= deadline_ms:
                    raise CameraError(f"{self.name} gave no two frames of one moment in time")
        except CameraError as error:
            ran_out = monotonic_ms() >= deadline_ms and not isinstance(error, EndOfStreamError)
            if ran_out and closest_ms < float("inf"):
                raise self._never_close(timeout_ms, closest_ms) from error
            raise
        finally:
            dropped = sum(camera.counts.dropped for camera in self._cameras.values())
            self.counts.dropped = self._unmatched + dropped

    def identity(self) -> str:
        """Return the names of its two cameras; see `Camera.identity`."""
        rgb, ir = (self._cameras[m].identity() for m in (Modality.RGB, Modality.IR))
        return f"pair:rgb={rgb};ir={ir}"

    def rig(self) -> Rig | None:
        """Return None, and say once that the two cameras' places are unknown; see `Camera.rig`."""
        if not self._said_no_rig:
            self._said_no_rig = True
            _log.warning(
                "%s has no rig: the face is looked for at the same place of both frames, which is "
                "right only where the cameras share one view",
                self.name,
            )
        return None

    def close(self) -> None:
        """Close both cameras."""
        self._closed = True
        try:
            self._cameras[Modality.RGB].close()
        finally:
            self._cameras[Modality.IR].close()

    def _timed(
        self, camera: Member, modality: Modality, timeout_ms: float
    ) -> tuple[Capture, float]:
        """Return a camera's next frame, and the time it is matched by, in milliseconds."""
        capture = camera.read(timeout_ms)
        if isinstance(camera, OpenCvFile):
            return capture, camera.position_ms
        return capture, capture.taken_ms[modality]

    def _matched(
        self, captures: Mapping[Modality, Capture], moments: Mapping[Modality, float]
    ) -> Capture:
        taken_ms = moments
        if isinstance(self._cameras[Modality.RGB], OpenCvFile):
            # As a camera would have taken them just now.
            late_ms = monotonic_ms() - max(moments.values())
            taken_ms = {modality: moment + late_ms for modality, moment in moments.items()}
        return Capture(
            rgb=captures[Modality.RGB].rgb,
            ir=captures[Modality.IR].ir,
            taken_ms=taken_ms,
            stamps={m: stamp for each in captures.values() for m, stamp in each.stamps.items()},
        )

    def _never_close(self, timeout_ms: float, closest_ms: float) -> CameraError:
        return CameraError(
            f"{self.name}: no two frames within {timeout_ms:.0f} ms were taken less than "
            f"{self._skew_ms:g} ms apart, the closest {closest_ms:.0f} ms; set both cameras to one "
            f"rate, or give skew_ms={closest_ms + 1.0:.0f} where the person may move for that long"
        )


def _clock_of(camera: Member) -> str:
    if isinstance(camera, OpenCvFile):
        return "place in a video"
    return "arrival" if camera.is_buffered else "exposure"
