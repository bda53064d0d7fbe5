"""Keys that sign: encrypted files, where passphrases come from, the build key, hardware tokens."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.public_keys import load_public_key, verifies
from fasdk.bundle.signer import Signer
from fasdk.bundle.signing import (
    CONTEXT,
    build_key_path,
    build_signer,
    generate_key,
    open_signer,
    public_path,
    sign_manifest,
)
from fasdk.bundle.token import open_token
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import TrustError, UsageError
from fasdk_tools import cli

from support import tiny_bundle
from support.requirements import Requirement

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
ED25519 = bytes.fromhex("130c656477617264733235353139")  # PrintableString "edwards25519"
SECRET = b"a long passphrase"


@pytest.fixture
def encrypted(tmp_path):
    generate_key(tmp_path / "vendor.pem", SECRET)
    return tmp_path / "vendor.pem"


def signs(signer, private):
    message = CONTEXT + b"{}"
    raw = load_public_key(public_path(private)).raw
    return verifies(raw, sign_manifest(b"{}", signer), message)


def test_an_encrypted_key_signs_with_its_passphrase_alone(encrypted):
    assert b"ENCRYPTED" in encrypted.read_bytes()
    asked = []

    def ask(what):
        asked.append(what)
        return SECRET

    assert signs(open_signer(encrypted, ask), encrypted)
    assert asked == [f"private key {encrypted}"]
    with pytest.raises(TrustError, match=r"vendor\.pem.*the passphrase is wrong"):
        open_signer(encrypted, lambda _: b"another")
    with pytest.raises(TrustError, match=r"FASDK_KEY_PASSPHRASE, or a file"):
        open_signer(encrypted)


def test_the_environment_gives_the_passphrase_or_a_file_that_holds_it(
    encrypted, tmp_path, monkeypatch
):
    monkeypatch.setenv("FASDK_KEY_PASSPHRASE", SECRET.decode())
    assert signs(open_signer(encrypted), encrypted)
    monkeypatch.delenv("FASDK_KEY_PASSPHRASE")
    file = tmp_path / "passphrase"
    file.write_bytes(SECRET + b"\n")
    monkeypatch.setenv("FASDK_KEY_PASSPHRASE_FILE", str(file))
    file.chmod(0o644)
    with pytest.raises(TrustError, match=rf"chmod go-rwx '{file}'"):
        open_signer(encrypted)
    file.chmod(0o600)
    assert signs(open_signer(encrypted), encrypted)
    file.write_bytes(b"\n")
    with pytest.raises(TrustError, match="first line is empty"):
        open_signer(encrypted)


def test_an_empty_passphrase_encrypts_nothing(tmp_path):
    with pytest.raises(UsageError, match="passphrase is empty"):
        generate_key(tmp_path / "vendor.pem", b"")
    assert list(tmp_path.iterdir()) == []


def test_keygen_encrypts_and_tells_where_the_passphrase_comes_from(tmp_path, monkeypatch, capfd):
    key = tmp_path / "vendor.pem"
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123 - no terminal
    assert cli.main(["keygen", str(key), "--encrypt"]) == 2
    assert "FASDK_KEY_PASSPHRASE" in capfd.readouterr().err
    assert not key.exists()
    monkeypatch.setenv("FASDK_KEY_PASSPHRASE", SECRET.decode())
    assert cli.main(["keygen", str(key), "--encrypt"]) == 0
    assert signs(open_signer(key, lambda _: SECRET), key)


def test_the_build_key_is_made_once_and_is_its_owners_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    with ThreadPoolExecutor(8) as pool:
        ids = {signer.key_id for signer in pool.map(lambda _: build_signer(), range(8))}
    assert len(ids) == 1
    path = build_key_path()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, public_path(path).name]
    public_path(path).unlink()
    assert {build_signer().key_id} == ids
    assert load_public_key(public_path(path)).id in ids
    path.chmod(0o644)
    with pytest.raises(TrustError, match="chmod go-rwx"):
        build_signer()


class BrokenSigner(Signer):
    """A key whose signatures do not hold, as from a faulty token."""

    public_raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

    def sign(self, _message):
        return bytes(64)


def test_a_signature_that_does_not_hold_is_not_written(tmp_path):
    with pytest.raises(TrustError, match="does not verify under its public key"):
        sign_manifest(b"{}", BrokenSigner())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("pkcs11:", "it needs token and object"),
        ("pkcs11:token=a", "it needs token and object"),
        ("pkcs11:token=a;object=b;colour=red", "colour is not understood"),
        ("pkcs11:token", "'token' is no attribute"),
        ("pkcs11:token=a;object=b", "FASDK_PKCS11_MODULE"),
    ],
)
def test_a_wrong_address_says_what_is_expected(address, words, monkeypatch):
    monkeypatch.delenv("FASDK_PKCS11_MODULE", raising=False)
    with pytest.raises(TrustError, match=words):
        open_token(address, lambda _: b"1234")


@pytest.fixture
def token(tmp_path, monkeypatch):
    """A SoftHSM token with an Ed25519 key pair, and its address."""
    pkcs11 = Requirement.SOFTHSM.module("pkcs11")
    Requirement.SOFTHSM.programs("softhsm2-util")
    if not SOFTHSM.exists():
        Requirement.SOFTHSM.skip(f"{SOFTHSM} not found")
    (tmp_path / "tokens").mkdir()
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    command = ["softhsm2-util", "--init-token", "--free", "--label", "vendor"]
    subprocess.run([*command, "--so-pin", "5678", "--pin", "1234"], check=True)
    library = pkcs11.lib(str(SOFTHSM))
    library.reinitialize()
    with library.get_token(token_label="vendor").open(rw=True, user_pin="1234") as session:  # noqa: S106
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC_EDWARDS,
            {pkcs11.Attribute.EC_PARAMS: ED25519},
            local=True,
        )
        parameters.generate_keypair(
            store=True, label="release", mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN
        )
    return f"pkcs11:token=vendor;object=release?module-path={SOFTHSM}"


def test_a_key_in_a_token_signs_a_bundle(token, tmp_path, monkeypatch):
    with pytest.raises(TrustError, match="cannot be used: PinIncorrect"):
        open_signer(token, lambda _: b"4321")
    with pytest.raises(TrustError, match="cannot be used: NoSuchToken"):
        open_signer(token.replace("token=vendor", "token=absent"), lambda _: b"1234")
    monkeypatch.setenv("FASDK_KEY_PASSPHRASE", "1234")
    signer = open_signer(token)
    path = tmp_path / "lobby.fasb"
    tiny_bundle.write(path, token)
    public = tmp_path / "token.pub"
    public.write_bytes(signer.public_pem)
    assert open_bundle(path, TrustPolicy.from_files(public)).signed_by == signer.key_id
    with pytest.raises(TrustError, match="cannot be used: NoSuchKey"):
        open_signer(token.replace("object=release", "object=absent"))
