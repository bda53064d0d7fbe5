"""Number of doors that a machine serves within a deadline, predicted and measured."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fasdk.errors import UsageError
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.percentiles import calls_needed
from fasdk_tools.profiling.queue_model import queued_latencies
from fasdk_tools.profiling.target import Target
from fasdk_tools.profiling.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SERVED_P: Final = 99.0
"""A door is served where this percentile of latency is within the deadline."""
CONFIRMATIONS: Final = 5
MOST_DOORS: Final = 1_000
_PREDICTED_CALLS: Final = 1_000


class DoorPoint(Document):
    """One number of doors on the measured curve.

    Attributes:
        doors: Number of doors.
        offered_per_s: Captures a second that they send.
        predicted_p99_ms: 99th percentile by the model of the queue, in milliseconds; None where
            more captures come than the lanes can work off, so that the queue grows without end.
        measured_p99_ms: The same of a run, in milliseconds; None where calls were not decided that
            it counts.
        goodput: Share of the captures decided within the deadline.
    """

    doors: int
    offered_per_s: float
    predicted_p99_ms: float | None
    measured_p99_ms: float | None
    goodput: float


class DoorsAnswer(Document):
    """The answer to `fasdk profile --doors N --fps F --deadline MS`.

    Attributes:
        schema_version: Version of this layout.
        asked: Doors that were asked for.
        fps: Captures a second of each door.
        deadline_ms: Time from a capture's due time in which 99 % of them must be decided.
        serves: Most doors that held it in five fresh runs; 0 where not even one did. Where the time
            was over before, most doors that held it in any run.
        confirmations: Fresh runs that held that number, one after another.
        unfinished: What there was no time for; empty where the search came to its end.
        predicted: Most doors by the model of the queue, from service times alone.
        curve: Every run, by number of doors.
        meets: Whether the machine serves as many as were asked for, confirmed five times.
        seconds: Time that it took.
    """

    schema_version: Literal[1] = 1
    asked: int
    fps: float
    deadline_ms: float
    serves: int
    confirmations: int
    unfinished: tuple[str, ...]
    predicted: int
    curve: tuple[DoorPoint, ...]
    meets: bool
    seconds: float


def require_numbers(asked: int, fps: float, deadline_ms: float) -> None:
    """Check what is asked for, before anything is measured.

    Raises:
        UsageError: A number is out of its range.
    """
    if not 1 <= asked <= MOST_DOORS:
        raise UsageError(f"--doors is {asked}, expected 1 to {MOST_DOORS:,}")
    for name, value in (("--fps", fps), ("--deadline", deadline_ms)):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name} is {value:g}, expected more than 0")


def run_calls(doors: int) -> int:
    """Return the captures of one run: enough for its percentile, whatever the cameras' phases."""
    return calls_needed(SERVED_P) + doors


def find_doors(
    measure: Callable[[int, int], NDArray[np.float64]],
    service_ms: NDArray[np.float64],
    *,
    asked: int,
    fps: float,
    deadline_ms: float,
    lanes: int,
    budget: TimeBudget | None = None,
) -> DoorsAnswer:
    """Predict how many doors are served, measure around it, and confirm the answer five times.

    A number that a fresh run does not hold is lowered by one, as a found rate is in MLPerf
    Inference. The search leaves time for the confirmations, and no run begins that would end after
    the time; what is left out is said.

    Args:
        measure: Measures so many doors with at least so many calls and returns float64 [n],
            milliseconds from due time, infinite where a call was not decided.
        service_ms: float64 [n], milliseconds of an engine's calls with all lanes at work.
        asked: Doors that were asked for.
        fps: Captures a second of each door.
        deadline_ms: Deadline in milliseconds.
        lanes: Lanes of the session.
        budget: Time for all runs; None for the usual one from now on.

    Raises:
        UsageError: A number is out of its range.
    """
    require_numbers(asked, fps, deadline_ms)
    curve = _Curve(measure, service_ms, fps, deadline_ms, lanes, budget or TimeBudget())
    predicted = _most(curve.is_predicted, 1, MOST_DOORS)
    serves, confirmed, unfinished = 0, 0, []
    try:
        serves = curve.measured_most(max(1, predicted))
    except _TimeOverError as over:
        unfinished.append(str(over))
        serves = curve.most_held()
    try:
        while serves:
            confirmed = 0
            while confirmed < CONFIRMATIONS and curve.is_confirmed(serves):
                confirmed += 1
            if confirmed == CONFIRMATIONS:
                break
            serves -= 1
    except _TimeOverError as over:
        unfinished.append(str(over))
        if not confirmed:
            serves = curve.most_held()
    return DoorsAnswer(
        asked=asked,
        fps=fps,
        deadline_ms=deadline_ms,
        serves=serves,
        confirmations=confirmed if serves else 0,
        unfinished=tuple(unfinished),
        predicted=predicted,
        curve=tuple(sorted(curve.points, key=lambda point: point.doors)),
        meets=serves >= asked and confirmed == CONFIRMATIONS,
        seconds=curve.budget.spent_s,
    )


