"""Comparison of a profile with one that was stored, on the same machine in the same state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.errors import UsageError
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.interleaved import MEDIAN, TAIL, Ratio, ratio_of
from fasdk_tools.profiling.yardstick import Rounds, YardstickTimes

TOLERANCE: Final = 0.10
"""Share by which a profile may be slower than its baseline before it counts."""
LARGEST_MOVE: Final = 0.05
"""Share by which the yardstick may have moved for the two to be comparable."""
SCHEMA_VERSION: Final = 1


class StoredProfile(BaseModel):
    """What a comparison needs of a stored profile, `fasdk profile --json`; the rest is not read.

    Attributes:
        schema_version: Version of the profile's layout.
        bundle_id: SHA-256 of the manifest that was measured.
        yardstick: Checks of that bundle beside the yardstick.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1]
    bundle_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    yardstick: YardstickTimes


class BaselineAnswer(Document):
    """The answer to `fasdk profile --baseline FILE`.

    Attributes:
        baseline: Path of the stored profile as it was given.
        bundle_id: Bundle that was measured there.
        tolerance: Share by which the profile may be slower.
        compute_ratio: Median of the yardstick's computation, now over then.
        copy_ratio: Median of the yardstick's memory copy, likewise.
        tail_ratio: 99th percentile of the yardstick, likewise; the larger of its two parts'.
        median: Ratio of the medians of a check, likewise.
        p99: Ratio of the 99th percentiles of a check, likewise.
        comparable: Whether each of the yardstick's ratios lies within 5 % of 1.
        slower: Whether the whole interval of a check's ratio lies above 1 + `tolerance`, for the
            99th percentile above `tail_ratio` times that where the yardstick's tail grew: what held
            both up was not the bundle. None where the two are not comparable.
    """

    baseline: str
    bundle_id: str
    tolerance: float
    compute_ratio: float
    copy_ratio: float
    tail_ratio: float
    median: Ratio
    p99: Ratio
    comparable: bool
    slower: bool | None

    @property
    def moved(self) -> dict[str, float]:
        """The ratios of the yardstick that lie beyond 5 %, by what was measured."""
        ratios = {"computation": self.compute_ratio, "memory copy": self.copy_ratio}
        return {name: ratio for name, ratio in ratios.items() if abs(ratio - 1.0) > LARGEST_MOVE}


@dataclass(frozen=True)
class Baseline:
    """A stored profile to compare with.

    Attributes:
        path: Path of the file as it was given.
        stored: What it holds.
        tolerance: Share by which a profile may be slower.
    """

    path: Path
    stored: StoredProfile
    tolerance: float = TOLERANCE

    @classmethod
    def read(cls, path: Path, tolerance: float = TOLERANCE) -> Baseline:
        """Read a stored profile.

        Raises:
            UsageError: The file is unreadable, no JSON, no profile, of another schema version,
                stored without a yardstick, or a field is wrong.
        """
        return cls(path, _stored(path), tolerance)

    def compare(self, now: YardstickTimes) -> BaselineAnswer:
        """Return how a bundle's checks compare with those of the stored profile.

        Args:
            now: Checks and yardstick of the profile just measured.
        """
        then = self.stored.yardstick
        parts = ((then.compute_ms, now.compute_ms), (then.copy_ms, now.copy_ms))
        compute_ratio, copy_ratio = (_ratio(*part, MEDIAN) for part in parts)
        tail_ratio = max(_ratio(*part, TAIL) for part in parts)
        moved = max(abs(ratio - 1.0) for ratio in (compute_ratio, copy_ratio))
        is_comparable = moved <= LARGEST_MOVE
        before, after = np.asarray(then.check_ms), np.asarray(now.check_ms)
        median, p99 = (ratio_of(before, after, p, is_paired=False) for p in (MEDIAN, TAIL))
        tail_tolerance = (1.0 + self.tolerance) * max(tail_ratio, 1.0) - 1.0
        is_slower = median.exceeds(self.tolerance) or p99.exceeds(tail_tolerance)
        return BaselineAnswer(
            baseline=str(self.path),
            bundle_id=self.stored.bundle_id,
            tolerance=self.tolerance,
            compute_ratio=compute_ratio,
            copy_ratio=copy_ratio,
            tail_ratio=tail_ratio,
            median=median,
            p99=p99,
            comparable=is_comparable,
            slower=is_slower if is_comparable else None,
        )


def _stored(path: Path) -> StoredProfile:
    again = "store one with `fasdk profile BUNDLE --json`"
    try:
        raw = read_bounded(path, FileKind.PROFILE)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}; {again}") from error
    if not isinstance(document, dict) or not {"schema_version", "bundle_id", "runs"} <= {*document}:
        raise UsageError(f"{path}: not a latency profile: {again}")
    door = _door_measurement(document["runs"])
    if door is not None:
        raise UsageError(
            f"{path}: this is a profile of {door}, which no baseline is compared with: {again}, "
            "with neither --load idle or cold nor --soak"
        )
    version = document["schema_version"]
    if type(version) is not int or version != SCHEMA_VERSION:
        raise UsageError(
            f"{path}: schema version {str(version)[:40]!r}, this fasdk reads {SCHEMA_VERSION}: "
            f"{again} of this release"
        )
    if document.get("yardstick") is None:
        raise UsageError(f"{path}: yardstick: the profile was stored without one: {again}")
    try:
        return StoredProfile.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {where}: {first['msg']}: {again}") from error


def _door_measurement(runs: object) -> str | None:
    """Return which of a door's measurements a document holds, in words, or None for none."""
    names = {"idle": "an idle load", "cold": "a cold load", "soak": "a long run"}
    first = runs[0] if isinstance(runs, list) and runs else None
    if not isinstance(first, dict):
        return None
    return next((said for key, said in names.items() if first.get(key) is not None), None)


def _ratio(before_ms: Rounds, after_ms: Rounds, percentile: float) -> float:
    return float(np.percentile(after_ms, percentile) / np.percentile(before_ms, percentile))
