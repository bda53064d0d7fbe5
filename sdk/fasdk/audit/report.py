"""What the verification of an audit log found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fasdk.decision import Verdict


@dataclass(frozen=True)
class BrokenLink:
    """First place at which a log is not as it was written.

    Attributes:
        file: File with the line.
        line: Number of the line in that file, from 1.
        message: What is wrong there.
    """

    file: Path
    line: int
    message: str


@dataclass(frozen=True)
class TornPlace:
    """What a crash or a full disk left of a line.

    Attributes:
        file: File with the line.
        line: Number of the line in that file, from 1.
        bytes: Number of bytes.
    """

    file: Path
    line: int
    bytes: int


@dataclass(frozen=True)
class DecisionOrigin:
    """What decisions were made by.

    Attributes:
        bundle: Identifier of the bundle; empty where none answered.
        trust: Trust mode it was opened in.
        operating_point: Name of the operating point, or None.
        threshold: Score in [0, 1] that had to be exceeded, or None.
        version: Version of fasdk.
    """

    bundle: str
    trust: str
    operating_point: str | None
    threshold: float | None
    version: str


@dataclass
class Decided:
    """Decisions of one origin.

    Attributes:
        first: Time of the first.
        last: Time of the last.
        verdicts: Number by verdict.
    """

    first: str
    last: str
    verdicts: Counter[Verdict] = field(default_factory=Counter)


@dataclass
class AuditReport:
    """What a log's files hold, up to the first broken link.

    Attributes:
        files: Files that were read, oldest first.
        broken: First broken link; None where the chain is whole.
        log: Random name of the log.
        key: Identifier of the chain's key; empty where it has none.
        lines: Number of lines.
        first: Number of the first line, 1 unless older files were left out.
        last: Number of the last line.
        first_time: Time of the first line.
        last_time: Time of the last line.
        head: Hash of the last line.
        decided: Decisions by what they were made by, 1,000 origins at most.
        verdicts: Number of decisions by verdict.
        starts: Number of times that a process began to write.
        cut_off: Number of times that a process before did not end as it should.
        is_ended: Whether the last line says that the process ended as it should.
        lost: Number of decisions that could not be written, as the log itself says.
        torn: What crashes and full disks left of lines, and was gone on from.
        unfinished: Number of bytes after the last line that are no whole line.
        clock_back: Number of lines that are earlier than the one before by the machine's clock.
        noted: Where the noted head stands; None without one.
        after_noted: Number of lines after the noted head; None without one.
    """

    files: list[Path] = field(default_factory=list)
    broken: BrokenLink | None = None
    log: str = ""
    key: str = ""
    lines: int = 0
    first: int = 0
    last: int = 0
    first_time: str = ""
    last_time: str = ""
    head: str = ""
    decided: dict[DecisionOrigin, Decided] = field(default_factory=dict)
    verdicts: Counter[Verdict] = field(default_factory=Counter, init=False)
    starts: int = 0
    cut_off: int = 0
    is_ended: bool = False
    lost: int = 0
    torn: list[TornPlace] = field(default_factory=list)
    unfinished: int = 0
    clock_back: int = 0
    noted: tuple[Path, int] | None = None
    after_noted: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether no link is broken."""
        return self.broken is None
