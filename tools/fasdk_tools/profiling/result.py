"""Document of a profile, which `--json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field

from fasdk.errors import BackendError
from fasdk_tools.profiling.baseline import BaselineAnswer
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.door_figures import PARTS, ColdFigures, IdleFigures, SoakFigures
from fasdk_tools.profiling.held_rate import backlog_per_s, goodput, is_held
from fasdk_tools.profiling.layers import LayerProfile
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.percentiles import percentiles
from fasdk_tools.profiling.samples import Outcome, Samples
from fasdk_tools.profiling.warm_up import first_steady_call
from fasdk_tools.profiling.yardstick import YardstickTimes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fasdk_tools.profiling.machine.energy import RailEnergy

SCHEMA_VERSION: Final = 1
"""Version of the document's layout; raise it when a key is renamed, removed or changes meaning."""


class PercentileFigure(Document):
    """A percentile with its bound."""

    ms: float = Field(description="The percentile, an order statistic, in milliseconds.")
    upper_ms: float = Field(description="One-sided 95 % upper bound of it, in milliseconds.")


class LatencyFigures(Document):
    """Latencies of a run, or what one stage took of them."""

    mean_ms: float = Field(description="Mean in milliseconds.")
    max_ms: float = Field(description="Largest in milliseconds.")
    p50: PercentileFigure | None = Field(description="Median; null below 5 calls.")
    p90: PercentileFigure | None = Field(description="90th percentile; null below 29 calls.")
    p95: PercentileFigure | None = Field(description="95th percentile; null below 59 calls.")
    p99: PercentileFigure | None = Field(description="99th percentile; null below 299 calls.")
    p99_9: PercentileFigure | None = Field(description="99.9th percentile; null below 2,995 calls.")
    missing_calls: dict[str, int] = Field(
        description="How many more calls each percentile needs that is null, by its name."
    )

    @classmethod
    def of(cls, values_ms: NDArray[np.float64]) -> LatencyFigures:
        """Summarize latencies, float64 [n], in milliseconds; at least one."""
        figures: dict[str, PercentileFigure | None] = {}
        missing: dict[str, int] = {}
        for found in percentiles(values_ms):
            name = found.name.replace(".", "_")
            figures[name] = None
            if found.ms is None or found.upper_ms is None:
                missing[name] = found.missing_calls
            else:
                figures[name] = PercentileFigure(ms=found.ms, upper_ms=found.upper_ms)
        return cls(
            mean_ms=float(values_ms.mean()),
            max_ms=float(values_ms.max()),
            missing_calls=missing,
            **figures,
        )

    def percentiles(self) -> dict[str, PercentileFigure | None]:
        """Return the percentiles by name, such as "p99", in order."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name.startswith("p")
        }


def throughput(samples: Samples) -> float:
    """Return the captures a second that were decided.

    Captures that are due at a rate cover at least as many of its intervals: three in a row within
    two intervals are not more than were offered.

    Raises:
        BackendError: None was.
    """
    counted = samples.counted
    decided = int(np.count_nonzero(counted.outcome == Outcome.DECIDED))
    if not decided:
        raise BackendError(
            f"none of {len(counted)} calls of the {samples.load.value} load was decided: there "
            "is no latency to report; lower the rate or look at one capture with `fasdk check`"
        )
    captures = 1 if samples.load.is_open else samples.batch
    span_s = (np.nanmax(counted.answered_ms) - counted.due_ms[0]) / 1e3
    if samples.rate_per_s is not None:
        span_s = max(span_s, len(counted) / samples.rate_per_s)
    return float(captures * decided / span_s)


class EnergyFigures(Document):
    """Energy that one power rail delivered during a run."""

    rail: str = Field(description="Name of the rail.")
    joules: float = Field(description="Energy over the run, its warm-up included, in joules.")
    per_decision_j: float | None = Field(
        description="Joules a decision, what the machine uses when idle included."
    )
    idle_watts: float | None = Field(
        description="Mean power before the runs, with nothing to do, in watts; null where unknown."
    )
    above_idle_per_decision_j: float | None = Field(
        description="Joules a decision beyond what the machine would have used idle."
    )

    @classmethod
    def of(cls, energy: RailEnergy) -> EnergyFigures:
        """Summarize the energy of a rail."""
        return cls(
            rail=energy.rail,
            joules=energy.joules,
            per_decision_j=energy.per_decision_j,
            idle_watts=energy.idle_watts,
            above_idle_per_decision_j=energy.above_idle_per_decision_j,
        )


class Run(Document):
    """Figures of one load on one number of lanes."""

    load: Load = Field(description="How captures arrived.")
    batch: int = Field(description="Captures in one call; of an open load the largest batch.")
    lanes: int = Field(description="Lanes of the engine that worked at once.")
    calls: int = Field(description="Calls counted, without the warm-up.")
    warmup_calls: int = Field(description="Calls before those, left out as warm-up.")
    warmup_ms: float | None = Field(
        None,
        description="Time from the first call to the first that counts, in milliseconds; null of "
        "an idle or cold load.",
    )
    steady: bool | None = Field(
        None,
        description="Whether the end of the warm-up was seen: three successive windows agree "
        "within 10 % in median latency and rate; null of an idle or cold load.",
    )
    offered_per_s: float | None = Field(
        description="Captures a second that were due; null where they wait for answers."
    )
    achieved_per_s: float | None = Field(
        description="Captures a second that were decided; null of an idle or cold load, which "
        "waits or starts processes between two of them."
    )
    goodput: float | None = Field(
        description="Share of the captures decided within the deadline; null without one."
    )
    deadline_ms: float | None = Field(description="Deadline that goodput counts, from due time.")
    missed_deadlines: int | None = Field(
        description="Captures not decided within the deadline; null without one."
    )
    backlog_per_s: float | None = Field(
        description="Captures a second by which those due and not answered grew; null where "
        "captures wait for answers or are due at once."
    )
    held: bool | None = Field(
        description="Whether the session kept up with the arrivals; null where it sets the pace."
    )
    highest_held_per_s: float | None = Field(
        None, description="Highest rate held, where it was looked for; null also where none was."
    )
    confirmations: int = Field(0, description="Runs in a row that held that rate.")
    refused: int = Field(description="Calls turned away by the queue, a deadline or a gate.")
    failed: int = Field(description="Calls that the engine failed.")
    end_to_end: LatencyFigures = Field(
        description="From a capture's due time to its answer. Of an idle load the first decisions "
        "after its longest pause, of a cold load from the start of a process to its first decision."
    )
    stages: dict[str, LatencyFigures] = Field(
        description="Time in each stage, by name; of a cold load in each part of a start, of an "
        "idle load empty."
    )
    energy: tuple[EnergyFigures, ...] = Field(
        (), description="Energy by power rail; empty where no rail could be read."
    )
    idle: IdleFigures | None = Field(
        None, description="First decisions by length of the pause; null of another load."
    )
    cold: ColdFigures | None = Field(
        None, description="Every start of a process; null of another load."
    )
    soak: SoakFigures | None = Field(
        None, description="Minute by minute of a long run; null of another."
    )

    @classmethod
    def of(
        cls,
        samples: Samples,
        deadline_ms: float | None = None,
        energies: Sequence[RailEnergy] = (),
    ) -> Run:
        """Summarize the samples of a run, with the energy of its power rails.

        Raises:
            BackendError: No call was decided, so that there is no latency.
        """
        counted = samples.counted
        achieved_per_s = throughput(samples)
        is_decided = counted.outcome == Outcome.DECIDED
        share = None if deadline_ms is None else goodput(counted, deadline_ms)
        return cls(
            load=samples.load,
            batch=samples.batch,
            lanes=samples.lanes,
            calls=len(counted),
            warmup_calls=samples.warmup,
            warmup_ms=float(counted.due_ms[0] - samples.due_ms[0]),
            steady=first_steady_call(samples) is not None,
            offered_per_s=samples.rate_per_s,
            achieved_per_s=achieved_per_s,
            goodput=share,
            missed_deadlines=None if share is None else round((1.0 - share) * len(counted)),
            deadline_ms=deadline_ms,
            backlog_per_s=backlog_per_s(counted) if samples.load.is_open else None,
            held=is_held(counted, deadline_ms) if samples.rate_per_s is not None else None,
            refused=int(np.count_nonzero(counted.outcome == Outcome.REFUSED)),
            failed=int(np.count_nonzero(counted.outcome == Outcome.FAILED)),
            end_to_end=LatencyFigures.of(counted.latency_ms[is_decided]),
            stages={
                name: LatencyFigures.of(values[is_decided])
                for name, values in counted.stages_ms.items()
            },
            energy=tuple(EnergyFigures.of(energy) for energy in energies),
        )

    @property
    def is_of_door(self) -> bool:
        """Whether it is of an idle or cold load or a long run."""
        return any(each is not None for each in (self.idle, self.cold, self.soak))

    @classmethod
    def of_pauses(cls, idle: IdleFigures) -> Run:
        """Summarize first decisions after pauses; those after the longest pause are the run's."""
        longest = max(idle.pauses, key=lambda each: each.pause_s)
        latencies_ms = np.asarray(longest.latencies_ms)
        return cls._one_by_one(Load.IDLE, latencies_ms).model_copy(update={"idle": idle})

    @classmethod
    def of_starts(cls, cold: ColdFigures) -> Run:
        """Summarize cold starts, without the first one; their parts are the run's stages."""
        total_ms = np.array([start.total_ms for start in cold.starts])
        stages = {
            part: LatencyFigures.of(np.array([getattr(each, f"{part}_ms") for each in cold.starts]))
            for part in PARTS
        }
        run = cls._one_by_one(Load.COLD, total_ms)
        return run.model_copy(update={"cold": cold, "stages": stages, "warmup_calls": 1})

    @classmethod
    def _one_by_one(cls, load: Load, latency_ms: NDArray[np.float64]) -> Run:
        """Summarize decisions that came one by one, with something else between two of them."""
        return cls(
            load=load,
            batch=1,
            lanes=1,
            calls=len(latency_ms),
            warmup_calls=0,
            offered_per_s=None,
            achieved_per_s=None,
            goodput=None,
            deadline_ms=None,
            missed_deadlines=None,
            backlog_per_s=None,
            held=None,
            refused=0,
            failed=0,
            end_to_end=LatencyFigures.of(latency_ms),
            stages={},
        )


