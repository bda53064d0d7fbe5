"""Audit log: what a line holds, restarts, rotation, crashes, full disks and other programs."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fasdk.audit import AuditLog, AuditPolicy, verify_audit_log
from fasdk.decision import Decision, Verdict
from fasdk.errors import AuditError, UsageError
from fasdk.reasons import Reason
from fasdk.tracking.track_decision import TrackDecision

from support.audit_logs import LIVE, RETRY, UNFLUSHED, WIDE, write_key, write_log
from support.scratch import memory_folder

SMALL = replace(UNFLUSHED, max_bytes=1 << 16)
FILE_AND_MORE = 80  # decisions that fill more than one small file


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        yield Path(folder) / "door.audit"


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def kinds_of(path):
    return [line["kind"] for line in lines_of(path)]


def test_a_line_says_what_was_decided_when_and_by_what(path):
    write_log(path, 2)
    lines = lines_of(path)
    assert [line["kind"] for line in lines] == ["file", "start", "decision", "decision", "end"]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
    live, retry = lines[2:4]
    assert live.pop("time").endswith("Z")
    assert len(live.pop("hash")) == 64
    assert live == {
        "seq": 3,
        "kind": "decision",
        "camera": "lobby",
        "verdict": "live",
        "score": 0.98,
        "threshold": 0.5,
        "operating_point": "standard/rgb+depth+ir",
        "codes": [],
        "bundle": "ab" * 32,
        "trust": "key 0123456789abcdef",
        "version": lines[1]["version"],
    }
    assert (retry["score"], retry["threshold"], retry["codes"]) == (None, None, ["no-face"])


def test_no_message_of_a_reason_is_kept_since_it_may_name_a_person(path):
    write_log(path, 2)
    assert "alice" not in path.read_text()


def test_a_tracks_decision_names_its_camera(path):
    with AuditLog(path, UNFLUSHED) as audit:
        audit.record(TrackDecision.of(LIVE, None, "garage"))
        audit.record(TrackDecision.of(LIVE, None, "garage"), "gate")
    assert [line["camera"] for line in lines_of(path)[2:4]] == ["garage", "gate"]


def test_what_acts_on_terminals_and_long_names_are_written_plainly_and_cut(path):
    odd = replace(LIVE, score=math.inf, bundle_id="é\n\x1b[2J" + "x" * 999, trust="\udcff")
    with AuditLog(path, UNFLUSHED) as audit:
        assert audit.record(odd, "a\u202eb") is odd
    line = lines_of(path)[2]
    assert line["bundle"].startswith(r"é\n\x1b[2J") and len(line["bundle"]) == 256
    assert (line["trust"], line["camera"], line["score"]) == (r"\udcff", r"a\u202eb", None)
    assert verify_audit_log(path).is_whole


def test_files_are_for_their_owner_alone(path):
    write_log(path, FILE_AND_MORE, SMALL, decision=WIDE)
    with AuditLog(path, SMALL):
        assert stat.S_IMODE(path.with_name("door.audit.lock").stat().st_mode) == 0o600
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("door.audit", "door.audit.000001"), 0o600)


def test_a_restart_goes_on_with_the_chain(path):
    first = write_log(path, 2)
    head = write_log(path, 1)
    report = verify_audit_log(path, head=first)
    assert report.is_whole and report.is_ended
    assert (report.starts, report.lines, report.head, report.after_noted) == (2, 8, head, 3)
    assert report.cut_off == 0


def test_a_process_that_did_not_end_is_counted(path):
    audit = AuditLog(path, UNFLUSHED)
    audit.record(LIVE, "lobby")
    audit._release()  # as the kernel does when a process is killed
    assert not verify_audit_log(path).is_ended
    write_log(path, 1)
    report = verify_audit_log(path)
    assert (report.is_whole, report.cut_off, report.is_ended) == (True, 1, True)


def test_a_second_process_is_refused_and_the_first_goes_on(path):
    with AuditLog(path, UNFLUSHED) as audit:
        audit.record(LIVE, "lobby")
        with pytest.raises(AuditError, match="another process writes the audit log"):
            AuditLog(path)
        audit.record(LIVE, "lobby")
    assert verify_audit_log(path).verdicts == {Verdict.LIVE: 2}


def test_a_lock_that_a_killed_process_left_keeps_nobody_out(path):
    path.with_name("door.audit.lock").touch(0o600)
    write_log(path, 1)
    assert [file.name for file in path.parent.iterdir()] == ["door.audit"]


def test_cameras_of_one_process_share_a_log(path):
    from concurrent.futures import ThreadPoolExecutor

    with AuditLog(path, UNFLUSHED) as audit, ThreadPoolExecutor(4) as threads:
        for camera in range(4):
            threads.map(lambda _, name=str(camera): audit.record(LIVE, name), range(25))
    report = verify_audit_log(path)
    assert report.is_whole and report.verdicts == {Verdict.LIVE: 100}


def test_full_files_are_rotated_and_verified_as_one_chain(path):
    write_log(path, 3 * FILE_AND_MORE, SMALL, decision=WIDE)
    names = [file.name for file in verify_audit_log(path).files]
    assert names[:2] == ["door.audit.000001", "door.audit.000002"] and names[-1] == "door.audit"
    assert all(path.with_name(name).stat().st_size <= SMALL.max_bytes for name in names)
    write_log(path, 1, SMALL)
    report = verify_audit_log(path)
    assert report.is_whole and sum(report.verdicts.values()) == 3 * FILE_AND_MORE + 1


def test_old_files_are_deleted_as_asked_and_the_rest_verifies(path):
    write_log(path, 4 * FILE_AND_MORE, replace(SMALL, keep=2), decision=WIDE)
    report = verify_audit_log(path)
    assert report.is_whole and len(report.files) == 3
    assert report.first > 1
    report.files[0].unlink()
    broken = verify_audit_log(path).broken
    assert broken.file == report.files[1] and "absent" in broken.message


def test_files_moved_elsewhere_are_followed_by_their_head(path, tmp_path):
    write_log(path, 3 * FILE_AND_MORE, SMALL, decision=WIDE)
    archive = tmp_path / "archive"
    archive.mkdir()
    moved = [*path.parent.glob("door.audit.0*")]
    for file in moved:
        shutil.move(file, archive)
    old = verify_audit_log(archive / "door.audit")
    assert old.is_whole and len(old.files) == len(moved)
    assert "absent" in verify_audit_log(path).broken.message
    assert verify_audit_log(path, after=old.head).is_whole
    assert verify_audit_log(path, after=old.head, head=old.head).is_whole
    assert "goes on from" in verify_audit_log(path, after="1" * 64).broken.message


def test_a_crash_in_the_middle_of_a_rotation_is_gone_on_from(path):
    write_log(path, 2)
    path.rename(path.with_name("door.audit.000001"))
    write_log(path, 2)
    report = verify_audit_log(path)
    assert report.is_whole and len(report.files) == 2 and report.last == report.lines == 10


def test_a_file_that_cannot_be_rotated_grows(path, caplog):
    write_log(path, 1, SMALL)
    path.with_name("door.audit.000001").mkdir()
    write_log(path, FILE_AND_MORE, SMALL, decision=WIDE)
    assert path.stat().st_size > SMALL.max_bytes
    assert caplog.text.count("cannot be rotated") == 1
    path.with_name("door.audit.000001").rmdir()
    assert verify_audit_log(path).is_whole


def test_every_tear_of_the_last_line_is_told_and_gone_on_from(path):
    write_log(path, 1)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in {*range(start + 1, len(whole), 5), *range(len(whole) - 3, len(whole))}:
        path.write_bytes(whole[:end])
        torn = end - start
        report = verify_audit_log(path)
        assert (report.is_whole, report.unfinished, report.last) == (True, torn, 3)
        write_log(path, 1)
        report = verify_audit_log(path)
        assert report.is_whole, report.broken
        assert [(each.line, each.bytes) for each in report.torn] == [(4, torn)]
        assert (report.unfinished, report.last, report.verdicts) == (0, 6, {Verdict.LIVE: 2})


def test_blocks_of_zeros_that_a_power_failure_leaves_are_a_torn_line(path):
    write_log(path, 1)
    with path.open("ab") as file:
        file.write(bytes(4096))
    write_log(path, 1)
    report = verify_audit_log(path)
    assert report.is_whole and [each.bytes for each in report.torn] == [4096]


def test_a_restart_that_is_torn_itself_is_gone_on_from(path):
    write_log(path, 1)
    for _ in range(3):
        with path.open("ab") as file:
            file.write(b'{"seq":9,"time":"20')
        write_log(path, 0)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b'"kind":"start"')])
    write_log(path, 1)
    report = verify_audit_log(path)
    assert report.is_whole and len(report.torn) == 3
    assert report.torn[-1].bytes > 19  # the first tear, and what was told of it until the second


FILL = """
import os, resource, signal, sys
from fasdk.audit import *
from support.audit_logs import LIVE
path, required = sys.argv[1], sys.argv[2] == "required"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
audit = AuditLog(path, AuditPolicy(required=required))
audit.record(LIVE, "lobby")
size = os.path.getsize(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
found = [audit.record(LIVE, "lobby") for _ in range(3)]
assert os.path.getsize(path) == size, "a part of a line is left"
print([(each.verdict.value, [code.value for code in each.codes]) for each in found])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(audit.record(LIVE, "lobby").verdict.value, audit.lost, audit.recorded)
audit.close()
"""


@pytest.mark.parametrize("required", [False, True])
def test_a_file_that_takes_no_more_is_said_once_and_an_error_only_where_required(path, required):
    ran = subprocess.run(
        [sys.executable, "-c", FILL, path, "required" if required else "not"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["tests", *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    given = ("error", ["unrecorded"]) if required else ("live", [])
    assert ran.stdout.splitlines() == [str([given] * 3), "live 3 2"]
    said = "every decision is an ERROR until it can" if required else "decisions go on until it can"
    assert ran.stderr.count(said) == 1
    assert ran.stderr.count("is written again") == 1
    report = verify_audit_log(path)
    assert (report.is_whole, report.lost, report.torn) == (True, 3, [])
    assert report.verdicts == {Verdict.LIVE: 2}


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_with(monkeypatch, number):
    """Make every write fail, as a full disk does."""

    def write(_descriptor, _data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fasdk.audit.log.os.write", write)


@pytest.mark.parametrize("required", [False, True])
def test_a_disk_that_is_full_at_the_start_shuts_no_door_unless_required(
    path, required, monkeypatch, caplog
):
    write_log(path, 1)
    with monkeypatch.context() as full:
        fail_with(full, errno.ENOSPC)
        audit = AuditLog(path, AuditPolicy(required=required))
        given = audit.record(LIVE, "lobby")
    assert given.verdict is (Verdict.ERROR if required else Verdict.LIVE)
    assert given.codes == ((Reason.UNRECORDED,) if required else ())
    assert caplog.text.count("No space left on device") == 1
    assert audit.record(LIVE, "lobby").is_live
    audit.close()
    report = verify_audit_log(path)
    assert (report.is_whole, report.lost, report.starts) == (True, 1, 2)


def test_a_new_log_on_a_full_disk_begins_when_there_is_room(path, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr("fasdk.atomic.os.fsync", full_disk)
        audit = AuditLog(path, UNFLUSHED)
        audit.record(LIVE, "lobby")
        assert not path.exists()
    audit.record(LIVE, "lobby")
    audit.close()
    assert kinds_of(path) == ["file", "start", "gap", "decision", "end"]
    assert verify_audit_log(path).lost == 1


def test_another_fault_at_the_start_is_refused(path, monkeypatch):
    fail_with(monkeypatch, errno.EIO)
    with pytest.raises(AuditError, match=r"cannot write .*Input/output error"):
        AuditLog(path)


def test_a_part_of_a_line_that_cannot_be_taken_back_is_told(path, monkeypatch):
    written = os.write

    def write(descriptor, data):
        if len(data) > 200:
            return written(descriptor, data[:200])
        raise OSError(errno.ENOSPC, "full")

    def refuse(*_):
        raise OSError(errno.EPERM, "append-only")

    audit = AuditLog(path, UNFLUSHED)
    with monkeypatch.context() as full:
        full.setattr("fasdk.audit.log.os.write", write)
        full.setattr("fasdk.audit.log.os.ftruncate", refuse)
        audit.record(LIVE, "lobby")
        audit.record(LIVE, "lobby")
    audit.record(LIVE, "lobby")
    audit.close()
    report = verify_audit_log(path)
    assert report.is_whole, report.broken
    assert (report.lost, len(report.torn)) == (2, 1)


def test_a_log_that_root_made_append_only_is_written_and_not_rotated(path):
    audit = AuditLog(path, SMALL)
    if subprocess.run(["chattr", "+a", path], capture_output=True, check=False).returncode:
        audit.close()
        pytest.skip("chattr +a is not allowed here")
    try:
        for _ in range(FILE_AND_MORE):
            audit.record(WIDE, "lobby")
        audit.close()
        write_log(path, 1, SMALL)
        with pytest.raises(PermissionError):
            path.write_bytes(b"")
        report = verify_audit_log(path)
        assert report.is_whole and report.verdicts == {Verdict.LIVE: FILE_AND_MORE + 1}
    finally:
        subprocess.run(["chattr", "-a", path], check=True)


@pytest.mark.parametrize("how", ["removed", "replaced", "emptied", "shortened"])
def test_what_another_program_does_to_the_file_is_said_and_breaks_the_chain(path, how, caplog):
    with AuditLog(path, UNFLUSHED) as audit:
        for _ in range(3):
            audit.record(LIVE, "lobby")
        whole = path.read_bytes()
        shortened = whole[: whole.rindex(b"\n", 0, -1) + 1]
        if how == "removed":
            path.unlink()
        elif how == "replaced":
            other = path.with_name("other")
            other.write_bytes(shortened)
            other.chmod(0o600)
            other.replace(path)
        else:
            path.write_bytes(b"" if how == "emptied" else shortened)
        for _ in range(2):
            assert audit.record(LIVE, "lobby").is_live
        assert audit.lost == 0
    assert caplog.text.count("by another program") == 1
    broken = verify_audit_log(path).broken
    assert (broken.file, broken.line) == (path, 5 if how in ("replaced", "shortened") else 1)
    expected = {"removed": "door.audit.000001 before it is absent", "emptied": "removed"}
    assert expected.get(how, "lines before it were removed") in broken.message


def test_a_forked_child_records_nothing(path):
    audit = AuditLog(path, AuditPolicy(required=True))
    child = os.fork()
    if child == 0:
        try:
            codes = audit.record(LIVE, "lobby").codes
            os._exit(0 if codes == (Reason.UNRECORDED,) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    audit.record(LIVE, "lobby")
    audit.close()
    assert verify_audit_log(path).verdicts == {Verdict.LIVE: 1}


def test_a_closed_log_records_nothing_more(path):
    audit = AuditLog(path, AuditPolicy(required=True))
    audit.close()
    audit.close()
    assert audit.record(LIVE, "lobby").codes == (Reason.UNRECORDED,)
    assert kinds_of(path) == ["file", "start", "end"]


@pytest.mark.parametrize("verdict", [LIVE, RETRY, Decision(verdict=Verdict.SPOOF)])
def test_where_required_no_verdict_outlives_a_lost_line(path, verdict):
    audit = AuditLog(path, AuditPolicy(required=True))
    audit.close()
    assert audit.record(verdict, "lobby").verdict is Verdict.ERROR


def test_a_key_is_asked_of_every_run(path, tmp_path):
    key = write_key(tmp_path / "audit.key")
    other = write_key(tmp_path / "other.key", b"o" * 32)
    write_log(path, 2, key=key)
    write_log(path, 2, key=key)
    assert verify_audit_log(path, key=key).is_whole
    for wrong in (None, other):
        with pytest.raises(AuditError, match="is chained with key"):
            AuditLog(path, key=wrong)
    write_log(tmp_path / "plain.audit", 2)
    with pytest.raises(AuditError, match="is chained with no key"):
        AuditLog(tmp_path / "plain.audit", key=key)
    assert b"k" * 32 not in path.read_bytes()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"k" * 31, 0o600, "has 31 bytes, expected 32 or more"),
        (b"k" * 32, 0o644, "others can read or change it"),
        (b"k" * 32, 0o620, "others can read or change it"),
    ],
)
def test_a_key_that_is_short_or_open_to_others_is_refused(path, tmp_path, content, mode, said):
    key = write_key(tmp_path / "audit.key", content)
    key.chmod(mode)
    with pytest.raises(AuditError, match=said):
        AuditLog(path, key=key)
    assert not path.exists()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda path: path.mkdir(), "no regular file"),
        (lambda path: path.symlink_to("elsewhere"), "is a link"),
        (os.mkfifo, "no regular file"),
        (lambda path: path.write_bytes(b"not a log\n"), "is no audit log"),
        (lambda path: path.write_bytes(b"not a log"), "is no audit log"),
    ],
)
def test_what_is_no_log_is_left_alone(path, prepare, said):
    prepare(path)
    with pytest.raises(AuditError, match=said):
        AuditLog(path)
    assert not path.with_name("door.audit.lock").exists()


def test_a_log_that_others_can_write_is_refused(path):
    write_log(path, 1)
    path.chmod(0o620)
    with pytest.raises(AuditError, match="others can write it"):
        AuditLog(path)


def test_nothing_goes_on_from_an_altered_last_line(path):
    write_log(path, 1)
    path.write_bytes(path.read_bytes().replace(b'"end"', b'"eNd"'))
    with pytest.raises(AuditError, match=r"the last line of .* was altered"):
        AuditLog(path)


@pytest.mark.parametrize("name", ["door.audit.000001", "door.audit.lock"])
def test_names_of_other_files_of_a_log_are_refused(tmp_path, name):
    with pytest.raises(AuditError, match="cannot be named"):
        AuditLog(tmp_path / name)


def test_a_folder_that_does_not_exist_is_one_line(tmp_path):
    with pytest.raises(AuditError, match="No such file or directory"):
        AuditLog(tmp_path / "none" / "door.audit")


@pytest.mark.parametrize(
    "wrong", [{"max_bytes": 65_535}, {"keep": 0}, {"flush": "never"}, {"max_bytes": 1e6}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        AuditPolicy(**wrong)
