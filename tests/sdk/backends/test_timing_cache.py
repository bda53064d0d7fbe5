"""Options of a plan's build, and the timing cache that bundles of a folder share."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fasdk.backends.plan_options import PlanOptions
from fasdk.backends.tensorrt.execution import PlanSource
from fasdk.backends.tensorrt.sealed import KEY_FILE
from fasdk.backends.tensorrt.timing import FOLDER, TimingCache, TimingKey
from fasdk.backends.tensorrt.versions import OLDEST
from fasdk.bounded_file import FileKind
from fasdk.bundle.bundle import open_bundle
from fasdk.errors import UsageError

from support.gpu_rig import Rig
from support.graphs import write_small_bundle
from support.tensorrt_standin.settings import TIMES, Refusal

KEY = TimingKey(
    module="tensorrt",
    version="10.7.0",
    cuda="12.6",
    device="Orin",
    compute_capability="8.7",
    gpu_uuid="1" * 32,
)


def build_again(rig: Rig) -> None:
    shutil.rmtree(rig.cache.folder)
    assert rig.open().plan_source is PlanSource.BUILT


def test_defaults_are_those_for_8_gb(rig: Rig) -> None:
    rig.open()
    assert rig.behavior.settings == [(1024 << 20, 3, 0)]


def test_options_reach_the_builder_and_decide_on_a_cached_plan(rig: Rig) -> None:
    chosen = PlanOptions(workspace_mib=256, optimization_level=5, aux_streams=2)
    rig.open()
    assert rig.open(options=PlanOptions()).plan_source is PlanSource.CACHE
    assert rig.open(options=chosen).plan_source is PlanSource.BUILT
    assert rig.open(options=chosen).plan_source is PlanSource.CACHE
    assert rig.open().plan_source is PlanSource.CACHE  # a door takes what build-plan left
    assert rig.behavior.settings == [(1024 << 20, 3, 0), (256 << 20, 5, 2)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workspace_mib": -1}, "workspace_mib is -1, expected 0 to 1048576 MiB"),
        ({"optimization_level": 6}, "optimization_level is 6, expected 0 to 5 levels"),
        ({"optimization_level": True}, "optimization_level is True, expected 0 to 5 levels"),
        ({"aux_streams": 1.5}, "aux_streams is 1.5, expected 0 to 64 streams"),
        ({"aux_streams": 65}, "aux_streams is 65, expected 0 to 64 streams"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PlanOptions(**options)


def test_a_build_starts_from_the_times_of_another_bundle(rig: Rig) -> None:
    rig.open()
    other = rig.bundle.path.with_name("other.fasb")
    rig.bundle = open_bundle(write_small_bundle(other))
    rig.open()
    assert rig.behavior.timings == [TIMES, TIMES + b"+"]
    assert sorted(each.name for each in rig.bundle.path.parent.glob("*.timing")) == [FOLDER]


def test_without_a_timing_cache_none_is_taken_or_kept(rig: Rig) -> None:
    rig.open(options=PlanOptions(timing_cache=False))
    assert rig.behavior.timings == [None]
    assert not rig.bundle.path.with_name(FOLDER).exists()


def test_times_that_tensorrt_refuses_are_dropped_and_made_anew(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.open()
    rig.behavior.refuses.add(Refusal.TIMING)
    with caplog.at_level(logging.WARNING, "fasdk.tensorrt"):
        build_again(rig)
    assert rig.behavior.timings == [TIMES, TIMES]
    assert caplog.records[-1].message == (
        f"tensorrt {OLDEST}.0 does not take the timing cache kept here, which is dropped: it gave "
        "no reason"
    )


def test_a_plan_that_drifts_leaves_no_times(rig: Rig) -> None:
    rig.behavior.drift = 1.0
    with pytest.raises(Exception, match="does not reproduce"):
        rig.open()
    assert not rig.bundle.path.with_name(FOLDER).exists()


@pytest.fixture
def cache(tmp_path: Path) -> TimingCache:
    made = TimingCache.beside(tmp_path / "lobby.fasb")
    made.store(KEY, b"times")
    return made


def test_times_come_back_and_only_this_account_can_read_them(
    cache: TimingCache, tmp_path: Path
) -> None:
    assert cache.folder == tmp_path / FOLDER
    assert cache.load(KEY) == b"times"
    paths = [cache.folder, *cache.folder.iterdir()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700, 0o600, 0o600]


@pytest.mark.parametrize("field", list(TimingKey.model_fields))
def test_times_of_another_gpu_or_release_are_not_taken(cache: TimingCache, field: str) -> None:
    assert cache.load(KEY.model_copy(update={field: "other"})) == b""


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def grow(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(FileKind.TIMING.max_bytes + 1)


def other_account(path: Path) -> None:
    os.chown(path, 54321, -1)


FILE_FAULTS: dict[str, Callable[[Path], None]] = {
    "altered": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "a link": link,
    "a folder": lambda path: (path.unlink(), path.mkdir()),  # type: ignore[dict-item]
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),  # type: ignore[dict-item]
    "huge": grow,
    "open to others": lambda path: path.chmod(0o666),
    "another account's": other_account,
    "unreadable key": lambda path: flip(path.with_name(KEY_FILE)),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_times_that_were_touched_are_dropped_with_one_line(
    cache: TimingCache, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "another account's" and os.geteuid():
        pytest.skip("only root can give a file away")
    FILE_FAULTS[fault](cache.file_of(KEY))
    with caplog.at_level(logging.WARNING, "fasdk.tensorrt"):
        assert cache.load(KEY) == b""
    (line,) = [record.message for record in caplog.records]
    assert line.startswith(f"timing cache {cache.file_of(KEY)} is dropped: ")
    cache.store(KEY, b"new")
    assert cache.load(KEY) == b"new"


FOLDER_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (link, "is a link, expected a folder"),
    "open to others": (lambda path: path.chmod(0o777), "has mode 0777, others can write there"),
    "another account's": (other_account, "belongs to account 54321"),
    "a file": (lambda path: (shutil.rmtree(path), path.touch()), "is no folder"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_folder_that_could_be_anyones_is_neither_read_nor_written(
    cache: TimingCache, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "another account's" and os.geteuid():
        pytest.skip("only root can give a folder away")
    spoil, words = FOLDER_FAULTS[fault]
    before = cache.file_of(KEY).read_bytes()
    spoil(cache.folder)
    with caplog.at_level(logging.WARNING, "fasdk.tensorrt"):
        assert cache.load(KEY) == b""
        cache.store(KEY, b"new")
    read, written = [record.message for record in caplog.records]
    assert "is dropped" in read
    assert words in read
    assert "is not kept" in written
    assert words in written
    if fault != "a file":
        assert cache.file_of(KEY).read_bytes() == before


def test_times_of_another_machine_are_dropped(cache: TimingCache) -> None:
    assert TimingCache(cache.folder, machine="another machine").load(KEY) == b""
