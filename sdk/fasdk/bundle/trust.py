"""Bundle signatures and trust: Ed25519 over the manifest's exact bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.errors import TrustError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True)
class TrustPolicy:
    """Signatures that a device accepts.

    Attributes:
        keys: Trusted public keys. Empty means no signature is asked for; one or more means a
            bundle must carry a signature by one of them.
    """

    keys: tuple[Ed25519PublicKey, ...] = ()

    @classmethod
    def from_files(cls, *paths: Path) -> TrustPolicy:
        """Trust the public keys in these PEM files.

        Raises:
            TrustError: No file is given, or one is unreadable or holds no Ed25519 public key.
        """
        if not paths:
            # An empty policy asks for no signature; a key folder found empty must not become one.
            raise TrustError(
                "no public key file was given: name at least one, or use TrustPolicy()"
            )
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
        from cryptography.exceptions import InvalidSignature

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
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def sign(manifest: bytes, key_file: Path) -> bytes:
    """Return the Ed25519 signature (64 bytes) of a manifest's exact bytes.

    Raises:
        TrustError: The file is unreadable or holds no Ed25519 private key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{key_file}: not a readable, unencrypted PEM private key: {error}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{key_file}: not an Ed25519 key: make one with `fasdk keygen`")
    return key.sign(manifest)


def generate_key(private_file: Path) -> tuple[Path, str]:
    """Write a new key pair as PEM files and return the public file and the key's id.

    The private file is readable by its owner alone; the public one stands beside it with `.pub`.

    Raises:
        TrustError: A file of that name exists already; a key is never overwritten.
        FasdkError: The folder is not writable or the disk is full; no half pair is left.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    private_file = Path(private_file)
    public_file = private_file.with_name(private_file.name + ".pub")
    for path in (private_file, public_file):
        if path.exists():
            raise TrustError(f"{path} exists: choose another name, a key is never overwritten")
    key = Ed25519PrivateKey.generate()
    # The public file is written first but named last: it appears only if the private one did.
    with atomic_write(public_file) as public:
        public.write(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        public.flush()
        with atomic_write(private_file, mode=0o600) as private:
            private.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public_file, key_id(key.public_key())


def _load_public(path: Path) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: not a readable PEM public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"{path}: not an Ed25519 public key")
    return key
