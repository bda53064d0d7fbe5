"""Private keys that sign bundles: PEM files, the account's build key, and hardware tokens."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.bundle.public_keys import read_guarded, verifies
from fasdk.bundle.signer import AskPassphrase, Signer, ask_for
from fasdk.bundle.token import SCHEME, open_token
from fasdk.errors import TrustError, UsageError
from fasdk.file_lock import locked_folder
from fasdk.home import home_folder, home_path
from fasdk.machine import machine_tag

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONTEXT = b"fasdk bundle signature, schema 2\n"
"""What precedes a manifest in the message that is signed, so that no signature made for anything
else can stand for a bundle's."""
_KEYS = "keys"
_PUBLIC_MODE = 0o644  # whatever the umask: a key that others can write is trusted by nobody
_BUILD_KEY_PURPOSE = "build key"


@dataclass(frozen=True)
class PemSigner(Signer):
    """Private key read from a PEM file.

    Attributes:
        path: File it was read from.
    """

    path: Path
    _key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_raw(self) -> bytes:
        """The 32 bytes of its public key."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes) of a message."""
        return self._key.sign(message)


def sign_manifest(manifest: bytes, signer: Signer) -> bytes:
    """Return the signature (64 bytes) of a manifest's exact bytes, after `CONTEXT`.

    Raises:
        TrustError: The key cannot be used, or what it gave does not verify.
    """
    signature = signer.sign(CONTEXT + manifest)
    if not verifies(signer.public_raw, signature, CONTEXT + manifest):
        raise TrustError(
            f"key {signer.key_id} gave a signature that does not verify under its public key: "
            "nothing is written; check the key or the token it is kept in"
        )
    return signature


def open_signer(where: str | Path | None, ask: AskPassphrase | None = None) -> Signer:
    """Return the key that signs: a PEM file's, a hardware token's, or the account's build key.

    Args:
        where: PEM file (PKCS #8) of an Ed25519 private key; a PKCS #11 address (RFC 7512), such as
            "pkcs11:token=vendor;object=release"; or None for the account's build key.
        ask: Function that asks for the passphrase of an encrypted file or the PIN of a token where
            the environment has none; None where nobody can be asked.

    Raises:
        TrustError: The file is unreadable, open to others, or holds no Ed25519 private key; the
            passphrase is missing or wrong; or the token or its key cannot be used.
        HomeError: The account's folder cannot hold a build key.
    """
    if where is None:
        return build_signer()
    if str(where).startswith(SCHEME):
        return open_token(str(where), ask)
    return _load(Path(where), ask)


def build_key_path() -> Path:
    """Return where this account's build key on this machine is; nothing is created.

    The name holds a tag of the machine: in a folder that was copied from another machine there is
    no build key of this one.
    """
    return home_path() / _KEYS / f"build-{machine_tag(_BUILD_KEY_PURPOSE)}.pem"


def build_signer() -> Signer:
    """Return this account's build key on this machine, made by the first build.

    Raises:
        TrustError: The key is unreadable or open to others.
        HomeError: The account's folder cannot hold it.
        StateError: Another process holds the folder's lock for ten seconds.
    """
    with locked_folder(home_folder(_KEYS)):  # two first builds at once make one key
        path = build_key_path()
        if not path.exists():
            _write_pair(path, public_path(path), _new_key(), None)
        signer = _load(path, None)
        if not public_path(path).exists():
            with atomic_write(public_path(path), mode=_PUBLIC_MODE) as file:
                file.write(signer.public_pem)
    return signer


def generate_key(private_file: Path, passphrase: bytes | None = None) -> tuple[Path, str]:
    """Write a new key pair as PEM files and return the public file and the key's id.

    The private file is readable by its owner alone; the public one stands beside it with `.pub`.

    Args:
        private_file: File of the private key.
        passphrase: Passphrase that encrypts it; None to leave it unencrypted.

    Raises:
        UsageError: The passphrase is empty.
        TrustError: A file of that name exists already; a key is never overwritten.
        FasdkError: The folder is not writable or the disk is full; no half pair is left.
    """
    private_file = Path(private_file)
    public_file = public_path(private_file)
    if passphrase is not None and not passphrase:
        raise UsageError(f"cannot encrypt {private_file}: the passphrase is empty: give one")
    for path in (private_file, public_file):
        if os.path.lexists(path):
            raise TrustError(f"{path} exists: choose another name, a key is never overwritten")
    key = _new_key()
    _write_pair(private_file, public_file, key, passphrase)
    return public_file, PemSigner(private_file, key).key_id


def public_path(private_file: Path) -> Path:
    """Return where the public key of a private key's file stands: beside it, with `.pub`."""
    return private_file.with_name(private_file.name + ".pub")


def _load(path: Path, ask: AskPassphrase | None) -> PemSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_guarded(path, "private key", is_secret=True)
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data
    password = ask_for(f"private key {path}", ask) if encrypted else None
    try:
        key = load_pem_private_key(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "the passphrase is wrong, or the file is damaged" if encrypted else str(error)
        raise TrustError(f"{path}: not a readable PEM private key: {why}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{path}: not an Ed25519 key: make one with `fasdk keygen`")
    return PemSigner(path, key)


def _new_key() -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def _write_pair(
    private_file: Path, public_file: Path, key: Ed25519PrivateKey, passphrase: bytes | None
) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    # The public file is written first but named last: it appears only if the private one did.
    with atomic_write(public_file, mode=_PUBLIC_MODE) as public:
        public.write(PemSigner(private_file, key).public_pem)
        public.flush()
        with atomic_write(private_file, mode=0o600) as private:
            private.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
