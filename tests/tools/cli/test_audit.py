"""Verb audit, and the log that run --audit writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from fasdk.audit import AuditLog

from support import tiny_bundle
from support.audit_logs import LIVE, UNFLUSHED, write_key, write_log

BRIGHT, DARK = 200, 60


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("audit") / "tiny.fasb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A live face, an attack, a live face."""
    folder = tmp_path_factory.mktemp("frames")
    for number, level in enumerate((BRIGHT, DARK, BRIGHT)):
        capture = tiny_bundle.capture(level)
        rgb = np.ascontiguousarray(capture.rgb[..., ::-1])
        cv2.imwrite(str(folder / f"{number:06}.rgb.png"), rgb)
        cv2.imwrite(str(folder / f"{number:06}.depth.png"), capture.depth)
        cv2.imwrite(str(folder / f"{number:06}.ir.png"), capture.ir)
    return folder


@pytest.fixture
def run(fasdk, tiny, folder):
    """Run the door on the three captures, each judged by itself."""

    def answer(*options):
        plain = ("--backend", "onnxruntime", "--each-frame", "--no-gates")
        return fasdk("run", tiny, "--camera", f"replay:{folder}", *plain, *options)

    return answer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "door.audit"


def test_a_run_writes_what_it_prints_and_says_the_head(run, fasdk, folder, path):
    ran = run("--audit", path, "--json")
    assert ran.status == 0
    printed = [json.loads(line) for line in ran.stdout.splitlines()]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    written = [line for line in lines if line["kind"] == "decision"]
    assert len(written) == 3
    for shown, line in zip(printed, written, strict=True):
        for name in ("verdict", "score", "threshold", "operating_point", "codes", "trust"):
            assert shown[name] == line[name]
        assert (shown["bundle_id"], line["camera"]) == (line["bundle"], f"replay:{folder}")
    head = lines[-1]["hash"]
    assert f"fasdk: audit log {path}: 3 decisions, head {head}" in ran.error_lines
    verified = fasdk("audit", "verify", path, "--head", head, "--json")
    document = json.loads(verified.stdout)
    assert (verified.status, document["whole"], document["head"]) == (0, True, head)
    assert document["decisions"] == {"live": 2, "spoof": 1}
    (origin,) = document["decided_by"]
    assert origin["bundle"] == printed[0]["bundle_id"]
    assert (origin["threshold"], origin["operating_point"]) == (0.5, "standard/rgb+depth+ir")


def test_a_second_run_goes_on_and_its_options_reach_the_log(run, fasdk, path, tmp_path):
    key = write_key(tmp_path / "audit.key")
    words = ("--audit", path, "--audit-key", key, "--audit-required", "--audit-keep", "3")
    words += ("--audit-file-mb", "1", "--audit-flush", "system")
    assert [run(*words).status for _ in range(2)] == [0, 0]
    document = json.loads(fasdk("audit", "verify", path, "--key", key, "--json").stdout)
    assert (document["whole"], document["starts"], document["lines"]) == (True, 2, 11)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--audit-required",), "--audit-required is of a log that is not written"),
        (("--audit-keep", "3"), "give --audit FILE"),
        (("--audit", "FOLDER"), "no regular file"),
        (("--audit", "FOLDER/none/door.audit"), "No such file or directory"),
        (("--audit", "FOLDER/a.audit", "--audit-flush", "never"), "expected each-line or system"),
        (("--audit", "FOLDER/a.audit", "--audit-key", "FOLDER/none"), "cannot read key"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(run, tmp_path, words, said):
    ran = run(*(word.replace("FOLDER", str(tmp_path)) for word in words))
    assert ran.status == 2
    assert ran.stdout == ""
    (line,) = ran.error_lines
    assert said in line


def test_a_log_that_another_process_writes_is_refused(run, path):
    with AuditLog(path, UNFLUSHED) as audit:
        audit.record(LIVE, "lobby")
        ran = run("--audit", path)
    assert ran.status == 2
    assert "another process writes the audit log" in ran.error_lines[0]


FULL = """
import resource, signal, sys
from fasdk_tools.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import fasdk.audit.log as log
begin = log.AuditLog.__init__
def limited(self, *words, **options):
    begin(self, *words, **options)
    size = self.path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, resource.RLIM_INFINITY))
log.AuditLog.__init__ = limited
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("required", [False, True])
def test_a_log_without_room_ends_in_error_only_where_required(tiny, folder, path, required):
    words = ["run", tiny, "--camera", f"replay:{folder}", "--each-frame", "--no-gates", "--json"]
    words += ["--backend", "onnxruntime", "--audit", path, *["--audit-required"] * required]
    ran = subprocess.run(
        [sys.executable, "-c", FULL, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    found = [json.loads(line)["verdict"] for line in ran.stdout.splitlines()]
    assert found == (["live", "error", "error"] if required else ["live", "spoof", "live"])
    assert ran.stderr.count("cannot be written: File too large") == 1
    assert "1 decision, 2 could not be written" in ran.stderr


def test_a_broken_link_is_exit_1_and_names_file_and_line(fasdk, path):
    write_log(path, 3)
    path.write_bytes(path.read_bytes().replace(b"0.98", b"0.99", 1))
    ran = fasdk("audit", "verify", path)
    assert ran.status == 1
    assert f"Broken: {path}, line 3: its hash is not that" in " ".join(ran.stdout.split())
    document = json.loads(fasdk("audit", "verify", path, "--json").stdout)
    assert document["whole"] is False
    assert (document["broken"]["file"], document["broken"]["line"]) == (str(path), 3)


def test_a_head_that_is_gone_is_exit_1(fasdk, path):
    write_log(path, 3)
    ran = fasdk("audit", "verify", path, "--head", "0" * 64)
    assert ran.status == 1
    assert "no line has the noted head" in " ".join(ran.stdout.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.audit",), "no such file"),
        (("folder",), "it is a directory"),
        (("door.audit", "--head", "abc"), "expected 64 hexadecimal digits"),
        (("keyed.audit",), "give its key file"),
        (("door.audit", "--key", "none.key"), "cannot read key none.key"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_2(fasdk, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "door.audit", 1)
    write_log(tmp_path / "keyed.audit", 1, key=write_key(tmp_path / "audit.key"))
    (tmp_path / "folder").mkdir()
    ran = fasdk("audit", "verify", *words)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert said in line


def test_what_a_reader_has_to_know_is_said_in_words(fasdk, path):
    audit = AuditLog(path, UNFLUSHED)
    audit.record(LIVE, "lobby")
    audit._release()  # as the kernel does when a process is killed
    with path.open("ab") as file:
        file.write(b'{"seq":4,"ti')
    shown = " ".join(fasdk("audit", "verify", path).stdout.split())
    assert "Whole: 3 lines in 1 file" in shown
    assert "The last 12 bytes are no whole line" in shown
    assert "its process was killed" in shown
    write_log(path, 1)
    shown = " ".join(fasdk("audit", "verify", path).stdout.split())
    assert "1 process before the last ended without saying so" in shown
    assert "door.audit, line 4: a crash or a full disk left 12 bytes" in shown
    assert "none: whoever may write the files can make a chain anew" in shown
    assert "note the head elsewhere" in shown
