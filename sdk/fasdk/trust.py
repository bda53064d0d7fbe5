"""Who signed a bundle, and whether that is enough: Ed25519 over the manifest's exact bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fasdk.atomic import atomic_write
from fasdk.errors import TrustError


@dataclass(frozen=True)
class TrustPolicy:
    """Which signatures a device accepts.

    Attributes:
        keys: Trusted public keys. Empty means no signature is asked for; one or more means a
            bundle must carry a signature by one of them.
    """

    keys: tuple[Ed25519PublicKey, ...] = ()

    @classmethod
    def from_files(cls, *paths: Path) -> TrustPolicy:
        """Trust the public keys in these PEM files.

        Raises:
            TrustError: A file is unreadable or holds no Ed25519 public key.
        """
        return cls(tuple(_load_public(Path(path)) for path in paths))

    def check(self, manifest: bytes, signature: bytes | None, name: str) -> str | None:
        """Return the id of the key that signed, or None when no signature is asked for.

        Raises:
            TrustError: A signature is required and absent, or fits none of the trusted keys.
        """
        if not self.keys:
            return None
        if signature is None:
            raise TrustError(f"{name} is not signed and a signature is required: sign it first")
        for key in self.keys:
            try:
                key.verify(signature, manifest)
            except InvalidSignature:
                continue
            return key_id(key)
        raise TrustError(
            f"{name}: the signature fits none of the {len(self.keys)} trusted keys: "
            "the bundle was altered or signed by someone else"
        )


def key_id(key: Ed25519PublicKey) -> str:
    """Return a short name for a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def sign(manifest: bytes, key_file: Path) -> bytes:
    """Return the Ed25519 signature (64 bytes) of a manifest's exact bytes.

    Raises:
        TrustError: The file is unreadable or holds no Ed25519 private key.
    """
    try:
        key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{key_file}: not a readable, unencrypted PEM private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{key_file}: not an Ed25519 key: make one with `fasdk keygen`")
    return key.sign(manifest)


def generate_key(private_file: Path) -> tuple[Path, str]:
    """Write a new key pair as PEM files and return the public file and the key's id.

    The private file is readable by its owner alone; the public one stands beside it with `.pub`.

    Raises:
        TrustError: A file of that name exists already; a key is never overwritten.
    """
    private_file = Path(private_file)
    public_file = private_file.with_name(private_file.name + ".pub")
    for path in (private_file, public_file):
        if path.exists():
            raise TrustError(f"{path} exists: choose another name, a key is never overwritten")
    key = Ed25519PrivateKey.generate()
    with atomic_write(private_file, mode=0o600) as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with atomic_write(public_file) as file:
        file.write(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
    return public_file, key_id(key.public_key())


def _load_public(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: not a readable PEM public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"{path}: not an Ed25519 public key")
    return key
