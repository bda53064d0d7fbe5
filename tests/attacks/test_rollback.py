"""Roll-back: an older or weaker bundle that a trusted key signed is put in a newer one's place.

Who can write the bundle's file has every bundle that the vendor ever signed, and waits for a
restart or a swap. Answer: the machine remembers what it took in a file elsewhere and refuses an
older revision, other content at the same one, another product or model, and fewer modalities or
levels, unless that is allowed by name. A damaged memory refuses; one that another process holds is
waited for.
"""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import fasdk
from fasdk.bundle import revisions
from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.bundle.manifest import ModelInfo
from fasdk.bundle.revisions import RevisionState, StateFile
from fasdk.bundle.signing import generate_key
from fasdk.bundle.succession import AllowedChanges, BundleChange
from fasdk.bundle.trust import TrustPolicy
from fasdk.capture import Modality
from fasdk.errors import (
    BackendError,
    OperatingPointError,
    RollbackError,
    StateError,
    TrustError,
    UsageError,
)

from support import tiny_bundle
from support.tiny_bundle import ALL, point


@dataclass(frozen=True)
class Vendor:
    """Vendor with one key, and the door's bundle file."""

    key: Path
    public: Path
    door: Path

    @property
    def trust(self) -> TrustPolicy:
        return TrustPolicy.from_files(self.public)

    def put(self, **changes: Any) -> Path:
        """Sign a bundle and put it in place."""
        return tiny_bundle.write(self.door, self.key, **changes)

    def start(self, **options: Any) -> str:
        """Open the door's bundle as a program that starts does, and return its id."""
        with fasdk.open(
            self.door, trust=self.trust, backend="onnxruntime", threads=1, **options
        ) as session:
            return session.bundle.id


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account's folder of its own, on a machine where root keeps no state."""
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(revisions, "SYSTEM_FILE", tmp_path / "system" / "revisions.json")
    return tmp_path / "home"


@pytest.fixture
def vendor(home: Path, tmp_path: Path) -> Vendor:
    (tmp_path / "door").mkdir()
    key = tmp_path / "vendor.pem"
    return Vendor(key, generate_key(key)[0], tmp_path / "door" / "lobby.fasb")


def state_file(home: Path) -> Path:
    return home / "state" / "revisions.json"


def test_an_older_bundle_is_refused_after_a_restart(vendor: Vendor) -> None:
    vendor.put(revision=1)
    old = vendor.door.read_bytes()
    vendor.start()
    vendor.put(revision=7)
    newest = vendor.start()
    vendor.door.write_bytes(old)
    for _ in range(2):
        with pytest.raises(
            RollbackError,
            match=r"is revision 1, the one last taken is revision 7.*allow_rollback=True.*--allow",
        ):
            vendor.start()
    vendor.put(revision=7)
    assert vendor.start() == newest


WEAKER: dict[str, tuple[dict[str, Any], BundleChange]] = {
    "lower revision": ({"revision": 1}, BundleChange.ROLLBACK),
    "threshold of nothing": (
        {"operating_points": (point(threshold=0.001), point(level="strict", threshold=0.001))},
        BundleChange.REWRITE,
    ),
    "another product": ({"product": "gate", "revision": 3}, BundleChange.PRODUCT),
    "another model": (
        {
            "model": ModelInfo(family="x", config={}, parameters=18, published_in="this test"),
            "revision": 3,
        },
        BundleChange.MODEL,
    ),
    "other settings": (
        {
            "model": ModelInfo(
                family="averages", config={"width": 1}, parameters=18, published_in="this test"
            ),
            "revision": 3,
        },
        BundleChange.MODEL,
    ),
    "nothing required": (
        {
            "required": (),
            "operating_points": (point(), point(modalities=(Modality.IR,)), point(level="strict")),
            "revision": 3,
        },
        BundleChange.MODALITIES,
    ),
    "a level less": ({"operating_points": (point(),), "revision": 3}, BundleChange.LEVELS),
    "a laxer bound": (
        {
            "operating_points": (
                point().model_copy(update={"apcer_upper": 0.4}),
                point(level="strict"),
            ),
            "revision": 3,
        },
        BundleChange.LEVELS,
    ),
}
FIRST: dict[str, Any] = {
    "revision": 2,
    "operating_points": (point(), point(level="strict")),
}


def put_weaker(vendor: Vendor, case: str) -> BundleChange:
    changes, expected = WEAKER[case]
    vendor.put(**(FIRST | changes))
    return expected


