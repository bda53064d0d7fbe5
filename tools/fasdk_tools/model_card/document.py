"""Document of a report: everything its page and its model card say, and the digest of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from fasdk import __version__
from fasdk.bundle.calibration import read_calibration
from fasdk.bundle.members import EVALUATION, MANIFEST
from fasdk.bundle.summary import summarize
from fasdk.errors import BackendError, FasdkError
from fasdk_tools.evaluation.record import Evaluation
from fasdk_tools.terminal.output import json_text

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk_tools.model_card.records import Record

DOCUMENT: Final = "fasdk report"
DOCUMENT_VERSION: Final = 1
"""Version of the layout; raise it when a key is renamed, removed or changes its meaning."""

# Who was in a list is no part of a report, not even by pseudonym.
_PEOPLE = ("subjects", "pseudonyms")


def build_document(bundles: Sequence[tuple[Bundle, Sequence[Record]]]) -> dict[str, Any]:
    """Return the document of some bundles, each with its records.

    Args:
        bundles: Opened bundles, whose bytes and signatures were checked by that, each with its
            records.

    Raises:
        BundleError: A document in a bundle cannot be read.
    """
    document: dict[str, Any] = {
        "document": DOCUMENT,
        "version": DOCUMENT_VERSION,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": f"fasdk {__version__}",
        "bundles": [_describe(bundle, records) for bundle, records in bundles],
    }
    # As it is printed, so that the digest is of what a reader of the JSON has: NaN is null there.
    printed: dict[str, Any] = json.loads(json_text(document))
    return {**printed, "sha256": digest_of(printed)}


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document in canonical JSON, its own `sha256` left out.

    Canonical: sorted keys, no spaces, UTF-8, as `json.dumps(..., sort_keys=True,
    separators=(",", ":"), ensure_ascii=False)` writes it.
    """
    signed = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _describe(bundle: Bundle, records: Sequence[Record]) -> dict[str, Any]:
    manifest = bundle.manifest
    calibration = read_calibration(bundle)
    tuning = bundle.document(EVALUATION)
    return {
        "path": str(bundle.path),
        "id": bundle.id,
        "size_bytes": bundle.size_bytes,
        "trust": bundle.trust,
        "signed_by": bundle.signed_by,
        "has_signature": bundle.has_signature,
        "members": [
            {
                "name": name,
                "size_bytes": size,
                "sha256": bundle.id if name == MANIFEST else manifest.members.get(name),
            }
            for name, size in bundle.member_sizes.items()
        ],
        "manifest": manifest.model_dump(mode="json", exclude={"members", "sizes"}),
        "summary": summarize(manifest),
        "calibration": None if calibration is None else _calibration(calibration),
        "tuning": None if tuning is None else _without(tuning, _PEOPLE),
        "records": [
            {"kind": each.kind, "path": str(each.path), "sha256": each.sha256} for each in records
        ],
        "evaluations": [
            _evaluation(r.content) for r in records if isinstance(r.content, Evaluation)
        ],
        "profiles": [
            r.content.model_dump(mode="json")
            for r in records
            if not isinstance(r.content, Evaluation)
        ],
        "verification": _verify(bundle),
    }


def _evaluation(record: Evaluation) -> dict[str, Any]:
    """Return an evaluation without curves, histograms and the captures it names."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(record)))
    for case in plain["cases"]:
        case["figures"].pop("histogram")
        if case["figures"]["separation"] is not None:
            case["figures"]["separation"].pop("curve")
    for overlap in plain["overlap"]:
        overlap["subjects"] = len(overlap["subjects"])
    return _without(plain, ("worst",))


def _calibration(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what calibration.json says, people counted and not named."""
    found = _without(record, (*_PEOPLE, "captures", "sensitivities", "ranges", "trials"))
    for name in ("subjects", "captures", "trials"):
        held = record.get(name)
        found[name] = len(held) if isinstance(held, list) else None
    return found


def _without(record: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def _verify(bundle: Bundle) -> dict[str, Any]:
    """Replay the golden captures of a bundle and return what came of it."""
    from fasdk.backends.engine import Backend
    from fasdk.backends.registry import open_engine, require_installed
    from fasdk.session.session import Liveness

    found: dict[str, Any] = {
        "golden_captures": len(bundle.golden),
        "golden_tolerance": bundle.manifest.golden_tolerance,
        "ok": None,
        "backend": None,
        "golden_drift": None,
        "reason": None,
    }
    try:
        require_installed(Backend.ONNXRUNTIME)
    except BackendError as error:  # not replayed, which is neither good nor bad
        found["reason"] = str(error)
        return found
    try:
        engine = open_engine(bundle, Backend.ONNXRUNTIME)
        with Liveness(bundle, engine) as liveness:
            found["backend"] = f"{engine.backend.value} {engine.version}"
            found["golden_drift"] = liveness.replay_golden()
            found["ok"] = True
    except FasdkError as error:
        found["ok"], found["reason"] = False, str(error)
    return found
