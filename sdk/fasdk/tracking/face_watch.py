"""Whether the face in front of a camera is still the one of the frame before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.capture import FaceBox
from fasdk.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.capture import Capture


@dataclass(frozen=True)
class _Region:
    """A face box in shares of its frame, so that frames of other sizes compare."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, capture: Capture) -> _Region | None:
        if capture.face is None:
            return None
        box = FaceBox.of(capture.face)
        width, height = capture.size_of(capture.present[0])
        return cls(
            box.x / width,
            box.y / height,
            (box.x + box.width) / width,
            (box.y + box.height) / height,
        )

    def overlap(self, other: _Region) -> float:
        """Return intersection over union, in [0, 1]."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(0.0, width) * max(0.0, height)
        return shared / (self._area + other._area - shared)

    @property
    def _area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


class FaceWatch:
    """Follows one camera's face by its box; it recognizes nobody.

    The face counts as another one when a frame shows none or several (reasons no-face and
    several-faces), when none was seen for longer than `lost_ms`, when the box overlaps the one
    before by less than `min_overlap`, or when only one of the two frames has a box. Without boxes,
    for models that look at whole frames, time alone tells.

    Args:
        lost_ms: Longest gap, in milliseconds.
        min_overlap: Least intersection over union of two boxes that follow each other, in [0, 1].
    """

    def __init__(self, lost_ms: float, min_overlap: float) -> None:
        self._lost_ms = lost_ms
        self._min_overlap = min_overlap
        self.forget()

    def forget(self) -> None:
        """Take whoever comes next for another."""
        self._region: _Region | None = None
        self._seen_ms: float | None = None

    def is_same(
        self, capture: Capture, codes: Sequence[Reason], at_ms: float, *, judged: bool
    ) -> bool:
        """Take in a frame and return whether it shows the face of the one before.

        Args:
            capture: The frame.
            codes: Why it was not judged, if so.
            at_ms: When it was handed in; never earlier than the frame before.
            judged: Whether it was judged; one that was not and has no box says nothing of a face.
        """
        if Reason.NO_FACE in codes or Reason.SEVERAL_FACES in codes:
            self.forget()
            return False
        same = self._seen_ms is not None and at_ms - self._seen_ms <= self._lost_ms
        if not same:
            self.forget()
        # Frames and box of a bad capture mean nothing, not even where the face is.
        region = None if Reason.BAD_CAPTURE in codes else _Region.of(capture)
        if region is None and not judged:
            return same
        before = self._region
        if region is None or before is None:
            same = same and region is before  # both None
        else:
            same = same and region.overlap(before) >= self._min_overlap
        self._region, self._seen_ms = region, at_ms
        return same
