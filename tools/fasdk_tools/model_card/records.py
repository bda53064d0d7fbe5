"""Records that belong to a bundle: files that other verbs printed with --json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.bundle.bundle import Bundle
from fasdk.errors import UsageError
from fasdk_tools.evaluation.record import DOCUMENT, DOCUMENT_VERSION, Evaluation
from fasdk_tools.profiling.result import SCHEMA_VERSION, ProfileDocument


@dataclass(frozen=True)
class Record:
    """A file about a bundle.

    Attributes:
        path: The file.
        sha256: SHA-256 of the file.
        bundle_id: Id of the bundle it is about.
        content: What it holds.
    """

    path: Path
    sha256: str
    bundle_id: str
    content: Evaluation | ProfileDocument

    @property
    def kind(self) -> str:
        """What kind of record it is, in one word."""
        return "evaluation" if isinstance(self.content, Evaluation) else "profile"


def read_record(path: Path) -> Record:
    """Return the record in a file, told by what it says it is.

    Raises:
        UsageError: It cannot be read, is neither an evaluation nor a profile, or is not whole.
    """
    raw, document = _read(path)
    digest = hashlib.sha256(raw).hexdigest()
    if document.get("document") == DOCUMENT:
        _require_version(path, "evaluate", document.get("version"), DOCUMENT_VERSION)
        evaluation: Evaluation = _whole(path, "evaluate", TypeAdapter(Evaluation), document)
        return Record(path, digest, evaluation.bundle.id, evaluation)
    if {"bundle_id", "runs", "schema_version"} <= document.keys():
        _require_version(path, "profile", document.get("schema_version"), SCHEMA_VERSION)
        profile: ProfileDocument = _whole(path, "profile", TypeAdapter(ProfileDocument), document)
        return Record(path, digest, profile.bundle_id, profile)
    raise UsageError(
        f"--record {path} is neither an evaluation nor a profile: give what `fasdk evaluate "
        "--json` or `fasdk profile --json` printed"
    )


def records_of(bundle: Bundle, records: Sequence[Record]) -> list[Record]:
    """Return the records about a bundle, in the order given."""
    return [record for record in records if record.bundle_id == bundle.id]


def require_known(records: Sequence[Record], bundles: Sequence[Bundle]) -> None:
    """Refuse a record about none of the bundles, or given twice.

    Raises:
        UsageError: There is one; the bundle it is about is named.
    """
    known = {bundle.id for bundle in bundles}
    seen: set[str] = set()
    for record in records:
        if record.bundle_id not in known:
            names = ", ".join(f"{bundle.path} ({bundle.id[:16]})" for bundle in bundles)
            raise UsageError(
                f"--record {record.path}: the {record.kind} is of bundle "
                f"{record.bundle_id[:16]}, expected one of {names}: run `fasdk {_VERB[record.kind]}"
                " --json` on this bundle"
            )
        if record.sha256 in seen:
            raise UsageError(f"--record {record.path} is given twice: give it once")
        seen.add(record.sha256)


_VERB = {"evaluation": "evaluate", "profile": "profile"}


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        raw = bytes(read_bounded(path, FileKind.PROFILE))
        document = json.loads(raw)
    except OSError as error:
        raise UsageError(f"--record: cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--record {path} is no JSON document: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(
            f"--record {path} holds a JSON {type(document).__name__}, expected the object that "
            "`fasdk evaluate --json` or `fasdk profile --json` printed"
        )
    return raw, document


def _require_version(path: Path, verb: str, found: object, expected: int) -> None:
    if found != expected:
        raise UsageError(
            f"--record {path} has layout {found}, expected {expected}: run `fasdk {verb} --json` "
            "again with this release"
        )


def _whole(path: Path, verb: str, adapter: TypeAdapter[Any], document: dict[str, Any]) -> Any:
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"--record {path}: {where}: {first['msg']}: run `fasdk {verb} --json` again"
        ) from error
