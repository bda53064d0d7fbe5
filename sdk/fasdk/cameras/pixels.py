"""Pixels as OpenCV gives them, turned into frames of a capture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Capture, DeviceStamp, Modality
from fasdk.errors import CameraError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAY_FORMATS = ("GREY", "Y8  ", "Y10 ", "Y12 ", "Y16 ")
# Read as they are for infrared: OpenCV's own conversion to color stretches the luma of YUYV, keeps
# the upper byte alone of Y16, which is empty where a camera fills 10 bits, and knows no Y12.
RAW_FORMATS = (*GRAY_FORMATS, "YUYV", "UYVY")
_LUMA_PLANE = {"YUYV": 0, "UYVY": 1}
_USUAL_SHIFTS = {"Y10 ": 2, "Y12 ": 4}


def capture_of(
    frame: NDArray[Any], modality: Modality, taken_ms: float, stamp: DeviceStamp | None = None
) -> Capture:
    """Return a capture of one frame.

    Args:
        frame: Frame of the modality.
        modality: Its modality.
        taken_ms: Its time, in milliseconds of `time.monotonic`.
        stamp: What the device wrote on it; None for nothing.
    """
    return Capture(
        rgb=frame if modality is Modality.RGB else None,
        depth=frame if modality is Modality.DEPTH else None,
        ir=frame if modality is Modality.IR else None,
        taken_ms={modality: taken_ms},
        stamps={} if stamp is None else {modality: stamp},
    )


@dataclass(frozen=True)
class PixelReader:
    """Turns one camera's arrays into frames of one modality.

    Attributes:
        modality: RGB or IR.
        name: Name of the camera in errors.
        ir_shift: Number of lowest bits to leave out of infrared levels of more than 8 bits; None
            for those of Y10 and Y12, and no other 16-bit frames.
        fourcc: Pixel format of the arrays where they come as the camera sent them, else None.
        size: (width, height) of those frames in pixels.

    Raises:
        UsageError: The modality is depth, or the shift is not within 0 to 8.
    """

    modality: Modality
    name: str
    ir_shift: int | None = None
    fourcc: str | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check modality and shift on construction."""
        if self.modality is Modality.DEPTH:
            raise UsageError("OpenCV gives no depth in millimeters: choose modality rgb or ir")
        if self.ir_shift is not None and not 0 <= self.ir_shift <= 8:
            raise UsageError(
                f"ir_shift is {self.ir_shift}, expected the bits to leave out: 2 for 10-bit "
                "infrared, 4 for 12-bit, 8 for 16-bit"
            )

    def frame(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """Return an array as a frame: uint8 [H, W, 3], red first, or uint8 [H, W] for infrared.

        Raises:
            CameraError: The array is of another kind, or gray where color was asked for.
        """
        if self.modality is Modality.IR:
            return self._infrared(array)
        if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
            import cv2

            return np.asarray(cv2.cvtColor(array, cv2.COLOR_BGR2RGB), np.uint8)
        if array.ndim == 2 or array.shape[2:] == (1,):
            raise CameraError(
                f"{self.name} gave a gray {array.dtype} frame where color was expected: for an "
                "infrared camera write modality=ir"
            )
        raise self._unknown(array)

    def _infrared(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        if self.fourcc == "Y12 " and self.size is not None and array.dtype == np.uint8:
            array = self._words(array, self.size)
        if self.fourcc in _LUMA_PLANE and array.ndim == 3 and array.shape[2] == 2:
            return np.ascontiguousarray(array[..., _LUMA_PLANE[self.fourcc]])
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.dtype == np.uint16 and array.ndim == 2:
            return self._shifted(array)
        if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
            import cv2

            return np.asarray(cv2.cvtColor(array, cv2.COLOR_BGR2GRAY), np.uint8)
        if array.dtype == np.uint8 and array.ndim == 2:
            return np.array(array)
        raise self._unknown(array)

    def _words(self, array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        width, height = size
        if array.size != 2 * width * height:
            raise self._unknown(array)
        return array.reshape(-1).view("<u2").astype(np.uint16).reshape(height, width)

    def _shifted(self, levels: NDArray[Any]) -> NDArray[np.uint8]:
        shift = self.ir_shift
        if shift is None and self.fourcc is not None:
            shift = _USUAL_SHIFTS.get(self.fourcc)
        brightest = int(levels.max(initial=0))
        if shift is None:
            raise CameraError(
                f"{self.name} gave a uint16 frame up to level {brightest}, and does not say how "
                "many bits it fills: write ir_shift=2 for 10-bit infrared, ir_shift=4 for 12-bit, "
                "ir_shift=8 for 16-bit"
            )
        if brightest >> shift > 255:
            least = next(bits for bits in range(shift, 9) if brightest >> bits <= 255)
            raise CameraError(
                f"{self.name} gave a uint16 frame up to level {brightest}, more than "
                f"ir_shift={shift} leaves room for: write ir_shift={least} or more"
            )
        return (levels >> shift).astype(np.uint8)

    def _unknown(self, array: NDArray[Any]) -> CameraError:
        return CameraError(
            f"{self.name} gave a {array.dtype} {list(array.shape)} frame, expected 8 bits with one "
            "or three channels"
        )