@pytest.mark.parametrize("case", WEAKER)
def test_a_weaker_bundle_is_refused_at_a_start_until_it_is_allowed_by_name(
    vendor: Vendor, case: str
) -> None:
    vendor.put(**FIRST)
    vendor.start()
    change = put_weaker(vendor, case)
    others = {f"allow_{c.value}": True for c in BundleChange if c is not change}
    with pytest.raises(RollbackError, match=f"pass allow_{change.value}=True"):
        vendor.start(**others)
    taken = vendor.start(**{f"allow_{change.value}": True})
    assert vendor.start() == taken  # what was allowed is remembered


@pytest.mark.parametrize("case", WEAKER)
def test_a_weaker_bundle_is_refused_at_a_swap_until_it_is_allowed_by_name(
    vendor: Vendor, case: str
) -> None:
    vendor.put(**FIRST)
    with fasdk.open(vendor.door, trust=vendor.trust, backend="onnxruntime") as session:
        first = session.bundle.id
        change = put_weaker(vendor, case)
        others = {f"allow_{c.value}": True for c in BundleChange if c is not change}
        with pytest.raises(RollbackError, match=f"pass allow_{change.value}=True"):
            session.swap(vendor.door, **others)
        assert session.bundle.id == first
        session.swap(vendor.door, **{f"allow_{change.value}": True})
        taken = session.bundle.id
    assert vendor.start() == taken


def test_a_swap_counts_after_a_restart(vendor: Vendor, tmp_path: Path) -> None:
    vendor.put(revision=1)
    newer = tiny_bundle.write(tmp_path / "newer.fasb", vendor.key, revision=2)
    with fasdk.open(vendor.door, trust=vendor.trust, backend="onnxruntime") as session:
        session.swap(newer)
    with pytest.raises(RollbackError, match="is revision 1"):
        vendor.start()


def test_the_sessions_own_level_cannot_be_dropped_even_if_levels_may(vendor: Vendor) -> None:
    vendor.put(**FIRST)
    with fasdk.open(vendor.door, trust=vendor.trust, backend="onnxruntime") as session:
        vendor.put(revision=3, operating_points=(point(level="strict"),))
        with pytest.raises(OperatingPointError, match="no operating point for security level"):
            session.swap(vendor.door, allow_levels=True)


def test_a_stronger_bundle_needs_no_permission(vendor: Vendor) -> None:
    vendor.put(revision=1)
    vendor.start()
    stricter = point().model_copy(update={"apcer_upper": 0.009})
    vendor.put(
        revision=2, required=ALL, operating_points=(stricter, point(level="strict", threshold=0.9))
    )
    vendor.start()


def test_the_key_of_before_a_rotation_does_not_bring_an_older_bundle_back(
    vendor: Vendor, tmp_path: Path
) -> None:
    new_key = tmp_path / "rotated.pem"
    both = TrustPolicy.from_files(vendor.public, generate_key(new_key)[0])
    vendor.put(revision=5)
    old = vendor.door.read_bytes()

    def start(**options: Any) -> None:
        with fasdk.open(vendor.door, trust=both, backend="onnxruntime", **options):
            pass

    start()
    tiny_bundle.write(vendor.door, new_key, revision=6)
    start()
    vendor.door.write_bytes(old)
    with pytest.raises(RollbackError, match="revision 5"):
        start()
    start(allow_rollback=True)
    start()
    tiny_bundle.write(vendor.door, new_key, revision=6)
    start()


def test_two_products_of_a_vendor_go_side_by_side_once_the_second_is_allowed(
    vendor: Vendor,
) -> None:
    vendor.put(revision=4)
    vendor.start()
    vendor.put(product="gate", revision=9)
    vendor.start(allow_product=True)
    vendor.put(revision=4)
    vendor.start()
    vendor.put(product="gate", revision=8)
    with pytest.raises(RollbackError, match="is revision 8, the one last taken is revision 9"):
        vendor.start()


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 9000, b'{"schema_version":2}', b"[]"])
def test_a_damaged_state_refuses_and_the_stated_fix_works(
    vendor: Vendor, home: Path, content: bytes
) -> None:
    vendor.put(revision=2)
    vendor.start()
    state_file(home).write_bytes(content)
    with pytest.raises(StateError, match=r"revisions.json .*run `fasdk accept BUNDLE --reset`"):
        vendor.start()
    bundle = open_bundle(vendor.door, vendor.trust)
    RevisionState.installed().accept(bundle, [str(bundle.signed_by)], reset=True)
    vendor.start()
    vendor.put(revision=1)
    with pytest.raises(RollbackError, match="is revision 1"):
        vendor.start()


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def everyones(path: Path) -> None:
    path.chmod(0o666)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [link, fifo, folder, everyones, endless])
