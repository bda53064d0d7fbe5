"""Rules by which a session takes a bundle: whose signature it bears, and what came before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.bundle.revisions import RevisionState
from fasdk.bundle.succession import BundleChange, BundleIdentity, require_successor
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import OperatingPointError
from fasdk.settings import as_path

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


@dataclass(frozen=True)
class Admission:
    """Rules by which a session takes a bundle.

    Attributes:
        trust: Signatures that a bundle must carry.
        revisions: Memory of the bundles that this machine took.
    """

    trust: TrustPolicy
    revisions: RevisionState

    @classmethod
    def of(cls, trust: TrustPolicy | None, revisions: RevisionState | None) -> Admission:
        """Return the rules that are given, and this machine's own in place of None.

        Raises:
            TrustError: The machine's trust store cannot be read.
            UsageError: `trust` is no policy.
            HomeError: The account's folder is not its own.
        """
        return cls(
            TrustPolicy.of(trust),
            RevisionState.installed() if revisions is None else revisions,
        )

    @property
    def trusted(self) -> frozenset[str]:
        """Ids of the keys that are trusted."""
        return frozenset(key.id for key in self.trust.keys)

    def verify(self, bundle: str | Path | Bundle, also: TrustPolicy | None = None) -> Bundle:
        """Return a bundle whose signature these rules accept.

        Args:
            bundle: Path of a `.fasb` file, or a bundle opened before.
            also: Further policy that must accept it; it takes nothing away from these rules.

        Raises:
            BundleError: It is truncated, altered or malformed.
            TrustError: A required signature is absent or does not hold.
            UsageError: It is neither a path nor a bundle.
        """
        policies = [self.trust] if also is None else [self.trust, TrustPolicy.of(also)]
        if not isinstance(bundle, Bundle):
            asking = [policy for policy in policies if not policy.accepts_unsigned]
            path = as_path("bundle", bundle, other=", or a fasdk.Bundle")
            bundle = open_bundle(path, (asking or policies)[0])
        for policy in policies:
            policy.require_signer(bundle.signed_by, str(bundle.path))
        return bundle

    def check(self, bundle: Bundle, allowed: Collection[BundleChange]) -> None:
        """Check that this machine may take a bundle; see `RevisionState.check`."""
        self.revisions.check(bundle, self.trusted, allowed)

    def check_successor(
        self, old: Bundle, new: Bundle, level: str, allowed: Collection[BundleChange]
    ) -> None:
        """Check that a bundle may take the place of the one in force.

        Raises:
            OperatingPointError: It has no threshold for the session's level, the old one has.
            RollbackError: It falls short of the one in force or of one taken before, by a change
                that is not allowed.
            StateError: A state file is damaged or open to others.
        """
        levels = {point.level for point in new.manifest.operating_points}
        old_levels = {point.level for point in old.manifest.operating_points}
        if level in old_levels - levels:
            raise OperatingPointError(
                f"{new.path} has no operating point for security level {level!r}, only for "
                f"{', '.join(sorted(levels)) or 'none'}: every capture would be an ERROR; "
                "run `fasdk tune` on it first"
            )
        built_here = new.signed_by is not None and not self.revisions.covers(new)
        if built_here and new.signed_by == old.signed_by:
            allowed = {*allowed, BundleChange.REWRITE}  # built again at one revision
        require_successor(
            BundleIdentity.of(old), BundleIdentity.of(new), allowed, name=str(new.path)
        )
        self.check(new, allowed)

    def record(self, bundle: Bundle, allowed: Collection[BundleChange]) -> None:
        """Record that a bundle is taken; see `RevisionState.record`."""
        self.revisions.record(bundle, self.trusted, allowed)
