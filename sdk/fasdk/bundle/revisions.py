"""State of a machine on the bundles it took before, which refuses an older one after a restart."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, open_bounded, read_rest
from fasdk.bundle.succession import (
    BundleChange,
    BundleIdentity,
    changes,
    how_to_allow,
)
from fasdk.bundle.trust_store import build_key_id
from fasdk.errors import FasdkError, RollbackError, StateError, UsageError
from fasdk.file_access import is_roots_alone, is_writable_by_others
from fasdk.file_lock import take_lock
from fasdk.home import home_folder, home_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from fasdk.bundle.bundle import Bundle

SYSTEM_FILE = Path("/var/lib/fasdk/revisions.json")
"""State that root keeps for every account; see `fasdk accept --system`."""
_FOLDER, _FILE, _LOCK = "state", "revisions.json", "revisions.lock"
_LOCK_WAIT_S = 10.0
_log = logging.getLogger("fasdk.revisions")


class Revisions(BaseModel):
    """Bundles that were taken, as a state file holds them.

    Attributes:
        schema_version: Version of this layout.
        keys: The bundle last taken of each product, by id of the key that signed it and product.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    keys: dict[str, dict[str, BundleIdentity]] = Field(default_factory=dict)

    def of(self, trusted: Collection[str]) -> list[BundleIdentity]:
        """Return the bundles that were taken with any of these keys, given by id."""
        return [found for key in sorted(trusted) for found in self.keys.get(key, {}).values()]

    def with_bundle(
        self, taken: BundleIdentity, signed_by: str, trusted: Collection[str]
    ) -> Revisions:
        """Return the state after a bundle was taken.

        A product that was signed by several trusted keys has one state with all of them: an older
        bundle does not come back by the key of before a rotation.
        """
        keys = {key: dict(products) for key, products in self.keys.items()}
        keys.setdefault(signed_by, {})[taken.product] = taken
        for key in trusted:
            if taken.product in keys.get(key, {}):
                keys[key][taken.product] = taken
        return Revisions(keys=keys)