def test_what_is_no_state_file_of_this_account_refuses_at_once(
    vendor: Vendor, home: Path, put: Callable[[Path], None]
) -> None:
    vendor.put(revision=2)
    vendor.start()
    put(state_file(home))
    with pytest.raises(StateError, match="fasdk accept BUNDLE --reset"):
        vendor.start()


def test_a_state_that_is_missing_is_said(
    vendor: Vendor, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.put(revision=2)
    with caplog.at_level(logging.WARNING, logger="fasdk.revisions"):
        vendor.start()
        assert "revisions.json does not exist, so nothing tells which bundles" in caplog.text
        caplog.clear()
        vendor.start()
        assert caplog.text == ""
        state_file(home).unlink()
        vendor.start()
        assert "does not exist" in caplog.text


def test_a_bundle_that_does_not_open_here_locks_nothing_out(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.put(revision=1)
    vendor.start()
    vendor.put(revision=2)

    def out_of_memory(_: fasdk.Liveness) -> None:
        raise BackendError("out of memory")

    with monkeypatch.context() as patch, pytest.raises(BackendError):
        patch.setattr(fasdk.Liveness, "start", out_of_memory)
        vendor.start()
    vendor.put(revision=1)
    vendor.start()


def test_bundles_built_here_and_unsigned_ones_need_no_state(home: Path, tmp_path: Path) -> None:
    door = tmp_path / "lobby.fasb"
    for changes in ({"revision": 2}, {"revision": 2, "golden_tolerance": 0.02}, {"revision": 1}):
        tiny_bundle.write(door, **changes)
        for trust in (None, TrustPolicy.unsigned()):
            with fasdk.open(door, trust=trust, backend="onnxruntime"):
                pass
    assert not state_file(home).exists()


def test_a_bundle_built_again_here_is_swapped_in_at_its_revision(
    home: Path, tmp_path: Path
) -> None:
    door = tiny_bundle.write(tmp_path / "lobby.fasb")
    with fasdk.open(door, backend="onnxruntime") as session:
        again = tiny_bundle.write(tmp_path / "again.fasb", golden_tolerance=0.02)
        session.swap(again)
        assert session.bundle.id == open_bundle(again).id


def test_an_unsigned_session_refuses_other_content_at_its_revision(tmp_path: Path) -> None:
    unsigned = TrustPolicy.unsigned()
    door = tiny_bundle.write(tmp_path / "lobby.fasb")
    other = tiny_bundle.write(tmp_path / "other.fasb", golden_tolerance=0.02)
    with (
        fasdk.open(door, trust=unsigned, backend="onnxruntime") as session,
        pytest.raises(RollbackError, match="with other content"),
    ):
        session.swap(other)


def test_a_swap_takes_no_laxer_policy_than_the_sessions(vendor: Vendor, tmp_path: Path) -> None:
    vendor.put(revision=1)
    stranger = tmp_path / "stranger.pem"
    strangers = TrustPolicy.from_files(generate_key(stranger)[0])
    other = tiny_bundle.write(tmp_path / "other.fasb", stranger, revision=2)
    with fasdk.open(vendor.door, trust=vendor.trust, backend="onnxruntime") as session:
        first = session.bundle.id
        for trust in (TrustPolicy.unsigned(), strangers, TrustPolicy.installed()):
            with pytest.raises(TrustError):
                session.swap(other, trust=trust)
            with pytest.raises(TrustError):
                session.swap(open_bundle(other, TrustPolicy.unsigned()), trust=trust)
        with pytest.raises(TrustError):
            session.swap(open_bundle(other, strangers), trust=strangers)
        newer = vendor.put(revision=2)
        with pytest.raises(TrustError):  # stricter than the session's is heeded
            session.swap(newer, trust=strangers)
        assert session.bundle.id == first
        session.swap(newer, trust=TrustPolicy.unsigned())
        assert session.bundle.signed_by == next(iter(vendor.trust.keys)).id


def test_roots_state_binds_an_account_that_lost_its_own(
    vendor: Vendor, home: Path, tmp_path: Path
) -> None:
    system = StateFile(revisions.SYSTEM_FILE, (os.geteuid(),), is_public=True)
    revisions.SYSTEM_FILE.parent.mkdir()
    vendor.put(revision=3)
    bundle = open_bundle(vendor.door, vendor.trust)
    trusted = [str(bundle.signed_by)]
    state = RevisionState(revisions._account_file, system)
    state.accept(bundle, trusted, system=True)
    assert revisions.SYSTEM_FILE.stat().st_mode & 0o777 == 0o644
    assert not state_file(home).exists()
    vendor.put(revision=2)
    with pytest.raises(RollbackError, match="is revision 2, the one last taken is revision 3"):
        state.check(open_bundle(vendor.door, vendor.trust), trusted)
    # An account that can write nothing goes on with root's state, or not at all.
    home.write_text("no folder")
    state.record(bundle, trusted)
    with pytest.raises(fasdk.FasdkError, match="no folder"):
        RevisionState(revisions._account_file).record(bundle, trusted)


def test_a_system_state_that_root_did_not_write_refuses(vendor: Vendor) -> None:
    vendor.put()
    revisions.SYSTEM_FILE.parent.mkdir()
    revisions.SYSTEM_FILE.write_text("{}")
    revisions.SYSTEM_FILE.chmod(0o666)
    with pytest.raises(StateError, match=r"belongs to account|others can write it"):
        vendor.start()


def _taken(bundle: Bundle, numbers: Iterator[int]) -> None:
    for number in numbers:
        manifest = bundle.manifest.model_copy(update={"revision": number})
        try:
            RevisionState.installed().record(
                replace(bundle, manifest=manifest, id=f"{number:064x}"), [str(bundle.signed_by)]
            )
        except RollbackError:
            continue


def test_processes_that_record_at_once_lose_nothing(vendor: Vendor, home: Path) -> None:
    vendor.put()
    bundle = open_bundle(vendor.door, vendor.trust)
    fork = multiprocessing.get_context("fork")
    workers = [
        fork.Process(target=_taken, args=(bundle, range(start, 40, 4))) for start in range(1, 5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    known = StateFile(state_file(home), (os.geteuid(),)).read()
    assert known is not None
    assert [taken.revision for taken in known.of([str(bundle.signed_by)])] == [39]
    assert sorted(path.name for path in (home / "state").iterdir()) == [
        "revisions.json",
        "revisions.lock",
    ]


def test_a_state_that_another_process_holds_is_waited_for_and_then_named(
    vendor: Vendor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.put(revision=1)
    vendor.start()
    vendor.put(revision=2)
    with (home / "state" / "revisions.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.2, held.close).start()
        vendor.start()
    vendor.put(revision=3)
    monkeypatch.setattr(revisions, "_LOCK_WAIT_S", 0.1)
    with (home / "state" / "revisions.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StateError, match="is held by another process"):
            vendor.start()


def test_accepting_a_bundle_that_is_not_remembered_is_refused(home: Path, tmp_path: Path) -> None:
    door = tiny_bundle.write(tmp_path / "lobby.fasb")
    with pytest.raises(UsageError, match="it was built here"):
        RevisionState.installed().accept(open_bundle(door), [])
    with pytest.raises(UsageError, match="its signature was not checked"):
        RevisionState.installed().accept(open_bundle(door, TrustPolicy.unsigned()), [])


def test_measuring_an_old_bundle_neither_asks_nor_records(vendor: Vendor, home: Path) -> None:
    vendor.put(revision=2)
    vendor.start()
    before = state_file(home).read_bytes()
    vendor.put(revision=1)
    vendor.start(revisions=RevisionState.unchecked())
    assert state_file(home).read_bytes() == before


def test_every_change_can_be_allowed_by_name_and_nothing_else(vendor: Vendor) -> None:
    assert set(AllowedChanges.__annotations__) == {f"allow_{c.value}" for c in BundleChange}
    vendor.put()
    with pytest.raises(TypeError, match="unexpected keyword argument 'allow_all'"):
        vendor.start(allow_all=True)
    with (
        fasdk.open(vendor.door, trust=vendor.trust, backend="onnxruntime") as session,
        pytest.raises(TypeError, match="unexpected keyword argument 'limit'"),
    ):
        session.swap(vendor.door, limit=3)  # type: ignore[call-arg]
