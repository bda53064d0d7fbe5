"""Face detection with YuNet, through OpenCV."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.capture import Capture, FaceBox, Modality, scaled_landmarks
from fasdk.errors import CaptureError, FaceFinderError
from fasdk.extras import require_package
from fasdk.settings import as_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_BUFFERS_SINCE = (4, 9)  # before it, OpenCV only reads a detector from a file


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """Face found in a frame.

    Attributes:
        box: Face box in whole pixels, cut to the frame.
        landmarks: float32 [5, 2], (x, y) in pixels, in the order of `Capture.landmarks`; they may
            lie outside the frame.
        score: Confidence of the detector, in [0, 1].
    """

    box: FaceBox
    landmarks: NDArray[np.float32]
    score: float


class FaceFinder:
    """YuNet (Wu et al., "YuNet: a tiny millisecond-level face detector", 2023) on the CPU.

    Calls may come from any thread; they take turns, since OpenCV's detector is not thread-safe.
    The model is OpenCV Zoo's face_detection_yunet_2023mar.onnx or the later one with any input
    size, face_detection_yunet_2026may.onnx; both want OpenCV 4.8 or newer.

    Attributes:
        model: Path the model was read from.
        sha256: SHA-256 of the bytes it runs, in hexadecimal.
        longest_side_px: Longer side in pixels to which larger frames are scaled down.
        min_score: Least score of a face, in (0, 1).
    """

    def __init__(
        self,
        model: str | Path,
        *,
        sha256: str | None = None,
        longest_side_px: int = 320,
        min_score: float = 0.7,
        max_overlap: float = 0.3,
    ) -> None:
        """Read the model and run it once.

        Args:
            model: Path of YuNet's ONNX file.
            sha256: Required SHA-256 of the file, in hexadecimal; None accepts any.
            longest_side_px: Longer side in pixels to which larger frames are scaled down; at least
                32. 320 finds faces from about a twentieth of the frame's longer side on. YuNet was
                trained on faces of up to some 300 pixels, and finds pieces of larger ones.
            min_score: Least score of a face, in (0, 1).
            max_overlap: Intersection over union, in (0, 1], above which the less certain of two
                faces is dropped.

        Raises:
            FaceFinderError: The file is unreadable, has another digest, is not a YuNet model, or
                this OpenCV cannot run it.
            PackageError: OpenCV is not installed.
            UsageError: `model` is no path.
        """
        require_package("cv2", "face detection")
        if longest_side_px < 32 or not 0.0 < min_score < 1.0 or not 0.0 < max_overlap <= 1.0:
            raise FaceFinderError(
                f"longest_side_px {longest_side_px} must be at least 32, min_score {min_score} lie "
                f"between 0 and 1, max_overlap {max_overlap} above 0 up to 1"
            )
        self.model = as_path("model", model)
        self.longest_side_px = longest_side_px
        self.min_score = min_score
        raw = _read(self.model)
        self.sha256 = hashlib.sha256(raw).hexdigest()
        if sha256 is not None and sha256.lower() != self.sha256:
            raise FaceFinderError(
                f"{self.model}: its SHA-256 is {self.sha256}, expected {sha256}: "
                "use the file with that digest, or pass the digest of this one"
            )
        self._turn = threading.Lock()
        self._detector = _open(self.model, raw, min_score, max_overlap)
        try:
            # Two sizes, since a model with a fixed input size may run on the first.
            for width, height in ((64, 64), (96, 64)):
                self._detect(np.zeros((height, width, 3), np.uint8))
        except FaceFinderError as error:
            raise FaceFinderError(f"{error}; is it a YuNet model?") from error

    def find(self, frame: NDArray[np.uint8]) -> tuple[DetectedFace, ...]:
        """Return the faces in a frame, the largest first; empty where there are none.

        Args:
            frame: uint8 [H, W, 3], red first, or uint8 [H, W], such as near infrared.

        Raises:
            CaptureError: The frame is of another dtype or shape.
            FaceFinderError: The detector failed.
        """
        import cv2

        _require_picture(frame)
        height, width = frame.shape[:2]
        scale = min(1.0, self.longest_side_px / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != (width, height):
            frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        order = cv2.COLOR_RGB2BGR if frame.ndim == 3 else cv2.COLOR_GRAY2BGR
        rows = self._detect(np.asarray(cv2.cvtColor(frame, order), np.uint8))
        back = np.array([width / size[0], height / size[1]])
        faces = [face for row in rows if (face := _face_of(row, back, (width, height))) is not None]
        return tuple(sorted(faces, key=lambda f: (-f.box.width * f.box.height, -f.score)))

    def locate(self, capture: Capture) -> Capture:
        """Return the capture with `face`, `landmarks` and `other_faces`; see `find`.

        A capture that has a face already is returned unchanged, and so is one in which none is
        found: the quality gates report that. Faces are detected in the RGB frame, else in the
        infrared one; if the depth frame is then the capture's first, they are scaled to it, as
        frames of one view.

        Raises:
            CaptureError: The capture holds neither an RGB nor an infrared frame.
            FaceFinderError: The detector failed.
        """
        if capture.face is not None:
            return capture
        seen = next((m for m in (Modality.RGB, Modality.IR) if m in capture.present), None)
        if seen is None:
            raise CaptureError(
                "the capture holds no rgb and no ir frame to find a face in: give one of them, or "
                "the face box"
            )
        faces = self.find(capture.frame(seen))
        if not faces:
            return capture
        first = capture.present[0]
        sizes = capture.size_of(seen), capture.size_of(first)
        return replace(
            capture,
            face=faces[0].box.scaled_to(*sizes),
            faces=dict(capture.faces) | ({} if seen is first else {seen: faces[0].box}),
            landmarks=scaled_landmarks(faces[0].landmarks, *sizes),
            frame_landmarks={} if seen is first else {seen: faces[0].landmarks},
            other_faces=tuple(face.box.scaled_to(*sizes) for face in faces[1:]),
        )

    def _detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return YuNet's rows, float32 [N, 15]: box, five points, score."""
        import cv2

        with self._turn:
            try:
                self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
                _, rows = self._detector.detect(bgr)
            except cv2.error as error:
                raise FaceFinderError(
                    f"{self.model}: OpenCV {cv2.__version__} failed on {bgr.shape[1]}x"
                    f"{bgr.shape[0]}: {_in_one_line(error)}"
                ) from error
        return np.empty((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)


def _read(model: Path) -> bytes:
    try:
        return read_bounded(model, FileKind.DETECTOR)
    except OSError as error:
        raise FaceFinderError(
            f"{model}: cannot be read: {error.strerror or error}: give YuNet's ONNX file"
        ) from error


def _open(model: Path, raw: bytes, min_score: float, max_overlap: float) -> Any:
    """Return OpenCV's detector, made from the same bytes whose digest was checked."""
    import cv2

    if not hasattr(cv2, "FaceDetectorYN"):
        raise FaceFinderError(
            f"OpenCV {cv2.__version__} has no FaceDetectorYN: install opencv-python 4.8 or newer"
        )
    settings = ((64, 64), min_score, max_overlap)
    version = tuple(int(part) for part in cv2.__version__.split(".")[:2])
    try:
        with _without_warnings():
            if version >= _BUFFERS_SINCE:
                data = np.frombuffer(raw, np.uint8)
                return cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), *settings)
            with tempfile.NamedTemporaryFile(suffix=".onnx") as copy:
                copy.write(raw)
                copy.flush()
                return cv2.FaceDetectorYN.create(copy.name, "", *settings)
    except cv2.error as error:
        raise FaceFinderError(
            f"{model}: OpenCV {cv2.__version__} cannot load it: {_in_one_line(error)}; is it "
            "YuNet's ONNX file, and whole?"
        ) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress OpenCV 5's warning, at every load, that its new engine takes no target."""
    import cv2

    logging: Any = getattr(cv2.utils, "logging", None)
    if logging is None:  # an older OpenCV, which does not warn
        yield
        return
    before = logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _face_of(
    row: NDArray[np.float32], back: NDArray[np.float64], size: tuple[int, int]
) -> DetectedFace | None:
    """Return a row as a face in a frame of (width, height); None if it lies outside or is NaN."""
    if not np.isfinite(row).all():
        return None
    start, length = row[0:2] * back, row[2:4] * back
    left, top = np.clip(np.rint(start), 0, size).astype(int).tolist()
    right, bottom = np.clip(np.rint(start + length), 0, size).astype(int).tolist()
    if right <= left or bottom <= top:
        return None
    points = (row[4:14].reshape(5, 2) * back).astype(np.float32)
    return DetectedFace(FaceBox(left, top, right - left, bottom - top), points, float(row[14]))


def _require_picture(frame: object) -> None:
    fits = (
        isinstance(frame, np.ndarray)
        and frame.dtype == np.uint8
        and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3))
        and 0 not in frame.shape
    )
    if not fits:
        found = (
            f"{frame.dtype} {list(frame.shape)}"
            if isinstance(frame, np.ndarray)
            else f"a {type(frame).__name__}"
        )
        raise CaptureError(f"faces are found in uint8 [H, W, 3] or [H, W], not in {found}")


def _in_one_line(error: Exception) -> str:
    """Return OpenCV's message without its banner and line breaks."""
    return " ".join(str(error).split()).rpartition("error: ")[2][:200]
