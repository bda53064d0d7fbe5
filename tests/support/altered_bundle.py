"""Bundles altered member by member, and how they are refused."""

from __future__ import annotations

import json

import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.members import MANIFEST
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import BundleError

from support.archive_attacks import canonical


def refuse(tmp_path, members, *words, trust=None):
    """Write these members canonically and expect `open_bundle` to refuse them in these words.

    No signature is asked for unless `trust` says so: what is refused is what the words name.
    """
    path = tmp_path / "altered.fasb"
    path.write_bytes(canonical(members))
    with pytest.raises(BundleError) as refusal:
        open_bundle(path, trust or TrustPolicy.unsigned())
    for word in ("altered.fasb", *words):
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)
    return refusal.value


def with_manifest(members, change):
    """Return `members` with the manifest's JSON changed in place and written canonically."""
    document = json.loads(members[MANIFEST])
    change(document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return members | {MANIFEST: text.encode()}


def plan_entry(member):
    """Return the manifest's entry of a plan held in `member`."""
    return {
        "member": member,
        "compute_capabilities": ["8.6"],
        "version": "1.7.1.116",
        "max_batch": 4,
    }
