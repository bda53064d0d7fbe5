"""Samples: every call of one measured run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final
from zipfile import BadZipFile

import numpy as np

from fasdk.atomic import atomic_write
from fasdk.errors import UsageError
from fasdk_tools.profiling.load import Load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_FORMAT: Final = "fasdk samples 1"
_STAGE: Final = "stage_ms:"


class Outcome(IntEnum):
    """How a call ended.

    DECIDED has a score. REFUSED was turned away before the engine, by a full queue, a deadline or a
    gate. FAILED is a fault of the engine.
    """

    DECIDED = 0
    REFUSED = 1
    FAILED = 2


@dataclass(frozen=True, eq=False)
class Samples:
    """Every call of one run, in order of due time; none is left out.

    Times are milliseconds on a monotonic clock, from the start of measuring.

    Attributes:
        load: How captures arrived.
        batch: Captures in one call, of an open load the largest batch.
        lanes: Lanes that worked at once.
        rate_per_s: Offered rate in captures a second; None where there is none.
        due_ms: When each call was due, float64 [n].
        submitted_ms: When it was submitted, float64 [n].
        answered_ms: When its answer was there, float64 [n]; NaN where it was not decided.
        outcome: `Outcome` of each call, uint8 [n].
        stages_ms: Time spent in each stage by name, float64 [n]; over all stages they sum to
            `latency_ms`. What a capture waited for the generator counts as queue.
        warmup: Number of leading calls that are not counted.
    """

    load: Load
    batch: int
    lanes: int
    rate_per_s: float | None
    due_ms: NDArray[np.float64]
    submitted_ms: NDArray[np.float64]
    answered_ms: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    stages_ms: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    warmup: int = 0

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """Time from a call's due time to its answer, float64 [n]; NaN where it was not decided."""
        return np.asarray(self.answered_ms - self.due_ms)

    def __len__(self) -> int:
        """Return the number of calls, warm-up included."""
        return len(self.due_ms)

    @property
    def counted(self) -> Samples:
        """The calls after the warm-up."""
        since = slice(self.warmup, None)
        return replace(
            self,
            warmup=0,
            due_ms=self.due_ms[since],
            submitted_ms=self.submitted_ms[since],
            answered_ms=self.answered_ms[since],
            outcome=self.outcome[since],
            stages_ms={name: values[since] for name, values in self.stages_ms.items()},
        )

    @property
    def kept_mb(self) -> float:
        """Memory that the calls take, in 10^6 bytes."""
        times = [self.due_ms, self.submitted_ms, self.answered_ms, *self.stages_ms.values()]
        return (sum(values.nbytes for values in times) + self.outcome.nbytes) / 1e6

    def shifted(self, by_ms: float) -> Samples:
        """Return the calls at times that are later by some milliseconds."""
        return replace(
            self,
            due_ms=self.due_ms + by_ms,
            submitted_ms=self.submitted_ms + by_ms,
            answered_ms=self.answered_ms + by_ms,
        )

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Return runs of the same load, at least one, as one run; times stay as they are.

        The warm-up calls of all but the first are left out.
        """
        first, *others = parts
        every = [first, *(each.counted for each in others)]
        join = np.concatenate
        return replace(
            first,
            due_ms=join([each.due_ms for each in every]),
            submitted_ms=join([each.submitted_ms for each in every]),
            answered_ms=join([each.answered_ms for each in every]),
            outcome=join([each.outcome for each in every]),
            stages_ms={
                name: join([each.stages_ms[name] for each in every]) for name in first.stages_ms
            },
        )

    def followed_by(self, later: Samples) -> Samples:
        """Return these calls and those of a later run of the same load, as one run.

        The later run's times are shifted behind this one's; its warm-up calls are left out.
        """
        later = later.counted
        shift_ms = max(np.nanmax(self.answered_ms, initial=0.0), self.due_ms[-1]) - later.due_ms[0]
        return Samples.joined([self, later.shifted(shift_ms)])

    def save(self, path: Path) -> None:
        """Write the samples as an npz file.

        Raises:
            FasdkError: The file cannot be written.
        """
        fields = {
            "format": np.array(_FORMAT),
            "load": np.array(self.load.value),
            "batch": np.array(self.batch),
            "lanes": np.array(self.lanes),
            "rate_per_s": np.array(np.nan if self.rate_per_s is None else self.rate_per_s),
            "warmup": np.array(self.warmup),
            "due_ms": self.due_ms,
            "submitted_ms": self.submitted_ms,
            "answered_ms": self.answered_ms,
            "outcome": self.outcome,
        }
        stages = {_STAGE + name: values for name, values in self.stages_ms.items()}
        with atomic_write(path) as file:
            np.savez_compressed(file, **fields, **stages)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Samples:
        """Read samples that `save` wrote.

        Raises:
            UsageError: The file is absent, or holds no samples of this version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise UsageError(f"{path}: no such file") from None
        except (OSError, ValueError, BadZipFile, EOFError, AttributeError) as error:
            raise UsageError(f"{path} is no file of samples: {error}") from None
        if str(content.get("format")) != _FORMAT:
            raise UsageError(
                f"{path} is no file of samples of this version: measure again with "
                "`fasdk profile BUNDLE --samples OUT.npz`"
            )
        rate = float(content["rate_per_s"])
        return cls(
            load=Load(str(content["load"])),
            batch=int(content["batch"]),
            lanes=int(content["lanes"]),
            rate_per_s=None if np.isnan(rate) else rate,
            due_ms=content["due_ms"],
            submitted_ms=content["submitted_ms"],
            answered_ms=content["answered_ms"],
            outcome=content["outcome"],
            stages_ms={
                name.removeprefix(_STAGE): values
                for name, values in content.items()
                if name.startswith(_STAGE)
            },
            warmup=int(content["warmup"]),
        )
