"""What every signing key offers, and the passphrase or PIN that opens it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from fasdk.bundle.public_keys import key_id, public_pem, read_guarded
from fasdk.errors import TrustError

PASSPHRASE_VARIABLE = "FASDK_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
PASSPHRASE_FILE_VARIABLE = "FASDK_KEY_PASSPHRASE_FILE"  # noqa: S105
_LONGEST_PASSPHRASE = 1023  # bytes, of OpenSSL's PEM files

AskPassphrase = Callable[[str], bytes]
"""Function that is given what the passphrase is for and returns it."""


class Signer(ABC):
    """Key that signs bundles, wherever its private part is kept."""

    @property
    @abstractmethod
    def public_raw(self) -> bytes:
        """The 32 bytes of its public key (RFC 8032)."""

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes) of a message.

        Raises:
            TrustError: The key cannot be used.
        """

    @property
    def key_id(self) -> str:
        """Id of its public key; see `fasdk.bundle.public_keys.key_id`."""
        return key_id(self.public_raw)

    @property
    def public_pem(self) -> bytes:
        """Its public key as a PEM file holds it (SubjectPublicKeyInfo, RFC 8410)."""
        return public_pem(self.public_raw)


def passphrase_from_environment(what: str) -> bytes | None:
    """Return the passphrase the environment gives, or None where it gives none.

    Raises:
        TrustError: FASDK_KEY_PASSPHRASE_FILE names a file that is unreadable or open to others.
    """
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return os.fsencode(given)
    file = os.environ.get(PASSPHRASE_FILE_VARIABLE)
    if not file:
        return None
    found = read_guarded(Path(file), "passphrase", is_secret=True)
    passphrase = found.split(b"\n", 1)[0].removesuffix(b"\r")
    if not passphrase:
        raise TrustError(f"{file}: its first line is empty, expected the passphrase of {what}")
    return passphrase


def ask_for(what: str, ask: AskPassphrase | None) -> bytes:
    """Return a passphrase from the environment, or else from whoever can be asked.

    Raises:
        TrustError: The environment has none and nobody can be asked, or it is empty or too long.
    """
    found = passphrase_from_environment(what)
    if found is None:
        if ask is None:
            raise TrustError(
                f"{what} needs a passphrase: give it in {PASSPHRASE_VARIABLE}, or a file that "
                f"holds it in {PASSPHRASE_FILE_VARIABLE}"
            )
        found = ask(what)
    if not 1 <= len(found) <= _LONGEST_PASSPHRASE:
        raise TrustError(
            f"the passphrase of {what} has {len(found)} bytes, expected 1 to {_LONGEST_PASSPHRASE}"
        )
    return found
