"""Keys that were trusted once: revoked, past their last day, or brought along by a copied folder.

The attacker has a bundle signed by such a key, or a copy of the folder of an account on another
machine. The bundle is refused everywhere, also where the key is named outright.
"""

from __future__ import annotations

import shutil
from datetime import date, datetime, timedelta, timezone

import pytest

import fasdk
from fasdk.bundle import signing, trust_store
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.public_keys import load_public_key
from fasdk.bundle.signing import build_signer, generate_key
from fasdk.bundle.trust import TrustPolicy
from fasdk.bundle.trust_store import TrustScope, add_key, read_store, revoke_key
from fasdk.errors import TrustError, UsageError
from fasdk_tools import cli

from support import tiny_bundle

TODAY = datetime.now(timezone.utc).date()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def vendor(tmp_path, home):
    """The vendor's public key, and a bundle signed by it."""
    public, _ = generate_key(tmp_path / "vendor.pem")
    return public, tiny_bundle.write(tmp_path / "lobby.fasb", tmp_path / "vendor.pem")


def test_a_bundle_is_refused_until_its_key_is_trusted_and_again_once_it_is_revoked(vendor):
    public, bundle = vendor
    with pytest.raises(TrustError, match=r"fasdk trust add KEY\.pub"):
        open_bundle(bundle)
    stored = add_key(public)
    assert open_bundle(bundle).signed_by == stored.key.id
    session = fasdk.open(bundle, threads=1)
    revoke_key(stored.key.id)
    for policy in (None, TrustPolicy.from_files(public)):
        with pytest.raises(TrustError, match=f"key {stored.key.id}, which is revoked"):
            open_bundle(bundle, policy)
    with pytest.raises(TrustError, match="is revoked"):
        add_key(public)
    session.close()


@pytest.mark.parametrize("name", ["id", "file", "fingerprint"])
def test_a_key_is_revoked_by_any_of_its_names_before_it_was_ever_trusted(vendor, name):
    public, bundle = vendor
    key = load_public_key(public)
    if name == "id":
        with pytest.raises(UsageError, match="whole fingerprint of 64 digits"):
            revoke_key(key.id)
        add_key(public)
    which = {"id": key.id, "file": str(public), "fingerprint": key.fingerprint}[name]
    assert revoke_key(which) == (key.fingerprint,)
    assert revoke_key(which) == ()
    with pytest.raises(TrustError, match="revoked"):
        open_bundle(bundle, TrustPolicy.from_files(public))


def test_a_key_is_trusted_through_its_last_day_and_not_after(vendor):
    public, bundle = vendor
    with pytest.raises(TrustError, match="expired on"):
        add_key(public, expires=TODAY - timedelta(days=1))
    add_key(public, expires=TODAY + timedelta(days=1))
    assert open_bundle(bundle).signed_by
    (key,) = TrustPolicy.installed().keys
    noon = datetime(2030, 6, 1, 12, tzinfo=timezone.utc)
    last = type(key)(key.raw, key.source, date(2030, 6, 1))
    assert not last.is_expired(noon)
    assert last.is_expired(noon + timedelta(days=1))
    text = public.read_text()
    public.write_text(f"Expires: {TODAY - timedelta(days=1)}\n{text}")
    with pytest.raises(TrustError, match=r"expired on .*`fasdk trust add"):
        open_bundle(bundle, TrustPolicy.from_files(public))
    with pytest.raises(TrustError, match="expired on"):
        add_key(public)
    add_key(public, expires=TODAY)  # the fix that is named
    assert open_bundle(bundle).signed_by == key.id


def test_the_last_day_in_the_store_binds_who_names_the_file(vendor, tmp_path, monkeypatch):
    public, bundle = vendor
    add_key(public, expires=TODAY)
    assert open_bundle(bundle, TrustPolicy.from_files(public)).signed_by
    (stored,) = (tmp_path / "home" / "trust").glob("*.pub")
    text = stored.read_text()
    stored.write_text(text.replace(str(TODAY), str(TODAY - timedelta(days=1))))
    for policy in (None, TrustPolicy.from_files(public)):
        with pytest.raises(TrustError, match="expired on"):
            open_bundle(bundle, policy)
    if tmp_path.stat().st_uid == 0:  # the system's entry, without an end, extends nothing
        monkeypatch.setattr(trust_store, "SYSTEM_FOLDER", tmp_path / "system")
        add_key(public, scope=TrustScope.SYSTEM)
        with pytest.raises(TrustError, match="expired on"):
            open_bundle(bundle)


@pytest.mark.parametrize(
    "spoil", ["not a fingerprint\n", "ABCDEF" * 10 + "ABCD\n", "00" * 31 + "\n", "\xff\n"]
)
def test_nothing_is_trusted_while_the_list_of_revocations_cannot_be_read(vendor, home, spoil):
    public, _ = vendor
    add_key(public)
    (home / "trust" / "revoked").write_text(spoil, "latin-1")
    for policy in (TrustPolicy.installed, lambda: TrustPolicy.from_files(public)):
        with pytest.raises(TrustError, match=r"revoked: line 1 is no fingerprint"):
            policy()


def test_the_systems_folder_is_roots_alone(vendor, tmp_path, monkeypatch):
    public, bundle = vendor
    system = tmp_path / "system"
    monkeypatch.setattr(trust_store, "SYSTEM_FOLDER", system)
    if (tmp_path).stat().st_uid != 0:
        with pytest.raises(TrustError, match="than root"):
            add_key(public, scope=TrustScope.SYSTEM)
        return
    stored = add_key(public, scope=TrustScope.SYSTEM)
    assert open_bundle(bundle).signed_by == stored.key.id
    system.chmod(0o777)
    with pytest.raises(TrustError, match=f"chmod go-w '{system}'"):
        open_bundle(bundle)
    system.chmod(0o755)
    revoke_key(stored.key.id)  # an account may trust less than its machine
    with pytest.raises(TrustError, match="revoked"):
        open_bundle(bundle)


def test_a_copied_home_brings_no_build_key_along(tmp_path, home, monkeypatch):
    bundle = tiny_bundle.write(tmp_path / "built.fasb")
    first = build_signer().key_id
    assert open_bundle(bundle).signed_by == first
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "copy"))
    assert open_bundle(bundle).signed_by == first  # the same machine
    monkeypatch.setattr(signing, "machine_tag", lambda _: "another machine")
    assert read_store().keys == ()
    with pytest.raises(TrustError, match="fits no trusted key"):
        open_bundle(bundle)
    assert build_signer().key_id != first


def test_the_verbs_do_the_same(vendor, capfd, tmp_path):
    public, bundle = vendor

    def run(*words):
        return cli.main([str(word) for word in words])

    assert run("inspect", bundle) == 2
    assert run("trust", "add", public, "--expires", "tomorrow") == 2
    assert run("trust", "add", public, "--expires", TODAY) == 0
    assert run("inspect", bundle) == 0
    assert run("trust", "list") == 0
    assert "trusted" in capfd.readouterr().out
    assert run("trust", "revoke", public) == 0
    assert run("trust", "list") == 0
    assert "revoked" in capfd.readouterr().out
    assert run("inspect", bundle) == 2
    assert run("verify", bundle, "--key", public) == 1
