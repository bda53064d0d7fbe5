"""Groups of a few captures of one visit: the unit in which drift is counted."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from fasdk.reasons import Reason
from fasdk.site.measurement import Measurement, measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.capture import Capture
    from fasdk.decision import Decision

CAPTURES = 5
"""Captures of a group."""
_MOST_GROUPS = 4  # of one visit: who stays longer says nothing new
_PAUSE_S = 2.0  # without a face, after which the next one is another visit
_MEASURED = (
    "distance_mm",
    "depth_holes",
    "highlight",
    "sharpness",
    "ir_highlight",
    "ir_sharpness",
    "agreement",
)
CODES = (
    Reason.DEPTH_UNITS,
    Reason.NO_IMAGE,
    Reason.STALE,
    Reason.NOT_NEW,
    Reason.OUT_OF_STEP,
    Reason.IR_UNLIT,
    Reason.OUT_OF_FRAME,
    Reason.TOO_CLOSE,
    Reason.TOO_FAR,
    Reason.NOT_FRONTAL,
    Reason.TOO_DARK,
    Reason.TOO_BRIGHT,
    Reason.BLURRED,
    Reason.IR_SATURATED,
    Reason.DEPTH_HOLES,
    Reason.SENSORS_DISAGREE,
)
"""Reason codes that a change of sensors, light or place can make more frequent."""


@dataclass(frozen=True)
class Observation:
    """What is kept of a capture until its group is whole: numbers, no frame.

    Attributes:
        unix_s: Time of the decision, in seconds since the Unix epoch.
        has_face: Whether a face was found.
        values: Numbers by name: "score", "latency_ms", "reliability.rgb" and measurements.
        codes: Reason codes of the decision.
    """

    unix_s: float
    has_face: bool
    values: Mapping[str, float]
    codes: frozenset[Reason]

    @classmethod
    def of(cls, capture: Capture, decision: Decision, unix_s: float) -> Observation:
        """Return the numbers of a registered capture and of its decision."""
        measured = measure(capture) if capture.face is not None else Measurement()
        return cls.of_measured(measured, decision, unix_s, has_face=capture.face is not None)

    @classmethod
    def of_measured(
        cls, measured: Measurement, decision: Decision, unix_s: float, *, has_face: bool
    ) -> Observation:
        """Return the numbers of a capture that was measured before, and of its decision."""
        found: dict[str, float | None] = {
            "score": decision.score,
            "latency_ms": decision.timings_ms.get("end_to_end"),
            **{f"reliability.{name}": value for name, value in decision.reliability.items()},
            **{name: getattr(measured, name) for name in _MEASURED},
        }
        values = {k: float(v) for k, v in found.items() if v is not None and math.isfinite(v)}
        return cls(unix_s, has_face, values, frozenset(decision.codes))


@dataclass(frozen=True)
class Group:
    """Captures of one visit taken together.

    Attributes:
        values: Median of each number over the captures that have it.
        codes: Reason codes of at least half of the captures.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    codes: frozenset[Reason] = frozenset()

    @classmethod
    def of(cls, observations: list[Observation]) -> Group:
        """Return captures as a group."""
        names = {name for each in observations for name in each.values}
        counted = Counter(code for each in observations for code in each.codes)
        return cls(
            {
                name: median(each.values[name] for each in observations if name in each.values)
                for name in names
            },
            frozenset(code for code, count in counted.items() if 2 * count >= len(observations)),
        )


class GroupMaker:
    """Maker of groups from a camera's captures in their order; only captures with a face count.

    Args:
        most_groups: Groups of one visit that are made; None for every one, as of a recording,
            whose captures follow each other without the pauses between people.
    """

    def __init__(self, most_groups: int | None = _MOST_GROUPS) -> None:
        self._most = most_groups
        self._waiting: list[Observation] = []
        self._made = 0
        self._last_s = -math.inf

    def take_in(self, observation: Observation) -> list[Group]:
        """Take in a capture, and return the groups that are whole with it."""
        if not observation.has_face:
            return []
        found = []
        if observation.unix_s - self._last_s > _PAUSE_S:
            found += self.finish()
        self._last_s = observation.unix_s
        if self._most is not None and self._made >= self._most:
            return found
        self._waiting.append(observation)
        if len(self._waiting) == CAPTURES:
            found.append(self._make())
        return found

    def finish(self) -> list[Group]:
        """End the visit, and return the group of the captures that wait."""
        found = [self._make()] if self._waiting else []
        self._made = 0
        return found

    def _make(self) -> Group:
        made, self._waiting = Group.of(self._waiting), []
        self._made += 1
        return made
