"""Files of killed writers: a device that is killed while it writes must not fill its disk.

Who can stop the process or cut the power, again and again, hopes that a part of a bundle, plan
or private key stays behind. Answer: nothing stays where the file system has unnamed files;
elsewhere the next write into the folder removes what dead writers left, and never what living
ones write.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fasdk import atomic
from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError


def killed(work: Callable[[], None]) -> None:
    """Run `work` in a forked process, which must end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(9)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status


def write_and_die(path: Path, content: bytes = b"PRIVATE KEY") -> None:
    with atomic_write(path, mode=0o600) as file:
        file.write(content)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def die_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the process that is about to call a method of Path."""
    monkeypatch.setattr(Path, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


@pytest.fixture
def named_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without unnamed files, such as NFS."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_TMPFILE | os.O_CREAT)  # EINVAL, as on such a one


def test_a_killed_writer_leaves_no_byte_where_files_need_no_name(tmp_path: Path) -> None:
    killed(lambda: write_and_die(tmp_path / "release.pem"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("named_parts")
def test_the_next_write_removes_what_killed_writers_left(tmp_path: Path) -> None:
    for name in ("release.pem", "release.pem", "lobby.fasb", "x" * 200):
        killed(lambda name=name: write_and_die(tmp_path / name))  # type: ignore[misc]
        assert len(list(tmp_path.iterdir())) == 1
    with atomic_write(tmp_path / "other") as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_writer_killed_before_the_rename_leaves_the_old_file_and_one_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lobby.fasb"
    path.write_bytes(b"old")

    def work() -> None:
        die_before("replace", monkeypatch)
        with atomic_write(path) as file:
            file.write(b"new")

    killed(work)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(path) as file:
        file.write(b"newer")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"newer"


@pytest.mark.usefixtures("named_parts")
def test_a_living_writer_keeps_its_file(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "slow") as slow:
        slow.write(b"slow")
        with atomic_write(tmp_path / "quick") as quick:
            quick.write(b"quick")
        assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "slow").read_bytes() == b"slow"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("named_parts")
def test_a_file_taken_for_abandoned_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = atomic._lock, []

    def lock(descriptor: int, *, wait: bool) -> bool:
        if wait and not taken:
            (part,) = tmp_path.iterdir()
            taken.append(part)
            part.unlink()
        return real(descriptor, wait=wait)

    monkeypatch.setattr(atomic, "_lock", lock)
    with atomic_write(tmp_path / "x") as file:
        file.write(b"whole")
    assert (tmp_path / "x").read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_only_looks_like_a_part_neither_hangs_nor_goes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f".pipe.{'0' * 16}.part")
    (tmp_path / f".folder.{'1' * 16}.part").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / f".link.{'2' * 16}.part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".mine.part").write_bytes(b"kept")
    before = sorted(tmp_path.iterdir())
    with atomic_write(tmp_path / "x") as file:
        file.write(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "x"])


def test_the_name_is_flushed_to_the_disk_after_the_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append((Path(f"/proc/self/fd/{descriptor}").readlink(), path.exists()))
        real(descriptor)

    path = tmp_path / "x"
    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(path) as file:
        file.write(b"whole")
    assert flushed[0][1] is False
    assert flushed[1:] == [(tmp_path, True)]


@pytest.mark.parametrize(
    ("code", "is_told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_a_folder_that_cannot_be_flushed_is_told_where_that_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_told: bool
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    try:
        with atomic_write(tmp_path / "x") as file:
            file.write(b"whole")
        told = ""
    except FasdkError as error:
        told = str(error)
    assert ("power failure" in told) is is_told
    assert (tmp_path / "x").read_bytes() == b"whole"
