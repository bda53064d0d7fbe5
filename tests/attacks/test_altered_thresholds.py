"""Thresholds altered by whoever can write the bundle's file, who has no key.

They set a threshold to 0 and strip the signature, keep the old one, put other bytes in its place,
or sign with a key of their own. Every way to open the file refuses it, and says how a bundle that
is meant to be opened would be.
"""

from __future__ import annotations

import json

import pytest

import fasdk
from fasdk.backends.engine import Backend
from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.members import MANIFEST, SIGNATURE
from fasdk.bundle.signing import generate_key, open_signer, sign_manifest
from fasdk.bundle.trust import TrustPolicy
from fasdk.decision import Verdict
from fasdk.errors import TrustError, UsageError
from fasdk_tools import cli

from support import tiny_bundle
from support.archive_attacks import canonical

ATTACK = tiny_bundle.capture(40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("altered")


@pytest.fixture(scope="module")
def members(folder):
    """The vendor's bundle with every threshold 0, before the attacker signs it."""
    path = tiny_bundle.write(folder / "lobby.fasb")
    found = {k: bytes(v) for k, v in read_archive(path.read_bytes(), "lobby").items()}
    document = json.loads(found[MANIFEST])
    for point in document["operating_points"]:
        point["threshold"] = 0.0
    form = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
    return found | {MANIFEST: json.dumps(document, **form).encode()}


def own_signature(folder, manifest):
    key = folder / "attacker.pem"
    if not key.exists():
        generate_key(key)
    return sign_manifest(manifest, open_signer(key))


SIGNATURES = {
    "kept": lambda _, members: members[SIGNATURE],
    "stripped": lambda *_: None,
    "empty": lambda *_: b"",
    "garbage": lambda *_: b"garbage",
    "zeros": lambda *_: bytes(64),
    "longer": lambda _, members: members[SIGNATURE] + b"\0",
    "foreign": lambda folder, members: own_signature(folder, members[MANIFEST]),
}


@pytest.fixture(params=SIGNATURES)
def altered(request, folder, members):
    signature = SIGNATURES[request.param](folder, members)
    kept = {k: v for k, v in members.items() if k != SIGNATURE or signature is not None}
    path = folder / f"{request.param}.fasb"
    path.write_bytes(canonical(kept if signature is None else kept | {SIGNATURE: signature}))
    return path


def test_the_library_opens_none_of_them(altered):
    for refuse in (open_bundle, fasdk.open):
        with pytest.raises(TrustError, match=r"TrustPolicy\.unsigned\(\)"):
            refuse(altered)
    with pytest.raises(TrustError):
        open_bundle(altered, TrustPolicy())
    for no_policy in (False, "unsigned", ()):
        with pytest.raises(UsageError, match="expected a TrustPolicy"):
            fasdk.open(altered, trust=no_policy)
    with fasdk.open(tiny_bundle.write(altered.with_name("right.fasb")), threads=1) as session:
        with pytest.raises(TrustError):
            session.swap(altered)
        assert session.check(ATTACK).verdict is Verdict.SPOOF


@pytest.mark.parametrize("altered", ["kept", "stripped", "garbage"], indirect=True)
@pytest.mark.parametrize(
    ("verb", "status"),
    [
        (["inspect"], 2),
        (["verify"], 1),
        (["build-plan", "--backend", "onnxruntime"], 2),
        (["build-engine", "--backend", "onnxruntime"], 2),
        (["profile", "--backend", "onnxruntime"], 2),
        (["evaluate", "--protocol", "absent.jsonl"], 2),
        (["tune", "-o", "tuned.fasb", "--protocol", "absent.jsonl"], 2),
        (["debug-parity"], 2),
    ],
)
def test_no_verb_takes_one(altered, verb, status, capfd, monkeypatch):
    monkeypatch.chdir(altered.parent)
    assert cli.main([verb[0], str(altered), *verb[1:]]) == status
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "--unsigned" in shown.err
    assert "unexpected" not in shown.err


def test_what_is_opened_unsigned_says_so_and_is_never_called_signed(altered, capfd, caplog):
    with fasdk.open(
        altered, trust=TrustPolicy.unsigned(), backend=Backend.ONNXRUNTIME, threads=1
    ) as session:
        decision = session.check(ATTACK)
        assert (session.bundle.trust, session.bundle.signed_by) == ("unsigned", None)
    assert (decision.verdict, decision.trust) == (Verdict.LIVE, "unsigned")
    assert f"{altered}: opened with trust: unsigned" in caplog.text
    cli.main(["inspect", str(altered), "--unsigned", "--json"])
    assert json.loads(capfd.readouterr().out)["signed"] is False
    status = cli.main(["verify", str(altered), "--unsigned", "--json"])
    verified = json.loads(capfd.readouterr().out)
    assert verified["signed"] is False
    has_signature = "stripped" not in altered.name
    assert (status, verified["ok"]) == (int(has_signature), not has_signature)
