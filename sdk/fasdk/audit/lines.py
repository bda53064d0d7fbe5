"""Lines of an audit log: one JSON object each, with the hash that chains it to the line before."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fasdk.audit.key import AuditKey, chain_digest
from fasdk.decision import Decision, Verdict
from fasdk.errors import AuditError
from fasdk.plain_text import plain_line
from fasdk.tracking.track_decision import TrackDecision

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_DIGEST = "0" * 64
MAX_LINE_BYTES = 1 << 16
_MAX_TEXT = 256  # characters of a name; a line then fits a page of memory
_START = b'{"seq":'  # inside a text of JSON its quotes would be escaped
_HASH = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_HASH_BYTES = len(b',"hash":""}') + 64

Sequence = Annotated[int, Field(ge=1, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Score = Annotated[float, Field(allow_inf_nan=False)]
_TIME = r"^\d{4,5}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
Time = Annotated[str, Field(pattern=_TIME)]


class TornLine(BaseModel):
    """What a crash or a full disk left of a line, which stands before the line that tells of it.

    Attributes:
        bytes: Number of its bytes.
        sha256: SHA-256 of them, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(ge=1, strict=True)]
    sha256: Digest


class AuditLine(BaseModel):
    """What every line holds.

    Attributes:
        seq: Number of the line in the whole log, from 1, over all its files.
        time: When it was written, in UTC by the machine's clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: Sequence
    time: Time


class FileLine(AuditLine):
    """First line of a file.

    Attributes:
        kind: "file".
        form: Version of the form of all lines.
        log: Random name of the log, which all its files share.
        file: Number of the file, from 1.
        first_file: Number of the oldest file that was kept when this one was begun.
        key: Identifier of the chain's key; empty where it has none.
        prev: Hash of the last line of the file before; zeros in file 1.
    """

    kind: Literal["file"] = "file"
    form: Literal[1] = 1
    log: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    file: Sequence
    first_file: Sequence
    key: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")]
    prev: Digest


class StartLine(AuditLine):
    """A process began to write.

    Attributes:
        kind: "start".
        version: Version of fasdk.
        torn: What the process before left of a line; None where it left none.
    """

    kind: Literal["start"] = "start"
    version: str
    torn: TornLine | None = None


class DecisionLine(AuditLine):
    """One decision.

    Attributes:
        kind: "decision".
        camera: Name of the camera.
        verdict: Verdict of the decision.
        score: P(bona fide) in [0, 1]; None where there is no score.
        threshold: Score in [0, 1] that had to be exceeded; None without an operating point.
        operating_point: Name of the operating point; None without one.
        codes: Reason codes.
        bundle: Identifier of the bundle that answered; empty where none did.
        trust: Trust mode that bundle was opened in.
        version: Version of fasdk.
    """

    kind: Literal["decision"] = "decision"
    camera: str
    verdict: Verdict
    score: Score | None
    threshold: Score | None
    operating_point: str | None
    codes: tuple[str, ...]
    bundle: str
    trust: str
    version: str


class GapLine(AuditLine):
    """Writing works again after it did not.

    Attributes:
        kind: "gap".
        lost: Number of decisions since the line before that could not be written.
        torn: What is left of the first of them; None where nothing is.
    """

    kind: Literal["gap"] = "gap"
    lost: Count
    torn: TornLine | None = None


class EndLine(AuditLine):
    """A process ended as it should.

    Attributes:
        kind: "end".
    """

    kind: Literal["end"] = "end"


AnyLine = FileLine | StartLine | DecisionLine | GapLine | EndLine
_ADAPTER: TypeAdapter[AnyLine] = TypeAdapter(
    Annotated[AnyLine, Field(discriminator="kind")],
)


@dataclass(frozen=True)
class RawLine:
    """A line of a file, cut into its parts but not yet checked.

    Attributes:
        torn: Bytes before it that no line feed ends.
        body: Bytes that its hash is of.
        digest: Its hash, as it stands there.
    """

    torn: bytes
    body: bytes
    digest: str

    @classmethod
    def of(cls, line: bytes) -> RawLine | None:
        """Return the parts of a line without its line feed, or None where it has another form."""
        start = line.rfind(_START)
        hashed = _HASH.fullmatch(line, max(len(line) - _HASH_BYTES, 0))
        if start < 0 or hashed is None or hashed.start() <= start:
            return None
        return cls(line[:start], line[start : hashed.start()], hashed[1].decode("ascii"))

    def parse(self) -> AnyLine:
        """Return what the line says.

        Raises:
            AuditError: A field is absent, unknown or wrong.
        """
        try:
            return _ADAPTER.validate_json(self.body + b"}")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"][1:])
            raise AuditError(f"{where or 'line'}: {first['msg']}") from error


def is_torn(rest: bytes) -> bool:
    """Return whether bytes that no line feed ends can be what a crash left of a line.

    A whole line with another byte than a line feed behind it cannot.
    """
    return RawLine.of(rest[:-1]) is None


def encode(line: AnyLine, previous: str, key: AuditKey | None) -> tuple[bytes, str]:
    """Return a line's bytes with its line feed, and its hash.

    Args:
        line: The line.
        previous: Hash of the line before.
        key: Key of the chain, or None.
    """
    body = line.model_dump_json().encode()[:-1]
    digest = chain_digest(previous, body, key)
    return b'%b,"hash":"%b"}\n' % (body, digest.encode("ascii")), digest


def decision_fields(decision: Decision, camera_id: str) -> Mapping[str, object]:
    """Return the fields of a decision's line; messages are left out, which may name files."""
    if not camera_id and isinstance(decision, TrackDecision):
        camera_id = decision.camera_id
    score = decision.score
    point = decision.operating_point
    return {
        "camera": _short(camera_id),
        "verdict": decision.verdict,
        "score": score if math.isfinite(score) else None,
        "threshold": decision.threshold,
        "operating_point": None if point is None else _short(point),
        "codes": tuple(code.value for code in decision.codes),
        "bundle": _short(decision.bundle_id),
        "trust": _short(decision.trust),
        "version": software_version(),
    }


@cache
def software_version() -> str:
    """Return the version of fasdk, or "unknown" where it is not installed as a package."""
    try:
        return version("fasdk")
    except PackageNotFoundError:
        return "unknown"


def time_text(unix_s: float) -> str:
    """Return a time in seconds since the Unix epoch as text, in UTC."""
    found = datetime.fromtimestamp(unix_s, timezone.utc)
    return found.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _short(text: str) -> str:
    return plain_line(text)[:_MAX_TEXT]
