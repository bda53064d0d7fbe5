"""A bundle altered on the workstation before `fasdk tune --sign-key`, which signs what it keeps.

The attacker lowers a threshold or replaces the prebuilt plan, which is native code, and waits for
the vendor to tune. Nothing is signed; with --unsigned said outright the plan is left out anyway.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.manifest import PlanEntry
from fasdk.bundle.members import MANIFEST, SIGNATURE
from fasdk.bundle.signing import build_signer, generate_key, open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk_tools import cli

from support import tiny_bundle
from support.archive_attacks import canonical

PLAN = "plans/tensorrt-rtx.plan"
ENTRY = PlanEntry(member=PLAN, compute_capabilities=("8.6",), version="1.7", max_batch=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Frames of 30 bona fide people and 30 prints with their list, and the vendor's key."""
    root = tmp_path_factory.mktemp("workstation")
    lines = []
    for number in range(60):
        label = "bona fide" if number < 30 else "attack"
        level = 200 + number if label == "bona fide" else number
        cv2.imwrite(str(root / f"{number}.png"), np.full((8, 8, 3), min(level, 255), np.uint8))
        name = {"id": f"{number}", "subject": f"{number}", "presentation": f"{number}"}
        species = "bona fide" if label == "bona fide" else "print"
        row = name | {"label": label, "species": species, "domain": "lab", "rgb": f"{number}.png"}
        lines.append(json.dumps(row))
    (root / "tuning.jsonl").write_text("\n".join(lines) + "\n")
    generate_key(root / "vendor.pem")
    return root


def door(path, signer=None):
    """Write a bundle with a plan, as a build leaves it."""
    described = tiny_bundle.manifest(plans=(ENTRY,))
    members = tiny_bundle.members(described) | {PLAN: b"the vendor's plan"}
    write_bundle(path, described, members, signer)
    return path


def tuned(folder, source, *options):
    """Tune with the vendor's key, and return the exit status and the bundle, if one was written."""
    out = folder / "lobby.fasb"
    out.unlink(missing_ok=True)
    words = ["tune", source, "-o", out, "--protocol", folder / "tuning.jsonl"]
    words += ["--level", "lobby=0.1", "--sign-key", folder / "vendor.pem", "--json", *options]
    status = cli.main([str(word) for word in words])
    if not out.exists():
        return status, None
    return status, open_bundle(out, TrustPolicy.from_files(folder / "vendor.pem.pub"))


def lower(members):
    document = json.loads(members[MANIFEST])
    document["operating_points"][0]["threshold"] = 0.0
    form = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
    return members | {MANIFEST: json.dumps(document, **form).encode()}


def replace_plan(members):
    return members | {PLAN: b"\x7fELF of the attacker"}


def strip(members):
    return {name: content for name, content in members.items() if name != SIGNATURE}


@pytest.mark.parametrize("alter", [lower, replace_plan, strip])
def test_an_altered_input_is_not_signed(folder, alter, capfd):
    source = door(folder / "door.fasb")
    members = {k: bytes(v) for k, v in read_archive(source.read_bytes(), "door").items()}
    source.write_bytes(canonical(alter(members)))
    assert tuned(folder, source) == (2, None)
    assert "door.fasb" in capfd.readouterr().err


def test_the_fix_that_is_named_signs_it_without_the_plan(folder, capfd):
    source = door(folder / "door.fasb")
    members = {k: bytes(v) for k, v in read_archive(source.read_bytes(), "door").items()}
    source.write_bytes(canonical(strip(members)))
    assert tuned(folder, source) == (2, None)
    assert "--unsigned" in capfd.readouterr().err
    status, bundle = tuned(folder, source, "--unsigned")
    assert (status, bundle.manifest.plans, PLAN in bundle.members) == (0, (), False)
    shown = capfd.readouterr()
    assert json.loads(shown.out)["trust"] == "unsigned"
    assert "plans/tensorrt-rtx.plan left out" in shown.err


def test_plans_are_kept_where_this_account_or_this_signer_had_signed_them(folder, capfd):
    status, bundle = tuned(folder, door(folder / "door.fasb"))
    assert (status, [entry.member for entry in bundle.manifest.plans]) == (0, [PLAN])
    signed_before = door(folder / "vendors.fasb", open_signer(folder / "vendor.pem"))
    key = ("--key", folder / "vendor.pem.pub")
    status, bundle = tuned(folder, signed_before, *key)
    assert (status, [entry.member for entry in bundle.manifest.plans]) == (0, [PLAN])
    assert bundle.signed_by != build_signer().key_id


def test_a_plan_of_another_trusted_signer_is_left_out(folder, capfd):
    other = folder / "other.pem"
    generate_key(other)
    source = door(folder / "others.fasb", open_signer(other))
    status, bundle = tuned(folder, source, "--key", f"{other}.pub")
    assert (status, bundle.manifest.plans) == (0, ())
    assert "left out: built elsewhere" in capfd.readouterr().err
