"""Number of doors that a machine serves within a deadline, predicted and measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fasdk.errors import UsageError
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.queue_model import queued_latencies
from fasdk_tools.profiling.target import Target

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
        predicted_p99_ms: 99th percentile by the model of the queue, in milliseconds.
        measured_p99_ms: The same of a run, in milliseconds; None where calls were not decided that
            it counts.
        goodput: Share of the captures decided within the deadline.
    """

    doors: int
    offered_per_s: float
    predicted_p99_ms: float
    measured_p99_ms: float | None
    goodput: float


class DoorsAnswer(Document):
    """The answer to `fasdk profile --doors N --fps F --deadline MS`.

    Attributes:
        schema_version: Version of this layout.
        asked: Doors that were asked for.
        fps: Captures a second of each door.
        deadline_ms: Time from a capture's due time in which 99 % of them must be decided.
        serves: Most doors that held it in five fresh runs; 0 where not even one did.
        predicted: Most doors by the model of the queue, from service times alone.
        curve: Every run, by number of doors.
        meets: Whether the machine serves as many as were asked for.
    """

    schema_version: Literal[1] = 1
    asked: int
    fps: float
    deadline_ms: float
    serves: int
    predicted: int
    curve: tuple[DoorPoint, ...]
    meets: bool


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


def find_doors(
    measure: Callable[[int, int], NDArray[np.float64]],
    service_ms: NDArray[np.float64],
    *,
    asked: int,
    fps: float,
    deadline_ms: float,
    lanes: int,
) -> DoorsAnswer:
    """Predict how many doors are served, measure around it, and confirm the answer five times.

    A number that a fresh run does not hold is lowered by one, as a found rate is in MLPerf
    Inference.

    Args:
        measure: Measures so many doors with at least so many calls and returns float64 [n],
            milliseconds from due time, infinite where a call was not decided.
        service_ms: float64 [n], milliseconds of an engine's calls with all lanes at work.
        asked: Doors that were asked for.
        fps: Captures a second of each door.
        deadline_ms: Deadline in milliseconds.
        lanes: Lanes of the session.

    Raises:
        UsageError: A number is out of its range.
    """
    require_numbers(asked, fps, deadline_ms)
    curve = _Curve(measure, service_ms, fps, deadline_ms, lanes)
    predicted = _most(curve.is_predicted, 1, MOST_DOORS)
    serves = curve.measured_most(max(1, predicted))
    while serves and not all(curve.is_held(serves) for _ in range(CONFIRMATIONS)):
        serves -= 1
    return DoorsAnswer(
        asked=asked,
        fps=fps,
        deadline_ms=deadline_ms,
        serves=serves,
        predicted=predicted,
        curve=tuple(sorted(curve.points, key=lambda point: point.doors)),
        meets=serves >= asked,
    )


class _Curve:
    """Doors against latency, by the model and by runs.

    Attributes:
        points: Every run so far.
    """

    def __init__(
        self,
        measure: Callable[[int, int], NDArray[np.float64]],
        service_ms: NDArray[np.float64],
        fps: float,
        deadline_ms: float,
        lanes: int,
    ) -> None:
        self.points: list[DoorPoint] = []
        self._measure, self._service_ms = measure, service_ms
        self._fps, self._deadline_ms, self._lanes = fps, deadline_ms, lanes

    def is_predicted(self, doors: int) -> bool:
        """Whether the model says that so many doors are served."""
        return self._predicted_p99_ms(doors) <= self._deadline_ms

    def is_held(self, doors: int) -> bool:
        """Measure so many doors once more and return whether they are served."""
        target = self._target(doors)
        latencies = self._measure(doors, target.calls)
        figure = target.figure_ms(latencies)
        self.points.append(
            DoorPoint(
                doors=doors,
                offered_per_s=target.rate_per_s,
                predicted_p99_ms=self._predicted_p99_ms(doors),
                measured_p99_ms=figure if math.isfinite(figure) else None,
                goodput=float(np.mean(latencies <= self._deadline_ms)),
            )
        )
        return target.is_met(latencies)

    def measured_most(self, first: int) -> int:
        """Return the most doors that one run held, searched from a first guess; 0 for none."""
        if not self.is_held(first):
            return _most(self.is_held, 1, first - 1)
        step, held = max(1, first // 4), first
        while held + step <= MOST_DOORS and self.is_held(held + step):
            held, step = held + step, 2 * step
        return max(held, _most(self.is_held, held + 1, min(held + step - 1, MOST_DOORS)))

    def _target(self, doors: int) -> Target:
        return Target(SERVED_P, self._deadline_ms, doors * self._fps)

    def _predicted_p99_ms(self, doors: int) -> float:
        """Return the model's figure: cameras out of step, service times as measured."""
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
