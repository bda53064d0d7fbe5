"""Atomic file writing under interruptions."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError


def test_a_new_file_appears_whole_and_nothing_else(tmp_path):
    path = tmp_path / "new.fasb"
    with atomic_write(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_when_the_block_raises(tmp_path):
    path = tmp_path / "old.fasb"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(path) as file:
        file.write(b"new")
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    with atomic_write(Path(sys.argv[1])) as file:
        for _ in range(64):
            file.write(bytes(4096))
except FasdkError as error:
    print(error)
    raise SystemExit(2)
"""


def test_the_old_file_stays_when_the_file_system_takes_no_more(tmp_path):
    path = tmp_path / "old.fasb"
    path.write_bytes(b"old")
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (2, "")
    assert f"cannot write {path}: File too large" in ran.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_full_at_the_last_flush_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "old.fasb"
    path.write_bytes(b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FasdkError, match="No space left on device"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent/x.fasb", "No such file or directory"),
        ("file/x.fasb", "Not a directory"),
        ("folder", "Is a directory"),
        ("", "a directory|folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, name, reason):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FasdkError, match=reason), atomic_write(tmp_path / name) as file:
        file.write(b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_pipe_or_a_device_is_never_replaced_by_a_file(tmp_path, monkeypatch):
    pipe, link, devices = tmp_path / "pipe", tmp_path / "link", tmp_path / "dev"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    devices.mkdir()
    stdout = devices / "stdout"  # which leads to a file where a shell sent it there
    stdout.write_bytes(b"")
    monkeypatch.setattr("fasdk.atomic._DEVICES", devices)
    for path in (pipe, link, stdout):
        with pytest.raises(FasdkError, match="a device, a pipe"), atomic_write(path) as file:
            file.write(b"x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["dev", "link", "pipe", "stdout"]


def test_a_path_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    with pytest.raises(FasdkError, match="give a file name"), atomic_write(Path()):
        pass


def test_an_error_about_another_file_is_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_write(tmp_path / "x"):
        (tmp_path / "elsewhere").read_bytes()
    assert not list(tmp_path.iterdir())


def test_a_private_file_is_private_from_the_first_byte(tmp_path):
    path = tmp_path / "key"
    with atomic_write(path, mode=0o600) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o600


def test_usual_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "x"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_reader_never_sees_a_part(tmp_path):
    path = tmp_path / "busy.fasb"
    contents = {bytes([i]) * 200_000 for i in range(20)}
    path.write_bytes(next(iter(contents)))
    done = threading.Event()
    seen: set[bytes] = set()

    def read():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for content in contents:
            with atomic_write(path) as file:
                file.write(content[:100_000])
                file.flush()
                file.write(content[100_000:])
    finally:
        done.set()
        reader.join()
    assert seen
    assert seen <= contents
