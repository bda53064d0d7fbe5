"""SIGKILL at random moments of writing: bundles, plans, keys, trust, revisions and attempts.

    PYTHONPATH=tests python -m support.kills --kills 1000

runs a process that writes one thing again and again, numbered from 1, and kills it after a random
time, for each kind of thing in turn, on a file system with unnamed files and as on one without.
After each kill what is on the disk must be whole and no older than what the process said it had
written; after one more write nothing may be left that does not belong there. Prints one JSON
document, and exits with 1 on any miss.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import select
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from fasdk.backends.engine import Backend
from fasdk.backends.tensorrt.cache import PlanCache, PlanKey
from fasdk.backends.tensorrt.plan import BuiltPlan
from fasdk.backends.tensorrt.sealed import KEY_FILE
from fasdk.bundle.bundle import Bundle, open_bundle, write_bundle
from fasdk.bundle.revisions import Revisions, RevisionState, StateFile
from fasdk.bundle.signing import generate_key
from fasdk.bundle.trust import TrustPolicy
from fasdk.bundle.trust_store import read_store, revoke_key
from fasdk.capture import monotonic_ms
from fasdk.errors import FasdkError
from fasdk.home import HOME_VARIABLE
from fasdk.tracking.attempt_files import FileStore, file_name, read_record
from fasdk.tracking.attempts import AttemptState

from support import tiny_bundle

SIGNER = "5" * 16
CAMERA = "door"
_STARTED_S = 30.0


class BrokenError(Exception):
    """What a kill left is not whole, or older than what was said to be written."""


class Target(ABC):
    """Thing that is written again and again.

    Attributes:
        folder: Folder that it is written into, at first empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def write(self, number: int) -> None:
        """Write the thing with a number."""

    @abstractmethod
    def read(self) -> int:
        """Return the number of what is on the disk, 0 for nothing.

        Raises:
            BrokenError: It is not whole.
        """

    @abstractmethod
    def names(self) -> set[str]:
        """Return the names of the files that belong into the folder."""

    def litter(self) -> set[str]:
        """Return the names of the files that do not."""
        return {path.name for path in self.folder.iterdir()} - self.names()


class BundleTarget(Target):
    """A bundle of one name, at revision `number`."""

    def __init__(self, folder: Path, source: Bundle) -> None:
        super().__init__(folder)
        self._manifest = source.manifest.model_copy(update={"members": {}})
        self._members = {name: bytes(content) for name, content in source.members.items()}
        self._path = folder / "lobby.fasb"

    def write(self, number: int) -> None:
        """See `Target.write`."""
        write_bundle(
            self._path, self._manifest.model_copy(update={"revision": number}), self._members
        )

    def read(self) -> int:
        """See `Target.read`."""
        if not self._path.exists():
            return 0
        return open_bundle(self._path, TrustPolicy.unsigned()).manifest.revision

    def names(self) -> set[str]:
        """See `Target.names`."""
        return {"lobby.fasb"}