class StateFile:
    """A file of `Revisions`, changed as a whole and by one process at a time.

    Args:
        path: The file; its folder exists, or is made by who first writes.
        owners: Accounts, by number, one of which must own it.
        is_public: Whether every account may read it.
    """

    def __init__(self, path: Path, owners: Collection[int], *, is_public: bool = False) -> None:
        self.path = path
        self._owners = owners
        self._is_public = is_public

    def read(self) -> Revisions | None:
        """Return what the file holds, or None where there is none.

        Raises:
            StateError: It is damaged, no regular file, of another account, or may be written by
                others.
        """
        try:
            with open_bounded(self.path, FileKind.STATE, flags=os.O_NOFOLLOW) as file:
                self._require_own(os.fstat(file.fileno()))
                return Revisions.model_validate_json(read_rest(file, self.path, FileKind.STATE))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as error:
            raise self._fault(f"is damaged ({error.errors()[0]['msg']})") from error
        except OSError as error:
            raise self._fault(f"cannot be read ({error.strerror})") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from changing the file while the block runs.

        Raises:
            StateError: The lock cannot be made, or another process holds it for ten seconds.
        """
        lock = self.path.with_name(_LOCK)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(lock, flags, 0o600)
        except OSError as error:
            raise StateError(f"cannot lock {self.path} by {lock}: {error.strerror}") from error
        try:
            take_lock(descriptor, lock, _LOCK_WAIT_S)
            yield
        finally:
            os.close(descriptor)

    def write(self, revisions: Revisions) -> None:
        """Replace what the file holds; call it while it is `locked`.

        Raises:
            StateError: It would grow larger than is read again.
            FasdkError: The folder is not writable or the disk is full; the file is as before.
        """
        data = revisions.model_dump_json(indent=1).encode()
        if len(data) > FileKind.STATE.max_bytes:
            raise self._fault(f"would have {len(data)} bytes, at most {FileKind.STATE.max_bytes}")
        with atomic_write(self.path, mode=0o600) as file:
            if self._is_public:
                os.fchmod(file.fileno(), 0o644)  # whatever the umask of who installs
            file.write(data)

    def _require_own(self, found: os.stat_result) -> None:
        if found.st_uid not in self._owners:
            raise self._fault(f"belongs to account {found.st_uid}")
        if is_writable_by_others(found):
            raise self._fault(f"has mode {stat.S_IMODE(found.st_mode):04o}, others can write it")

    def _fault(self, what: str) -> StateError:
        return StateError(
            f"state file {self.path} {what}, so nothing tells which bundles this machine took "
            "before: run `fasdk accept BUNDLE --reset` with the bundle that is to be in force"
        )


class RevisionState:
    """Memory of a machine of the bundles it took, consulted before another one is.

    It covers bundles whose signature was checked, but for those of the account's own build key:
    these are built again and again at one revision.

    Args:
        account: Function that returns the account's state file and makes its folder where asked to.
        system: State file of root, consulted as well and changed by `accept` alone.
        exempt: Function that returns the id of the key whose bundles are not covered, or None.
    """

    def __init__(
        self,
        account: Callable[[bool], StateFile] | None,
        system: StateFile | None = None,
        exempt: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._account = account
        self._system = system
        self._exempt = exempt

    @classmethod
    def installed(cls) -> RevisionState:
        """Return the state of this machine and account; see `fasdk accept`."""
        return cls(_account_file, StateFile(SYSTEM_FILE, (0,), is_public=True), build_key_id)

    @classmethod
    def unchecked(cls) -> RevisionState:
        """Return a state that refuses and records nothing, for measuring old bundles."""
        return cls(None)

    def covers(self, bundle: Bundle) -> bool:
        """Return whether the state says anything of a bundle."""
        signed_by = bundle.signed_by
        return self._account is not None and signed_by not in (None, self._exempt())

    def check(
        self, bundle: Bundle, trusted: Collection[str], allowed: Collection[BundleChange] = ()
    ) -> None:
        """Check that this machine may take a bundle after those it took before.

        Args:
            bundle: Verified bundle.
            trusted: Ids of the keys that are trusted.
            allowed: Changes that the caller allows.

        Raises:
            RollbackError: It is older than one that was taken, has another content at the same
                revision, or lacks what that one had; every such change is named.
            StateError: A state file is damaged or open to others.
            HomeError: The account's folder is not its own.
        """
        if self._account is None or not self.covers(bundle):
            return
        for file in (self._account(False), self._system):
            if file is not None:
                _require(file, bundle, trusted, allowed)

    def record(
        self, bundle: Bundle, trusted: Collection[str], allowed: Collection[BundleChange] = ()
    ) -> None:
        """Check a bundle as `check` does and record that it was taken.

        What was allowed is recorded too: it need not be allowed again.

        Raises:
            RollbackError: See `check`; another process may have taken a newer one meanwhile.
            StateError: A state file is damaged, open to others or locked.
            HomeError: The account's folder is not its own or cannot be made.
            FasdkError: The state cannot be written, and root's file does not know the product.
        """
        if self._account is None or not self.covers(bundle):
            return
        self.check(bundle, trusted, allowed)
        try:
            _take(self._account(True), bundle, trusted, allowed)
        except RollbackError:
            raise
        except FasdkError as error:
            known = self._system and self._system.read()
            products = {taken.product for taken in known.of(trusted)} if known else set()
            if bundle.manifest.product not in products:
                raise
            _log.warning("%s: %s; root's %s holds", bundle.path, error, SYSTEM_FILE)

    def accept(
        self,
        bundle: Bundle,
        trusted: Collection[str],
        allowed: Collection[BundleChange] = (),
        *,
        system: bool = False,
        reset: bool = False,
    ) -> Path:
        """Record by hand that a bundle is taken, and return the state file.

        Args:
            bundle: Verified bundle.
            trusted: Ids of the keys that are trusted.
            allowed: Changes that the caller allows.
            system: Whether root's state file is written, not the account's.
            reset: Whether everything the file holds is forgotten, damaged or not.

        Raises:
            RollbackError: See `check`; not where the file is reset.
            UsageError: The state does not cover the bundle.
            StateError: The file is damaged, open to others or locked.
            FasdkError: It cannot be written.
        """
        if self._account is None:
            raise StateError(f"{bundle.path}: this state records nothing")
        if not self.covers(bundle):
            why = (
                "its signature was not checked" if bundle.signed_by is None else "it was built here"
            )
            raise UsageError(
                f"{bundle.path}: {why}, and such a bundle is taken at any revision: sign it with a "
                "release key for a device"
            )
        if system and self._system is not None:
            file = self._system
            _make_system_folder(file.path.parent)
        else:
            file = self._account(True)
        _take(file, bundle, trusted, allowed, reset=reset, by_hand=True)
        return file.path


def _account_file(make: bool) -> StateFile:
    folder = home_folder(_FOLDER) if make else home_path() / _FOLDER
    return StateFile(folder / _FILE, (os.geteuid(), 0))


def _make_system_folder(folder: Path) -> None:
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o755)  # whatever the umask: services read it
        found = folder.stat()
    except OSError as error:
        raise StateError(f"cannot make {folder}: {error.strerror}: run this as root") from error
    if not is_roots_alone(found):
        raise StateError(f"{folder} may be written by others than root: chown root and chmod go-w")


def _require(
    file: StateFile, bundle: Bundle, trusted: Collection[str], allowed: Collection[BundleChange]
) -> Revisions | None:
    """Check a bundle against one file, and return what the file holds."""
    known = file.read()
    new = BundleIdentity.of(bundle)
    before = known.of({*trusted, str(bundle.signed_by)}) if known else []
    refused: dict[BundleChange, str] = {}
    of_product = [taken for taken in before if taken.product == new.product]
    if before and not of_product:
        products = ", ".join(sorted({repr(taken.product) for taken in before}))
        refused[BundleChange.PRODUCT] = (
            f"is of product {new.product!r}, this machine took {products}"
        )
    for taken in of_product:
        refused |= changes(taken, new, before="the one last taken")
    refused = {change: text for change, text in refused.items() if change not in allowed}
    if refused:
        raise RollbackError(
            f"{bundle.path}: {'; '.join(refused.values())}, by {file.path}: {how_to_allow(refused)}"
        )
    return known


def _take(
    file: StateFile,
    bundle: Bundle,
    trusted: Collection[str],
    allowed: Collection[BundleChange],
    *,
    reset: bool = False,
    by_hand: bool = False,
) -> None:
    with file.locked():
        known = None if reset else _require(file, bundle, trusted, allowed)
        new, signed_by = BundleIdentity.of(bundle), str(bundle.signed_by)
        if known is None and not by_hand:
            _log.warning(
                "%s does not exist, so nothing tells which bundles this machine took before: "
                "%s is recorded as the first, product %s, revision %d",
                file.path,
                bundle.path,
                new.product,
                new.revision,
            )
        after = (known or Revisions()).with_bundle(new, signed_by, trusted)
        if after != known:
            file.write(after)
