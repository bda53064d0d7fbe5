"""Trust in bundles: required signatures, the keys that make and check them, and their files."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fasdk.bundle.signing import generate_key, open_signer, sign_manifest
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import FasdkError, TrustError

MANIFEST = b'{"schema_version":2}'


def sign(manifest, private):
    return sign_manifest(manifest, open_signer(private))


@pytest.fixture
def keys(tmp_path):
    private = tmp_path / "vendor.pem"
    public, key_id = generate_key(private)
    return private, public, key_id


def test_a_good_signature_names_its_key(keys):
    private, public, key_id = keys
    signature = sign(MANIFEST, private)
    assert len(signature) == 64
    assert TrustPolicy.from_files(public).check(MANIFEST, signature, "x") == key_id


def test_any_of_several_trusted_keys_will_do(keys, tmp_path):
    private, public, key_id = keys
    other, _ = generate_key(tmp_path / "other.pem")
    policy = TrustPolicy.from_files(other, public)
    assert policy.check(MANIFEST, sign(MANIFEST, private), "x") == key_id


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: None,
        lambda _: b"",
        lambda s: s[:-1],
        lambda s: s + b"\0",
        lambda _: bytes(64),
        lambda s: s[:10] + bytes([s[10] ^ 1]) + s[11:],
        lambda s: s[32:] + s[:32],
    ],
)
def test_an_absent_or_altered_signature_is_refused(keys, spoil):
    private, public, _ = keys
    with pytest.raises(TrustError, match=r"x\.fasb"):
        TrustPolicy.from_files(public).check(MANIFEST, spoil(sign(MANIFEST, private)), "x.fasb")


def test_a_signature_holds_for_its_own_manifest_and_key_alone(keys, tmp_path):
    private, public, _ = keys
    signature = sign(MANIFEST, private)
    with pytest.raises(TrustError, match="fits none of the 1 trusted keys"):
        TrustPolicy.from_files(public).check(MANIFEST + b" ", signature, "x")
    other, _ = generate_key(tmp_path / "other.pem")
    with pytest.raises(TrustError, match="fits none"):
        TrustPolicy.from_files(other).check(MANIFEST, signature, "x")


def test_only_an_unsigned_policy_asks_for_no_signature(keys):
    unsigned = TrustPolicy.unsigned()
    assert unsigned.check(MANIFEST, None, "x") is None
    assert unsigned.check(MANIFEST, b"not one", "x") is None
    for signature in (None, b"not one", sign(MANIFEST, keys[0])):
        with pytest.raises(TrustError, match=r"TrustPolicy\.unsigned\(\)"):
            TrustPolicy().check(MANIFEST, signature, "x")


def test_an_empty_list_of_key_files_does_not_become_another_policy():
    with pytest.raises(TrustError, match="no public key file"):
        TrustPolicy.from_files()


def test_a_new_private_key_is_its_owners_alone_and_never_overwritten(keys):
    private, public, _ = keys
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(TrustError, match="exists"):
        generate_key(private)
    private.unlink()
    with pytest.raises(TrustError, match=r"vendor\.pem\.pub exists"):
        generate_key(private)
    assert not private.exists()
    assert public.read_bytes() == before[1]


def test_a_key_pair_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    with pytest.raises(FasdkError, match="cannot write"):
        generate_key(tmp_path / "absent" / "key.pem")
    from fasdk.bundle import signing

    real = signing.atomic_write

    def full_disk(path, mode=0o666):
        if mode == 0o600:
            raise FasdkError(f"cannot write {path}: No space left on device")
        return real(path, mode=mode)

    monkeypatch.setattr(signing, "atomic_write", full_disk)
    with pytest.raises(FasdkError, match="No space left"):
        generate_key(tmp_path / "key.pem")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_key_is_named(keys, tmp_path):
    private, public, _ = keys
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    other = ed448.Ed448PrivateKey.generate()
    wrong = tmp_path / "ed448.pem"
    wrong.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    wrong_public = tmp_path / "ed448.pub"
    wrong_public.write_bytes(
        other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        load_pem_private_key(private.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    for path in (junk, wrong, public, locked, tmp_path / "absent.pem", tmp_path):
        with pytest.raises(TrustError, match=path.name):
            sign(MANIFEST, path)
    for path in (junk, wrong_public, private, tmp_path / "absent.pub", tmp_path):
        with pytest.raises(TrustError, match=path.name):
            TrustPolicy.from_files(path)
