"""Plausibility of what a device writes on its frames: its count and its own clock go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from fasdk.capture import Capture, DeviceStamp, Modality

_MOST_PER_MS = 1.0  # frames; no sensor for faces gives a thousand a second
_SLACK_FRAMES = 30.0  # that a stalled program may be handed at once
_MOST_APART_MS = 2_000.0  # of the device's clock and this machine's, over a span
_SPAN_MS = 30_000.0


@dataclass(frozen=True)
class _Seen:
    """A stamp and when its frame was handed in, in milliseconds of the track's clock."""

    stamp: DeviceStamp
    at_ms: float


class StampWatch:
    """Comparison of each stamp of one camera with the one before.

    A count goes up, and by no more than a thousand frames a second; a clock goes up too, by a
    millisecond or more, and within two seconds as far as this machine's over half a minute; and a
    sensor that has stamped its frames goes on stamping them. A camera that was connected again is
    found once, and taken as it is from then on.
    """

    def __init__(self) -> None:
        self._last: dict[Modality, _Seen] = {}
        self._first: dict[Modality, _Seen] = {}  # of the span

    def take_in(self, capture: Capture, at_ms: float) -> Finding | None:
        """Take in a frame; return the finding on a stamp that no sensor writes, or None.

        Args:
            capture: Capture of the frame; where nothing is stamped, nothing is compared.
            at_ms: Time at which it was handed in, in milliseconds of the track's clock.
        """
        wrong = None
        for modality in capture.present:
            stamp = capture.stamps.get(modality)
            before = self._last.get(modality)
            if stamp is None and before is None:
                continue
            found = None if before is None else self._wrong(modality, before, stamp, at_ms)
            if found is not None:
                wrong = wrong or f"{modality.value} {found}"
            if stamp is None:
                self._last.pop(modality)
                continue
            seen = self._last[modality] = _Seen(stamp, at_ms)
            first = self._first.get(modality)
            if found is not None or first is None or at_ms - first.at_ms > _SPAN_MS:
                self._first[modality] = seen
        if wrong is None:
            return None
        return Finding(
            Reason.DEVICE_STAMPS,
            f"{wrong}, which no sensor that runs writes: if it stays, see what stands between the "
            "camera and this program",
        )

    def _wrong(
        self, modality: Modality, before: _Seen, stamp: DeviceStamp | None, at_ms: float
    ) -> str | None:
        """Return what is wrong with a stamp after the one before, in words, or None."""
        last = before.stamp
        if stamp is None or not _goes_on(last, stamp):
            return "has no stamp any more"
        return (
            _wrong_clock(last, stamp)
            or _wrong_count(last, stamp, at_ms - before.at_ms)
            or _wrong_span(self._first.get(modality), stamp, at_ms)
        )


def _goes_on(last: DeviceStamp, stamp: DeviceStamp) -> bool:
    """Return whether a stamp has all that the one before had."""
    return not (
        (last.number is not None and stamp.number is None)
        or (last.clock_ms is not None and stamp.clock_ms is None)
    )


def _wrong_clock(last: DeviceStamp, stamp: DeviceStamp) -> str | None:
    if last.clock_ms is None or stamp.clock_ms is None:
        return None
    step_ms = stamp.clock_ms - last.clock_ms
    if not step_ms > 0.0:  # NaN is not later
        return f"has a clock that went from {last.clock_ms:.1f} to {stamp.clock_ms:.1f} ms"
    if step_ms * _MOST_PER_MS < 1.0:
        return f"has two frames within {step_ms:.2f} ms of its clock"
    return None


def _wrong_count(last: DeviceStamp, stamp: DeviceStamp, here_ms: float) -> str | None:
    if last.number is None or stamp.number is None:
        return None
    count, passed_ms = stamp.number - last.number, here_ms
    if count <= 0:
        return f"counts frame {stamp.number} after frame {last.number}"
    if last.clock_ms is not None and stamp.clock_ms is not None:
        passed_ms = stamp.clock_ms - last.clock_ms
    if count > passed_ms * _MOST_PER_MS + _SLACK_FRAMES:
        return f"counts {count} frames in {passed_ms:.0f} ms"
    return None


def _wrong_span(first: _Seen | None, stamp: DeviceStamp, at_ms: float) -> str | None:
    if first is None or first.stamp.clock_ms is None or stamp.clock_ms is None:
        return None
    passed_ms, here_ms = stamp.clock_ms - first.stamp.clock_ms, at_ms - first.at_ms
    if not abs(passed_ms - here_ms) <= _MOST_APART_MS:
        return f"has a clock that went on by {passed_ms:.0f} ms in {here_ms:.0f} ms"
    return None