class _TimeOverError(Exception):
    """A run that there is no time for."""


class _Curve:
    """Doors against latency, by the model and by runs.

    Attributes:
        points: Every run so far.
        budget: Time for all runs.
    """

    def __init__(
        self,
        measure: Callable[[int, int], NDArray[np.float64]],
        service_ms: NDArray[np.float64],
        fps: float,
        deadline_ms: float,
        lanes: int,
        budget: TimeBudget,
    ) -> None:
        self.points: list[DoorPoint] = []
        self.budget = budget
        self._held: defaultdict[int, list[bool]] = defaultdict(list)
        self._measure, self._service_ms = measure, service_ms
        self._fps, self._deadline_ms, self._lanes = fps, deadline_ms, lanes

    def is_predicted(self, doors: int) -> bool:
        """Whether the model says that so many doors are served."""
        return self._predicted_p99_ms(doors) <= self._deadline_ms

    def is_held(self, doors: int) -> bool:
        """Measure so many doors and return whether they are served.

        Raises:
            _TimeOverError: There is no time for it and for confirming what is held.
        """
        self._require_time(doors, CONFIRMATIONS * self._run_s(self.most_held() or doors))
        return self._measured(doors)

    def is_confirmed(self, doors: int) -> bool:
        """Measure so many doors once more and return whether they are served.

        Raises:
            _TimeOverError: There is no time for it.
        """
        self._require_time(doors, 0.0)
        return self._measured(doors)

    def most_held(self) -> int:
        """Return the most doors that every run of them held, below any that one did not."""
        failed = min((doors for doors, held in self._held.items() if not all(held)), default=None)
        return max((doors for doors in self._held if failed is None or doors < failed), default=0)

    def measured_most(self, first: int) -> int:
        """Return the most doors that one run held, searched from a first guess; 0 for none."""
        if not self.is_held(first):
            return _most(self.is_held, 1, first - 1)
        step, held = max(1, first // 4), first
        while held + step <= MOST_DOORS and self.is_held(held + step):
            held, step = held + step, 2 * step
        return max(held, _most(self.is_held, held + 1, min(held + step - 1, MOST_DOORS)))

    def _measured(self, doors: int) -> bool:
        target = self._target(doors)
        latencies = self._measure(doors, run_calls(doors))
        figure = target.figure_ms(latencies)
        predicted = self._predicted_p99_ms(doors)
        self.points.append(
            DoorPoint(
                doors=doors,
                offered_per_s=target.rate_per_s,
                predicted_p99_ms=predicted if math.isfinite(predicted) else None,
                measured_p99_ms=figure if math.isfinite(figure) else None,
                goodput=float(np.mean(latencies <= self._deadline_ms)),
            )
        )
        self._held[doors].append(target.is_met(latencies))
        return self._held[doors][-1]

    def _run_s(self, doors: int) -> float:
        """Return how long a run takes: its captures arrive, and are worked off."""
        calls = run_calls(doors)
        work_s = calls * float(self._service_ms.mean()) / self._lanes / 1e3
        return max(calls / (doors * self._fps), work_s)

    def _require_time(self, doors: int, beside_s: float) -> None:
        run_s = self._run_s(doors)
        if not self.budget.has(run_s + beside_s):
            noun = "door" if doors == 1 else "doors"
            beside = f", and {beside_s:.0f} s to confirm what it shows" if beside_s else ""
            raise _TimeOverError(
                f"a run of {doors} {noun} takes {run_s:.0f} s{beside}: "
                f"{max(0.0, self.budget.left_s):.0f} of {self.budget.seconds:.0f} s were left"
            )

    def _target(self, doors: int) -> Target:
        return Target(SERVED_P, self._deadline_ms, doors * self._fps)

    def _predicted_p99_ms(self, doors: int) -> float:
        """Return the model's figure: cameras out of step, service times as measured.

        Infinite where more captures come than are worked off: the model's captures alone would be
        over before the queue is long.
        """
        if doors * self._fps * float(self._service_ms.mean()) > 1e3 * self._lanes:
            return math.inf
        rng = np.random.default_rng(0)
        frames = math.ceil(_PREDICTED_CALLS / doors)
        phases = rng.uniform(0.0, 1.0, doors)
        due_ms = np.sort((np.arange(frames)[:, None] + phases).ravel()) * 1e3 / self._fps
        drawn = iter(rng.choice(self._service_ms, len(due_ms)).tolist())
        latencies = queued_latencies(due_ms, lambda _: next(drawn), lanes=self._lanes)
        return self._target(doors).figure_ms(latencies)


def _most(holds: Callable[[int], bool], least: int, most: int) -> int:
    """Return the largest number in a range that holds, by bisection; `least` - 1 for none."""
    while least <= most:
        middle = (least + most) // 2
        if holds(middle):
            least = middle + 1
        else:
            most = middle - 1
    return most
