"""Golden captures: raw frames with the logits ONNX Runtime gave for them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import BundleError


@dataclass(frozen=True, eq=False)
class GoldenCapture:
    """A capture with the answer the workstation gave, so that a device can prove itself.

    Attributes:
        capture: Raw frames of the capture.
        logits: float32 [classes], from the bundle's own graph on ONNX Runtime.
    """

    capture: Capture
    logits: np.ndarray[Any, np.dtype[np.float32]]

    def to_bytes(self) -> bytes:
        """Return the capture as an npz file of plain arrays."""
        arrays: dict[str, np.ndarray[Any, Any]] = {
            m.value: self.capture.frame(m) for m in self.capture.present
        }
        arrays["logits"] = self.logits
        if self.capture.face is not None:
            face = FaceBox.of(self.capture.face)
            arrays["face"] = np.array([face.x, face.y, face.width, face.height], np.int32)
        if self.capture.landmarks is not None:
            arrays["landmarks"] = np.asarray(self.capture.landmarks, np.float32)
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, name: str) -> GoldenCapture:
        """Read `to_bytes` back.

        Raises:
            BundleError: It is not an npz of the expected plain arrays.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name]) for name in archive.files}
            frames = {m: arrays.pop(m.value) for m in Modality if m.value in arrays}
            face, logits = arrays.pop("face", None), arrays.pop("logits")
            landmarks = arrays.pop("landmarks", None)
            if arrays:
                raise ValueError(f"it holds {', '.join(sorted(arrays))} besides")
            if logits.dtype != np.float32 or logits.ndim != 1:
                raise ValueError(f"logits are {logits.dtype} {list(logits.shape)}, not float32 [n]")
            if landmarks is not None and landmarks.dtype != np.float32:
                raise ValueError(f"landmarks are {landmarks.dtype}, not float32")
            box = None if face is None else face.tolist()
            return cls(Capture.of(frames, box, landmarks), logits)
        except Exception as error:
            raise BundleError(f"{name}: not a golden capture: {error}") from error
