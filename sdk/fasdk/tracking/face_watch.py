"""Continuity of the face in front of a camera, from its box."""

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
    """Face box in fractions of its frame, so that frames of different sizes compare."""

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
    """Tracks the face of one camera by its box, without recognizing it.

    The face counts as another one when a frame shows none or several (reasons no-face and
    several-faces), when none was seen for longer than `lost_ms`, when the box overlaps the one
    before by less than `min_overlap`, or when only one of the two frames has a box. Without boxes,
    for models that use whole frames, only the time counts.

    Args:
        lost_ms: Longest gap between two frames with a face, in milliseconds.
        min_overlap: Least intersection over union of two boxes that follow each other, in [0, 1].
    """

    def __init__(self, lost_ms: float, min_overlap: float) -> None:
        self._lost_ms = lost_ms
        self._min_overlap = min_overlap
        self.forget()

    def forget(self) -> None:
        """Treat the next face as another one."""
        self._region: _Region | None = None
        self._seen_ms: float | None = None

    def is_same(
        self, capture: Capture, codes: Sequence[Reason], at_ms: float, *, is_scored: bool
    ) -> bool:
        """Take in a frame and return whether it shows the face of the one before.

        Args:
            capture: Capture of the frame.
            codes: Reasons for which it was not scored; empty where it was.
            at_ms: Time of submission, in milliseconds; never earlier than the frame before.
            is_scored: Whether it was scored; a frame that was not and has no box is no evidence
                about a face.
        """
        if Reason.NO_FACE in codes or Reason.SEVERAL_FACES in codes:
            self.forget()
            return False
        same = self._seen_ms is not None and at_ms - self._seen_ms <= self._lost_ms
        if not same:
            self.forget()
        # The frames of a bad capture are not to be relied on, nor is its face box.
        region = None if Reason.BAD_CAPTURE in codes else _Region.of(capture)
        if region is None and not is_scored:
            return same
        before = self._region
        if region is None or before is None:
            same = same and region is before  # both None
        else:
            same = same and region.overlap(before) >= self._min_overlap
        self._region, self._seen_ms = region, at_ms
        return same
