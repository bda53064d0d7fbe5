"""Verb accept and --allow: a newer bundle, an older one, and the fixes that messages propose."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from fasdk.bundle import revisions
from fasdk.bundle.signing import generate_key
from fasdk.bundle.succession import BundleChange
from fasdk_tools.cli.root import AllowOption

from support import tiny_bundle


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of a vendor at revision 2, on a machine that took none yet."""
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(revisions, "SYSTEM_FILE", tmp_path / "system" / "revisions.json")
    generate_key(tmp_path / "vendor.pem")
    return tiny_bundle.write(tmp_path / "lobby.fasb", tmp_path / "vendor.pem", revision=2)


def key_of(door: Path) -> tuple[str, str]:
    return "--key", str(door.with_name("vendor.pem.pub"))


def put(door: Path, revision: int) -> None:
    tiny_bundle.write(door, door.with_name("vendor.pem"), revision=revision)


def test_a_bundle_that_was_accepted_keeps_older_ones_out(fasdk, door):
    ran = fasdk("accept", door, *key_of(door), "--json")
    assert ran.status == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert (document["revision"], document["product"]) == (2, "averages")
    assert Path(document["state_file"]).is_file()
    ran = fasdk("accept", door, *key_of(door))
    assert ran.stdout.startswith("Revision 2 of averages is what this machine takes")
    assert "this account's" in ran.stdout
    put(door, 1)
    for verb in ("accept", "verify"):
        ran = fasdk(verb, door, *key_of(door))
        assert ran.status == (2 if verb == "accept" else 1)
        assert "is revision 1, the one last taken is revision 2" in ran.stderr


def test_the_fix_that_the_message_states_works(fasdk, door):
    fasdk("accept", door, *key_of(door))
    put(door, 1)
    ran = fasdk("verify", door, *key_of(door))
    fix = shlex.split(re.search(r"\((--allow [^)]*) on the command line\)", ran.stderr)[1])
    assert fix == ["--allow", "rollback"]
    assert fasdk("verify", door, *key_of(door), *fix).status == 0
    assert fasdk("verify", door, *key_of(door)).status == 1  # it does not record
    assert fasdk("accept", door, *key_of(door), *fix).status == 0
    assert fasdk("verify", door, *key_of(door)).status == 0


def test_a_damaged_state_is_named_and_the_fix_works(fasdk, door, tmp_path):
    fasdk("accept", door, *key_of(door))
    (tmp_path / "home" / "state" / "revisions.json").write_text("{")
    ran = fasdk("verify", door, *key_of(door))
    assert ran.status == 2
    assert "run `fasdk accept BUNDLE --reset`" in ran.stderr
    assert fasdk("accept", door, *key_of(door), "--reset").status == 0
    assert fasdk("verify", door, *key_of(door)).status == 0


def test_measuring_an_older_bundle_needs_no_permission(fasdk, door):
    fasdk("accept", door, *key_of(door))
    put(door, 1)
    for words in (
        ("profile", door, "--seconds", "0.05", "--backend", "onnxruntime"),
        ("build-plan", door, "--backend", "onnxruntime"),
        ("inspect", door),
    ):
        ran = fasdk(*words, *key_of(door))
        assert ran.status == 0, ran.stderr


def test_a_change_that_does_not_exist_is_refused_with_the_known_ones(fasdk, door):
    ran = fasdk("verify", door, *key_of(door), "--allow", "everything")
    assert ran.status == 2
    assert "everything" in ran.stderr
    assert all(change.value in ran.stderr for change in BundleChange)


def test_a_bundle_built_here_need_not_be_accepted(fasdk, door, tmp_path):
    own = tiny_bundle.write(tmp_path / "own.fasb")
    ran = fasdk("accept", own)
    assert ran.status == 2
    assert "it was built here" in ran.stderr


def test_the_help_of_allow_names_every_change():
    option = AllowOption.__metadata__[0]
    assert all(change.value in option.help for change in BundleChange)
