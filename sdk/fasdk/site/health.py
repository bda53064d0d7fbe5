"""Health of a door: counts of what its captures show, and what has moved since commissioning."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasdk.site.baseline import Baseline, Event, Side
from fasdk.site.change import FALSE_ALARMS, HORIZON, ChangeTest
from fasdk.site.groups import CAPTURES, Group, GroupMaker, Observation

if TYPE_CHECKING:
    from fasdk.decision import Decision

_BINS = 20
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LATENCY_BASE = 1.25  # latencies are counted in bins of 25 %
_MEANINGS = {
    ("sharpness", Side.LOW): "the color picture lost detail: a fogged, dirty or unfocused lens",
    ("ir_sharpness", Side.LOW): "the infrared picture lost detail: a fogged or dirty lens",
    ("highlight", Side.LOW): "the light on faces is darker",
    ("highlight", Side.HIGH): "the light on faces is brighter",
    ("ir_highlight", Side.LOW): "infrared is darker: a dim or dead emitter",
    ("ir_highlight", Side.HIGH): "infrared is brighter: sunlight, or another emitter",
    ("agreement", Side.LOW): "a sensor shows the face elsewhere: it was moved or turned",
    ("distance_mm", Side.LOW): "depth is nearer: people stand nearer, or depth was shifted",
    ("distance_mm", Side.HIGH): "depth is further: people stand further, or depth was shifted",
    ("depth_holes", Side.HIGH): "depth has more holes: a dirty sensor, a dim emitter, or glare",
    ("score", Side.LOW): "scores are lower",
    ("score", Side.HIGH): "scores are higher",
    ("latency_ms", Side.HIGH): "decisions take longer",
}


@dataclass(frozen=True)
class Moved:
    """Something that has moved.

    Attributes:
        event: What became more frequent than it may be.
        group: Number of the group of captures at which that was certain, from 1.
        capture: Number of the capture, likewise.
        meaning: What it means, in words.
    """

    event: Event
    group: int
    capture: int
    meaning: str


class HealthMonitor:
    """Counts of one camera's captures, and tests against a baseline; no frame is kept.

    A group of up to five captures of a visit counts once: the median of each number, and each
    reason that half of them have. The tests alarm falsely with a probability of at most
    `FALSE_ALARMS` within `HORIZON` groups, all together, as long as the baseline's bounds hold
    (see `Baseline.risk`) and visits come as independently of each other as those it was made of.

    Attributes:
        captures: Captures that were taken in.
        groups: Groups that were made of them.
        moved: What has moved so far.

    Args:
        baseline: What is usual.
        is_recording: Whether the captures are a recording's, which follow each other without the
            pauses between people.
    """

    def __init__(self, baseline: Baseline, *, is_recording: bool = False) -> None:
        self.captures = self.groups = 0
        self.moved: list[Moved] = []
        self._baseline = baseline
        self._maker = GroupMaker(None) if is_recording else GroupMaker()
        self._tests = [
            (event, ChangeTest(event.bound, len(baseline.events))) for event in baseline.events
        ]
        self._seen: Counter[str] = Counter()
        self._happened: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._bins: dict[str, Counter[int]] = {}

    def take_in(self, decision: Decision, observation: Observation) -> tuple[Moved, ...]:
        """Take in a capture's decision and numbers, and return what is found to have moved."""
        self._count(decision.verdict.value)
        self._codes.update(code.value for code in decision.codes)
        return self.take_in_numbers(observation)

    def take_in_numbers(self, observation: Observation) -> tuple[Moved, ...]:
        """Take in a capture's numbers alone, as a simulation has them; see `take_in`."""
        self.captures += 1
        for name, value in observation.values.items():
            if name in {"score", "latency_ms"} or name.startswith("reliability."):
                self._bins.setdefault(name, Counter())[_bin(name, value)] += 1
        found = [new for group in self._maker.take_in(observation) for new in self._test(group)]
        self.moved += found
        return tuple(found)

    def camera_fault(self, decision: Decision) -> None:
        """Count a decision without a capture."""
        self._count(decision.verdict.value)
        self._codes.update(code.value for code in decision.codes)

    def document(self) -> dict[str, Any]:
        """Return the counts and what has moved, as JSON takes it."""
        return {
            "captures": self.captures,
            "groups": self.groups,
            "captures_in_a_group": CAPTURES,
            "verdicts": dict(sorted(self._verdicts.items())),
            "codes": dict(self._codes.most_common()),
            "quantiles": {
                name: {str(share): _quantile(name, bins, share) for share in _QUANTILES}
                for name, bins in sorted(self._bins.items())
            },
            "baseline": {"groups": self._baseline.groups, "risk": self._baseline.risk},
            "false_alarms": {"probability": FALSE_ALARMS, "within_groups": HORIZON},
            "watched": [
                {
                    "name": event.id,
                    "limit": event.limit,
                    "usual_share_at_most": event.bound,
                    "share": self._happened[event.id] / self._seen[event.id]
                    if self._seen[event.id]
                    else None,
                    "moved_at_group": test.at,
                }
                for event, test in self._tests
            ],
            "moved": [
                {
                    "name": each.event.id,
                    "at_capture": each.capture,
                    "at_group": each.group,
                    "meaning": each.meaning,
                }
                for each in self.moved
            ],
        }

    def _count(self, verdict: str) -> None:
        self._verdicts[verdict] += 1

    def _test(self, group: Group) -> list[Moved]:
        self.groups += 1
        found = []
        for event, test in self._tests:
            if event.side is None:
                happened = any(code.value == event.name for code in group.codes)
            elif event.name in group.values:
                happened = event.is_in(group.values[event.name])
            else:
                continue
            self._seen[event.id] += 1
            self._happened[event.id] += happened
            was_known = test.at is not None
            if test.take_in(happened) and not was_known:
                found.append(Moved(event, self.groups, self.captures, meaning_of(event)))
        return found


def meaning_of(event: Event) -> str:
    """Return what it means that an event became frequent, in words."""
    if event.side is None:
        return f"more captures are turned away: {event.name}"
    if event.name.startswith("reliability."):
        sensor = event.name.partition(".")[2]
        return f"pictures of {sensor} are unlike those the bundle was built on"
    return _MEANINGS.get((event.name, event.side), f"{event.name} is {event.side.value}er")


def _bin(name: str, value: float) -> int:
    if name == "latency_ms":
        return round(math.log(max(value, 0.01), _LATENCY_BASE))
    return min(max(int(value * _BINS), 0), _BINS - 1)


def _quantile(name: str, bins: Counter[int], share: float) -> float:
    """Return the middle of the bin that holds a quantile."""
    left = share * sum(bins.values())
    for place in sorted(bins):
        left -= bins[place]
        if left <= 0.0:
            break
    return _LATENCY_BASE**place if name == "latency_ms" else (place + 0.5) / _BINS