class ProfileDocument(Document):
    """A profile of one bundle on one machine."""

    schema_version: Literal[1] = Field(SCHEMA_VERSION, description="Layout of this document.")
    bundle: str = Field(description="Path of the bundle.")
    bundle_id: str = Field(description="SHA-256 of its manifest.")
    bundle_trust: str = Field(description="Whose signature it was opened with.")
    backend: str = Field(description="Backend that ran it.")
    version: str = Field(description="Version of the backend.")
    precision: str = Field(description="Precision of the graph.")
    preprocess: str = Field("host", description="Where frames became tensors: host or device.")
    captures: int = Field(description="Different captures that were taken in turn.")
    trusted: bool | None = Field(
        None, description="Whether the machine held still; null where it was not watched."
    )
    reasons: tuple[str, ...] = Field((), description="Why the figures cannot be trusted.")
    not_read: tuple[str, ...] = Field(
        (), description="What could not be read of the machine, which speaks neither way."
    )
    runs: tuple[Run, ...] = Field(description="Every load measured, in order.")
    layers: LayerProfile | None = Field(
        None, description="Times of the graph's layers; null where they were not asked for."
    )
    yardstick: YardstickTimes | None = Field(
        None, description="Checks beside the yardstick, by which --baseline compares; or null."
    )
    baseline: BaselineAnswer | None = Field(
        None, description="Comparison with the profile that --baseline names; or null."
    )
