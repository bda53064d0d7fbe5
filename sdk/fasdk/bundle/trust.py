"""Trust policy of a device: whose signatures a bundle must carry, or that none is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.bundle.public_keys import TrustedKey, load_public_key
from fasdk.bundle.signing import CONTEXT
from fasdk.bundle.trust_store import read_store
from fasdk.errors import TrustError, UsageError
from fasdk.settings import as_path

if TYPE_CHECKING:
    from pathlib import Path

UNSIGNED = "unsigned"
"""Trust mode of a bundle whose signature, if it has any, was not checked."""


@dataclass(frozen=True)
class TrustPolicy:
    """Signatures that a device accepts.

    Made by `installed`, `from_files` or `unsigned`. A policy without a key that is not `unsigned`
    accepts no bundle.

    Attributes:
        keys: Trusted public keys, of which one must have signed a bundle.
        revoked: Fingerprints of keys whose signatures are refused although they are among `keys`.
        accepts_unsigned: Whether no signature is asked for and none is checked.
    """

    keys: tuple[TrustedKey, ...] = ()
    revoked: frozenset[str] = frozenset()
    accepts_unsigned: bool = False

    def __post_init__(self) -> None:
        """Refuse a policy that names keys and then does not ask for them.

        Raises:
            UsageError: There are keys and `accepts_unsigned`.
        """
        if self.keys and self.accepts_unsigned:
            raise UsageError(
                "a trust policy has keys and accepts unsigned bundles: give keys, or make it with "
                "TrustPolicy.unsigned()"
            )

    @classmethod
    def installed(cls) -> TrustPolicy:
        """Trust the keys in this machine's trust store; see `fasdk trust list`.

        They are those in /etc/fasdk/trust, those this account added with `fasdk trust add`, and the
        account's own build key, which signs what it builds here.

        Raises:
            TrustError: A key or a list of revocations is unreadable, malformed or open to others.
            HomeError: The account's folder is not its own.
        """
        store = read_store()
        return cls(tuple(store.bounded(stored.key) for stored in store.keys), store.revoked)

    @classmethod
    def of(cls, trust: TrustPolicy | None) -> TrustPolicy:
        """Return the policy that is given, and the machine's own in place of None.

        Raises:
            UsageError: It is no policy.
            TrustError: The trust store cannot be read.
            HomeError: The account's folder is not its own.
        """
        if trust is None:
            return cls.installed()
        if not isinstance(trust, TrustPolicy):
            raise UsageError(
                f"trust is a {type(trust).__name__}, expected a TrustPolicy such as "
                "TrustPolicy.from_files(KEY), or None"
            )
        return trust

    @classmethod
    def from_files(cls, *paths: str | Path) -> TrustPolicy:
        """Trust the public keys in these PEM files alone.

        What the trust store has on them holds too: a revocation, and a last day.

        Raises:
            TrustError: No file is given; one is unreadable, open to others, or holds no sound
                Ed25519 public key; or the trust store cannot be read.
            HomeError: The account's folder is not its own.
            UsageError: One is no path.
        """
        if not paths:
            # A key folder that was found empty must not become another policy.
            raise TrustError(
                "no public key file was given: name at least one, or use TrustPolicy.installed()"
            )
        store = read_store()
        keys = tuple(store.bounded(load_public_key(as_path("key", path))) for path in paths)
        return cls(keys, store.revoked)

    @classmethod
    def unsigned(cls) -> TrustPolicy:
        """Ask for no signature: whoever can write a bundle's file decides who is let in."""
        return cls(accepts_unsigned=True)

    def check(self, manifest: bytes, signature: bytes | None, name: str) -> str | None:
        """Return the id of the key that signed, or None where no signature is asked for.

        Args:
            manifest: The manifest's exact bytes.
            signature: The bundle's signature, or None where it has none.
            name: Name of the bundle in error messages.

        Raises:
            TrustError: The signature is absent, fits none of the trusted keys, or was made with one
                that is revoked or expired.
        """
        if self.accepts_unsigned:
            return None
        if signature is None:
            raise TrustError(
                f"{name} is not signed: build it again with this release, which signs it, or say "
                f"that no signature is asked for: {_UNSIGNED_FIX}"
            )
        message = CONTEXT + manifest
        for key in self.keys:
            if key.verifies(signature, message):
                self._require_valid(key, name)
                return key.id
        trusted = f"none of the {len(self.keys)} trusted keys" if self.keys else "no trusted key"
        raise TrustError(
            f"{name}: the signature fits {trusted}: the bundle was altered or signed by someone "
            f"else; if its signer is to be trusted, `fasdk trust add KEY.pub`, or {_UNSIGNED_FIX}"
        )

    def require_signer(self, signed_by: str | None, name: str) -> None:
        """Check that a bundle that was opened before fits this policy.

        Args:
            signed_by: Id of the key it was verified with, or None where it was opened unsigned.
            name: Name of the bundle in error messages.

        Raises:
            TrustError: It was not verified with one of this policy's keys, or that is no longer
                valid.
        """
        if self.accepts_unsigned:
            return
        for key in self.keys:
            if key.id == signed_by:
                self._require_valid(key, name)
                return
        raise TrustError(
            f"{name} was not opened with one of the {len(self.keys)} keys this session trusts: "
            "open it with the session's TrustPolicy, or give its path"
        )

    def _require_valid(self, key: TrustedKey, name: str) -> None:
        if key.fingerprint in self.revoked:
            raise TrustError(
                f"{name} is signed by key {key.id}, which is revoked: use a bundle that is signed "
                "with another trusted key"
            )
        if key.is_expired():
            raise TrustError(
                f"{name} is signed by key {key.id}, which expired on {key.expires}: use a bundle "
                "that is signed with another trusted key, or add this one again with a later day "
                "by `fasdk trust add KEY.pub --expires YYYY-MM-DD`"
            )


_UNSIGNED_FIX = "--unsigned on the command line, TrustPolicy.unsigned() in a program"


def trust_mode(signed_by: str | None) -> str:
    """Return the trust mode of a bundle as decisions and logs state it: its key, or "unsigned"."""
    return UNSIGNED if signed_by is None else f"key {signed_by}"