class PlanTarget(Target):
    """A plan of the number in a mebibyte of bytes, at one key."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._cache = PlanCache(folder)
        self._key = PlanKey(
            graph_sha256="a" * 64,
            module="tensorrt",
            version="10.7.0",
            cuda="12.6",
            device="Orin",
            compute_capability="8.7",
            gpu_uuid="1" * 32,
            shapes={"rgb": (3, 16, 16)},
            max_batch=4,
        )

    def write(self, number: int) -> None:
        """See `Target.write`."""
        data = number.to_bytes(8, "big") * 2**17
        self._cache.store(self._key, BuiltPlan(data, Backend.TENSORRT, "10.7.0", (), 4, 0.0))

    def read(self) -> int:
        """See `Target.read`: a plan whose record is of another one counts as none."""
        data = self._cache.load(self._key)
        if data is None:
            return 0
        if data != data[:8] * 2**17:
            raise BrokenError("a plan of two parts was loaded")
        return int.from_bytes(data[:8], "big")

    def names(self) -> set[str]:
        """See `Target.names`."""
        return {KEY_FILE, f"{self._key.digest}.plan", f"{self._key.digest}.json"}


class RevisionTarget(Target):
    """The state of revisions, after a bundle of revision `number` was taken."""

    def __init__(self, folder: Path, source: Bundle) -> None:
        super().__init__(folder)
        self._bundle = replace(source, signed_by=SIGNER)
        self._file = StateFile(folder / "revisions.json", (os.geteuid(),))
        self._state = RevisionState(lambda _: self._file)

    def write(self, number: int) -> None:
        """See `Target.write`."""
        manifest = self._bundle.manifest.model_copy(update={"revision": number})
        taken = replace(self._bundle, manifest=manifest, id=f"{number:064x}")
        self._state.record(taken, [SIGNER])

    def read(self) -> int:
        """See `Target.read`."""
        known = self._file.read() or Revisions()
        return max((taken.revision for taken in known.of([SIGNER])), default=0)

    def names(self) -> set[str]:
        """See `Target.names`."""
        return {"revisions.json", "revisions.lock"}


class KeyTarget(Target):
    """Key pairs, a new one each time."""

    def write(self, number: int) -> None:
        """See `Target.write`."""
        generate_key(self.folder / f"{number}.pem")

    def read(self) -> int:
        """See `Target.read`."""
        names = {path.name for path in self.folder.iterdir()}
        private = sorted(int(name[:-4]) for name in names if name.endswith(".pem"))
        for path in self.folder.glob("[!.]*"):
            text = path.read_bytes()
            if not (text.startswith(b"-----BEGIN ") and text.rstrip().endswith(b"KEY-----")):
                raise BrokenError(f"{path.name} is not a whole key")
            if path.name.endswith(".pub") and path.name[:-4] not in names:
                raise BrokenError(f"{path.name} has no private key")
        return max(private, default=0)

    def names(self) -> set[str]:
        """See `Target.names`: pairs, and private keys whose public ones were not named yet."""
        numbers = range(self.read() + 1)
        return {f"{n}.pem" for n in numbers} | {f"{n}.pem.pub" for n in numbers}


class TrustTarget(Target):
    """The list of revoked keys of an account, one more each time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "trust")
        self.folder.mkdir(mode=0o700)

    def write(self, number: int) -> None:
        """See `Target.write`."""
        os.environ[HOME_VARIABLE] = str(self.folder.parent)
        while self.read() < number:
            revoke_key(f"{self.read() + 1:064x}")

    def read(self) -> int:
        """See `Target.read`."""
        os.environ[HOME_VARIABLE] = str(self.folder.parent)
        revoked = read_store().revoked
        if revoked != {f"{number + 1:064x}" for number in range(len(revoked))}:
            raise BrokenError("a revocation is missing")
        return len(revoked)

    def names(self) -> set[str]:
        """See `Target.names`."""
        return {"revoked"}


