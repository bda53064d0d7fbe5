"""Figures of a door: after pauses, until a verdict, from a new process, over a long run."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from fasdk_tools.profiling.document import Document

PARTS: Final = ("interpreter", "import", "open", "plan", "proof", "first_decision")
"""Parts of a cold start in order of time; a `ColdStart` has each with `_ms` behind it."""


class PauseFigures(Document):
    """First decisions after pauses of one length."""

    pause_s: float = Field(description="Length of the pause in seconds.")
    calls: int = Field(description="Pauses of that length, each with one decision after it.")
    median_ms: float = Field(description="Median latency of the decision after it.")
    largest_ms: float = Field(description="Largest latency of the decision after it.")
    ratio_to_busy: float = Field(description="The median over that of decisions without a pause.")
    latencies_ms: tuple[float, ...] = Field(description="Every latency, in order of time.")


class TrackFigures(Document):
    """Time from a person's first frame to the verdict of a track."""

    fps: float = Field(description="Frames a second that the camera gave.")
    tracks: int = Field(description="Presentations measured, each a track of its own.")
    verdicts: int = Field(description="Those that ended in LIVE or SPOOF.")
    median_ms: float | None = Field(description="Median time to a verdict; null where none came.")
    largest_ms: float | None = Field(description="Largest time to a verdict; null where none came.")
    median_frames: float | None = Field(description="Median number of frames a verdict took.")
    frame_median_ms: float = Field(description="Median time from a frame's due time to its answer.")
    times_ms: tuple[float | None, ...] = Field(
        description="Time to a verdict of every track, in order; null where none came."
    )


class IdleFigures(Document):
    """What a door feels after nobody stood in front of it."""

    quick: bool = Field(description="Whether there were fewer pauses than the default.")
    busy_median_ms: float = Field(description="Median latency of decisions without a pause.")
    pauses: tuple[PauseFigures, ...] = Field(description="By length of the pause.")
    track: TrackFigures = Field(description="Time to a verdict on several frames.")


class ColdStart(Document):
    """One new process, from its start to its first decision, in milliseconds."""

    interpreter_ms: float = Field(description="Start of the Python interpreter.")
    import_ms: float = Field(description="Import of fasdk and of the backend's library.")
    open_ms: float = Field(description="Reading and verifying the bundle.")
    plan_ms: float = Field(description="Loading or building the plan, or the graph where none is.")
    proof_ms: float = Field(description="Replay of the golden captures, or finding its record.")
    first_decision_ms: float = Field(description="Opening the lanes, and the first decision.")
    total_ms: float = Field(description="From the start of the process to the first decision.")
    plan: str = Field(description="Where the plan came from; 'none' where the backend has none.")


class ColdPart(Document):
    """One part of the cold starts after the first one, in milliseconds."""

    median_ms: float = Field(description="Median.")
    largest_ms: float = Field(description="Largest.")


class ColdFigures(Document):
    """Cold starts: a new process each time."""

    quick: bool = Field(description="Whether there were fewer starts than the default.")
    backend: str = Field(description="Backend of the processes.")
    version: str = Field(description="Version of the backend.")
    first: ColdStart = Field(
        description="The first start, which also filled the system's file caches; not counted."
    )
    starts: tuple[ColdStart, ...] = Field(description="The starts after it, in order of time.")
    parts: dict[str, ColdPart] = Field(description="Their parts and total by name.")


class MinuteFigures(Document):
    """One minute of a long run."""

    minute: int = Field(description="Number of the minute, from 1; the last one may be shorter.")
    calls: int = Field(description="Calls answered in it.")
    median_ms: float | None = Field(description="Median latency; null where none was answered.")
    largest_ms: float | None = Field(description="Largest latency; null where none was answered.")
    resident_mb: float = Field(description="Largest resident memory of the process, in 10^6 bytes.")
    temperature_c: float | None = Field(
        description="Highest temperature of any sensor; null where none could be read."
    )


class SoakFigures(Document):
    """A long run under one load, minute by minute."""

    load: str = Field(description="How captures arrived.")
    asked_s: float = Field(description="Length that was asked for, in seconds.")
    measured_s: float = Field(description="Length measured, in seconds.")
    interrupted: bool = Field(description="Whether it was ended early.")
    first_ms: float | None = Field(description="Median latency of the first minute.")
    last_ms: float | None = Field(description="Median latency of the last minute.")
    spearman: float | None = Field(
        description="Rank correlation of latency with time, in [-1, 1]; null for too few calls."
    )
    drifts: bool = Field(description="Whether latency moved by more than 10 %, beyond chance.")
    memory_growth_mb: float = Field(
        description="Resident memory of the last minute less that of the second, or of the first "
        "where there are but two, in 10^6 bytes."
    )
    minutes: tuple[MinuteFigures, ...] = Field(description="Minute by minute.")
