"""Claims about the audit log: doors that are killed while they write it, and edits of it."""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim
from measuring import pytest_claim, support_json

KILLS = 200
FLIPS = 2_000


def audit_claims() -> Iterator[Claim]:
    """The audit log: doors that are killed while they write it, and edits of what they wrote."""
    for what, found in support_json("support.audit_kills", "--kills", KILLS).items():
        note = (
            f"{found['printed']} decisions given, {found['early']} kills before the first of a "
            f"process, {found['torn']} torn lines gone on from, {found['files']} files"
        )
        name = "audit log, writers into small files" if what == "writers" else what
        yield Claim(f"{name}: kills by SIGKILL", found["kills"], ">=", KILLS, note)
        claim = "kills after which the chain did not verify or lacked a decision that was given"
        broken = "; ".join(map(str, found["broken"]))[:400]
        yield Claim(f"{name}: {claim}", len(found["broken"]), "==", 0, broken)
    for what, counted in support_json("support.audit_flips", "--flips", FLIPS).items():
        note = f"{counted['flips']} flips"
        claim = f"audit verify, {what}: flips that were accepted"
        yield Claim(claim, counted["accepted"], "==", 0, note)
        claim = f"audit verify, {what}: flips that were named at another line"
        yield Claim(claim, len(counted["elsewhere"]), "==", 0, note)
    yield pytest_claim(
        "audit verify: lines edited, removed, reordered, repeated, of another log or made anew: "
        "tests that fail or skip",
        "tests/attacks/test_edited_audit_log.py",
        *("-m", "slow or not slow"),
    )
    yield pytest_claim(
        "audit log: restarts, torn lines, rotation, full disks, keys: tests that fail or skip",
        "tests/sdk/audit",
        "tests/tools/cli/test_audit.py",
        *("-m", "slow or not slow"),
    )
