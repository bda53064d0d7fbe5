"""Audit logs of made-up decisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fasdk.audit import AuditFlush, AuditLog, AuditPolicy
from fasdk.decision import Decision, Verdict
from fasdk.reasons import Reason

UNFLUSHED = AuditPolicy(flush=AuditFlush.SYSTEM)
LIVE = Decision(
    verdict=Verdict.LIVE,
    score=0.98,
    threshold=0.5,
    operating_point="standard/rgb+depth+ir",
    bundle_id="ab" * 32,
    trust="key 0123456789abcdef",
)
RETRY = Decision(
    verdict=Verdict.RETRY,
    reasons=("no face in /captures/alice/1.png",),
    codes=(Reason.NO_FACE,),
    bundle_id="ab" * 32,
    trust="key 0123456789abcdef",
)


WIDE = replace(LIVE, operating_point="o" * 256, bundle_id="b" * 256, trust="t" * 256)


def write_log(
    path: Path,
    decisions: int = 3,
    policy: AuditPolicy = UNFLUSHED,
    key: Path | None = None,
    decision: Decision = LIVE,
) -> str:
    """Append a run of decisions to a log, the given one and RETRY in turn, and return its head."""
    with AuditLog(path, policy, key=key) as audit:
        for number in range(decisions):
            audit.record(RETRY if number % 2 and decision is LIVE else decision, "lobby")
    return audit.head


def write_key(path: Path, secret: bytes = b"k" * 32) -> Path:
    """Write a key file that others cannot read."""
    path.write_bytes(secret)
    path.chmod(0o600)
    return path
