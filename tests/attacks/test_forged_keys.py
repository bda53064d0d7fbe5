"""Public keys for which signatures can be forged, and key files that others can change.

Whoever gets a key file accepted gives one whose point has a small order, which verifies signatures
that nobody made, or one in another form; or overwrites a file that everybody can write. None of
them is trusted.
"""

from __future__ import annotations

import base64
import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fasdk.bundle.public_keys import is_sound_point, load_public_key
from fasdk.bundle.signing import CONTEXT, generate_key, open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk.bundle.trust_store import SYSTEM_FOLDER, add_key, read_store
from fasdk.errors import FasdkError, TrustError

P = 2**255 - 19
# All encodings of the points of order 1, 2, 4 and 8 (RFC 8032; Chalkias et al., 2020, table 6).
ORDER_8 = (
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
)
SMALL = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, P - 1, P, P + 1, *ORDER_8)
    for sign in (0, 1)
]
PREFIX = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo of Ed25519


def pem(raw):
    body = base64.b64encode(PREFIX + raw).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def key_file(tmp_path, text, mode=0o644):
    path = tmp_path / "key.pub"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def sound(tmp_path):
    return generate_key(tmp_path / "vendor.pem")[0]


def test_points_of_small_order_verify_what_nobody_signed():
    """The attack itself: the all-zero signature, with R the identity, holds for some message."""
    identity = (1).to_bytes(32, "little")
    forged = 0
    for message in (CONTEXT + bytes([n]) for n in range(64)):
        try:
            Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), message)
        except InvalidSignature:
            continue
        forged += 1
    assert forged == 64


@pytest.mark.parametrize("raw", SMALL, ids=lambda raw: raw.hex()[:4] + raw.hex()[-4:])
def test_no_point_of_small_order_is_a_key(tmp_path, raw):
    assert not is_sound_point(raw)
    path = key_file(tmp_path, pem(raw))
    for take in (TrustPolicy.from_files, add_key, load_public_key):
        with pytest.raises(TrustError, match=r"key\.pub: (the key's point|not a readable)"):
            take(path)


def test_points_off_the_curve_or_with_a_small_part_are_no_keys(sound):
    raw = load_public_key(sound).raw
    assert is_sound_point(raw)
    # A point of order 2 added to a sound one negates both coordinates.
    y = int.from_bytes(raw, "little")
    mixed = (P - (y & (2**255 - 1))) | (1 - (y >> 255)) << 255
    assert not is_sound_point(mixed.to_bytes(32, "little"))
    for off in (bytes(31), bytes(33), (2).to_bytes(32, "little"), b"\xff" * 32):
        assert not is_sound_point(off)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda text: text.replace("PUBLIC", "PRIVATE"),
        lambda text: text + text,
        lambda text: text + "Expires: 2999-12-31\n",
        lambda text: "Expires: never\n" + text,
        lambda text: "Expire: 2999-12-31\n" + text,
        lambda text: "Expires: 2000-01-01\nExpires: 2999-12-31\n" + text,
        lambda text: text[:-30],
        lambda _: pem(b"\1" * 31),
        lambda text: "é" + text,
        lambda text: text + "\n" * 70_000,
    ],
)
def test_a_file_in_another_form_is_refused_whole(sound, tmp_path, change):
    path = key_file(tmp_path, change(sound.read_text()))
    for take in (TrustPolicy.from_files, add_key):
        with pytest.raises(TrustError, match=r"key\.pub"):
            take(path)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o777])
def test_a_key_file_that_others_can_write_is_refused_until_mended(sound, tmp_path, mode):
    path = key_file(tmp_path, sound.read_text(), mode)
    for take in (TrustPolicy.from_files, add_key):
        with pytest.raises(TrustError, match=rf"mode {mode:04o}.*chmod go-w '{path}'"):
            take(path)
    path.chmod(mode & ~0o022)
    TrustPolicy.from_files(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_private_key_that_others_can_read_does_not_sign(sound, mode):
    private = sound.with_suffix("")
    private.chmod(mode)
    with pytest.raises(TrustError, match=rf"mode {mode:04o}.*chmod go-rwx '{private}'"):
        open_signer(private)
    private.chmod(mode & ~0o077)
    open_signer(private)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another account")
def test_a_key_file_of_another_account_is_refused(sound):
    os.chown(sound, 4321, -1)
    with pytest.raises(TrustError, match="belongs to account 4321, expected 0 or root"):
        TrustPolicy.from_files(sound)


@pytest.mark.parametrize("name", ["key.pub", "revoked"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, name):
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    trust = tmp_path / "home" / "trust"
    trust.mkdir(parents=True, mode=0o700)
    (tmp_path / "home").chmod(0o700)
    path = trust / name
    for make in (
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to("/nowhere"),
        path.mkdir,
    ):
        make()
        for read in (read_store, TrustPolicy.installed):
            with pytest.raises(FasdkError, match=name):
                read()
        path.rmdir() if path.is_dir() else path.unlink()
    assert SYSTEM_FOLDER.is_absolute()