class AttemptTarget(Target):
    """A camera's attempts, of which `number` were charged."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / file_name(CAMERA)

    def write(self, number: int) -> None:
        """See `Target.write`."""
        store = FileStore(CAMERA, lambda _: AttemptState(failed=sys.maxsize), self.folder)
        store.update(lambda state: state.model_copy(update={"failed": number}), monotonic_ms())

    def read(self) -> int:
        """See `Target.read`."""
        return read_record(self._path).state.failed if self._path.exists() else 0

    def names(self) -> set[str]:
        """See `Target.names`."""
        return {self._path.name}


@dataclass
class Found:
    """What kills of one kind of writer left.

    Attributes:
        kills: Number of kills.
        parts: Number of kills that left a file which does not belong there.
        broken: Description of each state that was not whole or too old.
        litter: Number of such files after the next write.
    """

    kills: int = 0
    parts: int = 0
    broken: list[str] = field(default_factory=list)
    litter: int = 0


def kill_repeatedly(target: Target, kills: int, rng: random.Random, longest_s: float) -> Found:
    """Kill writers of a target at random moments.

    Args:
        target: Thing that is written.
        kills: Number of kills.
        rng: Source of the moments.
        longest_s: Longest time in s that a writer runs.
    """
    found, at = Found(), target.read()
    for _ in range(kills):
        try:
            said = _write_until_killed(target, at, rng.uniform(0.0, longest_s))
            found.kills += 1
            found.parts += bool(target.litter())
            left = target.read()
            if left < said and not isinstance(target, PlanTarget):
                raise BrokenError(f"{left} is on the disk, {said} was written")
            at = max(left, said) + 1
            target.write(at)
            if target.read() != at:
                raise BrokenError(f"{at} was written and is not there")
        except (BrokenError, FasdkError) as error:
            found.broken.append(f"{type(target).__name__}: {error}")
            at += 1
        found.litter += len(target.litter())
    return found


def kill_everything(kills: int, seed: int = 0, longest_ms: float = 40.0) -> dict[str, Found]:
    """Kill writers of every kind of thing, and return what was found by kind.

    Args:
        kills: Number of kills of all kinds together.
        seed: Seed of the moments.
        longest_ms: Longest time in ms that a writer runs.
    """
    # What a kill between a plan and its record leaves is told there each time.
    logging.getLogger("fasdk").setLevel(logging.ERROR)
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    before = os.environ.get(HOME_VARIABLE)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.environ[HOME_VARIABLE] = str(home / "fasdk")
        source = open_bundle(tiny_bundle.write(home / "any.fasb"))
        makers: dict[str, Callable[[Path], Target]] = {
            "bundle": partial(BundleTarget, source=source),
            "plan cache": PlanTarget,
            "revisions": partial(RevisionTarget, source=source),
            "keys": KeyTarget,
            "trust store": TrustTarget,
            "attempts": AttemptTarget,
        }
        try:
            for number, files in enumerate(file_systems()):
                for kind, make in makers.items():
                    folder = home / f"{kind} {number}"
                    folder.mkdir(mode=0o700)
                    each = -(-kills // (2 * len(makers)))
                    found[f"{kind}, {files}"] = kill_repeatedly(
                        make(folder), each, rng, longest_ms / 1e3
                    )
        finally:
            if before is None:
                del os.environ[HOME_VARIABLE]
            else:
                os.environ[HOME_VARIABLE] = before
    return found


def file_systems() -> Iterator[str]:
    """Yield what files are like here, with unnamed ones; then as where there are none."""
    unnamed = os.O_TMPFILE
    yield "unnamed files"
    os.O_TMPFILE = unnamed | os.O_CREAT  # type: ignore[misc]  # which is answered EINVAL
    try:
        yield "named files"
    finally:
        os.O_TMPFILE = unnamed  # type: ignore[misc]


def _write_until_killed(target: Target, start: int, seconds: float) -> int:
    """Return the last number that a writer said it had written before it was killed.

    Raises:
        BrokenError: The writer failed.
    """
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, b"%d\n" % start)
            for number in range(start + 1, sys.maxsize):
                target.write(number)
                os.write(into, b"%d\n" % number)
        finally:
            os._exit(1)  # only a fault leads here
    os.close(into)
    try:
        select.select([out], [], [], _STARTED_S)
        time.sleep(seconds)
    finally:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    with os.fdopen(out, "rb") as lines:
        said = lines.read().split()
    if not os.WIFSIGNALED(status):
        raise BrokenError("the writer failed")
    return int(said[-1])


def main() -> int:
    """Print what kills left; return 1 on any miss."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=1000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return report(kill_everything(options.kills, options.seed))


def report(found: dict[str, Found]) -> int:
    """Print what kills left as one JSON document; return 1 on any miss."""
    broken = [text for each in found.values() for text in each.broken]
    document = {
        "kills": sum(each.kills for each in found.values()),
        "by_what": {what: each.kills for what, each in found.items()},
        "parts": {what: each.parts for what, each in found.items()},
        "broken": broken,
        "litter": sum(each.litter for each in found.values()),
    }
    print(json.dumps(document))
    return int(bool(broken or document["litter"]))


if __name__ == "__main__":
    sys.exit(main())
