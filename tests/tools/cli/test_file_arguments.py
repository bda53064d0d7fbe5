"""Files that are none, or hold what they should not, at arguments of verbs: one line, exit 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from fasdk.bounded_file import is_file
from fasdk.home import home_folder
from fasdk_tools import cli

from support import tiny_bundle
from support.audit_logs import write_log

GIB = 1 << 30
FILE = "{file}"


def _sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(4 * GIB - 1)
    return path


def _through_a_file(path: Path) -> Path:
    path.write_bytes(b"a file")
    return path / "below"


def _linked(target: str) -> Callable[[Path], Path]:
    def place(path: Path) -> Path:
        path.symlink_to(target or path)
        return path

    return place


def _holding(content: bytes) -> Callable[[Path], Path]:
    def place(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return place


def _made(make: Callable[[Path], object]) -> Callable[[Path], Path]:
    def place(path: Path) -> Path:
        make(path)
        return path

    return place


NO_FILES: dict[str, Callable[[Path], Path]] = {
    "absent": lambda path: path,
    "below a file": _through_a_file,
    "folder": _made(Path.mkdir),
    "FIFO": _made(os.mkfifo),
    "device": _linked("/dev/zero"),
    "device of nothing": _linked("/dev/null"),
    "link to itself": _linked(""),
    "name too long": lambda path: path.with_name("n" * 300),
    "name that acts": lambda path: path.with_name("\x1b[2Jgone\nfasdk: LIVE"),
}
CONTENTS: dict[str, bytes] = {
    "nothing": b"",
    "line feeds": b"\n" * 50,
    "text": "Grüße\n".encode(),
    "bytes": bytes(range(256)) * 20,
    "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(40),
    "archive": b"PK\3\4" + bytes(60),
    "pickle": b"\x80\x02}q\x00.",
    "null": b"null",
    "number": b"5",
    "list": b"[]",
    "NaN": b'{"schema_version": NaN, "rgb": NaN, "label": NaN}',
    "huge number": b'{"schema_version": 1e999, "rgb": 1e999, "label": 1e999}',
    "huge integer": b'{"rgb": "a.png", "label": ' + b"9" * 5000 + b"}",
    "same key twice": b'{"rgb": "a.png", "rgb": "b.png", "label": 1, "label": 0}',
    "wrong type": b'{"schema_version": [], "rgb": {}, "label": {}}',
    "deep": b"[" * 100_000,
}
# One of each way in which a reader may fail; the slow test tries all of them.
FEW = ("FIFO", "name that acts", "bytes", "huge integer")
BAD = NO_FILES | {"4 GiB of zeros": _sparse} | {n: _holding(c) for n, c in CONTENTS.items()}

LISTED = "--protocol {list}"
RECORDED = "--camera replay:{list} --label live --subject 1 --consent form --frames 1"
TRAINED = "-o {out}.safetensors --model mmdg --config tiny"
# What {file} stands for is the argument that is tried.
READS = {
    "evaluate, bundle": f"evaluate {{file}} {LISTED}",
    "evaluate, protocol": "evaluate {bundle} --protocol {file}",
    "evaluate, development": f"evaluate {{bundle}} {LISTED} --development {{file}}",
    "evaluate, key": f"evaluate {{bundle}} {LISTED} --key {{file}}",
    "tune, bundle": f"tune {{file}} -o {{out}} {LISTED}",
    "tune, protocol": "tune {bundle} -o {out} --protocol {file}",
    "tune, key": f"tune {{bundle}} -o {{out}} {LISTED} --key {{file}}",
    "tune, sign-key": f"tune {{bundle}} -o {{out}} {LISTED} --sign-key {{file}}",
    "soak, bundle": "soak {file} --minutes 1",
    "soak, captures": "soak {bundle} --minutes 1 --captures {file}",
    "soak, key": "soak {bundle} --minutes 1 --key {file}",
    "profile, bundle": "profile {file}",
    "profile, captures": "profile {bundle} --captures {file}",
    "profile, arrivals": "profile {bundle} --load replay --arrivals {file}",
    "profile, against": "profile {bundle} --against {file}",
    "profile, baseline": "profile {bundle} --baseline {file}",
    "profile, key": "profile {bundle} --key {file}",
    "train, list": f"train {{file}} --development {{list}} {TRAINED}",
    "train, development": f"train {{list}} --development {{file}} {TRAINED}",
    "train, config": "train {list} --development {list} -o {out}.safetensors --model mmdg "
    "--config {file}",
    "train, init-from": f"train {{list}} --development {{list}} {TRAINED} --init-from {{file}}",
    "train, texts": "train {list} --development {list} -o {out}.safetensors --model mmda "
    "--config tiny --texts {file}",
    "convert-clip, archive": "convert-clip {file} -o {out}",
    "record, rig": f"record {RECORDED} -o {{out}} --rig {{file}}",
    "record, face-model": f"record {RECORDED} -o {{out}} --face-model {{file}}",
    "debug-parity, source": "debug-parity {file} --model mmdg",
    "debug-parity, against": "debug-parity {bundle} --against {file}",
    "debug-parity, source.onnx": "debug-parity {file}",
    "debug-parity, against.onnx": "debug-parity {bundle} --against {file}",
    "debug-parity, source.fasb": "debug-parity {file}",
    "debug-parity, key": "debug-parity {bundle} --key {file}",
    "plan-latency, bundle": "plan-latency {file}",
    "plan-latency, key": "plan-latency {bundle} --key {file}",
    "build-plan, bundle": "build-plan {file} --backend onnxruntime",
    "audit verify, key": "audit verify {audit} --key {file}",
    "run, audit-key": "run {bundle} --camera replay:{list} --audit {out} --audit-key {file}",
    "build-plan, key": "build-plan {bundle} --key {file}",
}
SOUND = {("profile, arrivals", "number")}  # an arrival time
BAD_OUTPUTS: dict[str, Callable[[Path], Path]] = {
    "folder": NO_FILES["folder"],
    "FIFO": NO_FILES["FIFO"],
    "device": NO_FILES["device"],
    "full device": _linked("/dev/full"),
    "link to itself": NO_FILES["link to itself"],
    "below a file": NO_FILES["below a file"],
    "further below a file": lambda path: _through_a_file(path) / path.name,
    "in a folder that is not there": lambda path: path / path.name,
    "in a folder that takes none": lambda path: Path("/proc") / path.name,
    "name too long": lambda path: path.with_name("n" * 300 + path.suffix),
}
WRITES = {
    "evaluate, report": f"evaluate {{bundle}} {LISTED} --report {{file}}",
    "tune, out": f"tune {{bundle}} {LISTED} -o {{file}}",
    "run, audit": "run {bundle} --camera replay:{list} --audit {file}",
    "profile, samples": "profile {bundle} --samples {file}",
    "profile, html": "profile {bundle} --html {file}",
    "profile, trace": "profile {bundle} --trace {file}",
    "profile, policy": "profile {bundle} --find p99<=30ms@20/s -o {file}",
    "train, out": "train {list} --development {list} --model mmdg --config tiny -o {file}",
    "synth, sheet": "synth {out} --captures 30 --contact-sheet {file}",
    "keygen, key": "keygen {file}",
    "convert-clip, out": "convert-clip {list} -o {file}",
    "build-engine, out": "build-engine {list} --model mmdg -o {file}",
}


@pytest.fixture(scope="module", autouse=True)
def _one_command():
    """Builds the command line once, which takes longer than a refusal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "app", typer.main.get_command(cli.app))
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb")


@pytest.fixture
def places(bundle, frames, tmp_path):
    """Sound files for the arguments that are not tried, by name."""
    rows = [
        {"rgb": frames.rgb.name, "depth": frames.depth.name, "ir": frames.ir.name, "label": label}
        | {"face": [80, 40, 150, 160], "subject": f"person {label}"}
        for label in ("bona fide", "attack")
    ]
    listing = frames.rgb.with_name("sound.jsonl")
    listing.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    audit = tmp_path / "sound.audit"
    write_log(audit, 1)
    return {
        "bundle": bundle,
        "list": listing,
        "audit": audit,
        "out": tmp_path / "out",
    }


def refusal(fasdk, words, places, folder):
    """Return what is wrong with how a command line was refused, or nothing."""
    before = sorted(folder.rglob("*"))
    ran = fasdk(*(word.format_map(places) for word in words.split()))
    wrong = []
    if ran.status != 2:
        wrong.append(f"exit {ran.status}")
    lines = ran.stderr.splitlines()
    if len(lines) != 1 or not lines[0].startswith("fasdk: "):
        wrong.append(f"{len(lines)} lines")
    if "unexpected" in ran.stderr or "Traceback" in ran.stderr:
        wrong.append("no FasdkError")
    if ran.stdout:
        wrong.append("printed an answer")
    if sorted(folder.rglob("*")) != before:
        wrong.append("left something behind")
    return f"{', '.join(wrong)}: {ran.stderr[:300]}" if wrong else ""


def refusals(fasdk, words, places, folder, bad, suffix=""):
    """Return what is wrong with the refusal of each bad file, by its name."""
    found = {}
    for number, (name, place) in enumerate(bad.items()):
        below = folder / str(number)
        below.mkdir()
        given = places | {"file": place(below / f"given{suffix}")}
        found[name] = refusal(fasdk, words, given, folder)
    return {name: wrong for name, wrong in found.items() if wrong}


@pytest.mark.parametrize("what", READS)
def test_a_file_that_is_none_or_of_another_kind(fasdk, places, tmp_path, what):
    few = {name: BAD[name] for name in FEW}
    assert refusals(fasdk, READS[what], places, tmp_path, few, Path(what).suffix) == {}


@pytest.mark.slow
@pytest.mark.parametrize("what", READS)
def test_every_file_that_is_none_or_of_another_kind(fasdk, places, tmp_path, what):
    bad = {name: place for name, place in BAD.items() if (what, name) not in SOUND}
    assert refusals(fasdk, READS[what], places, tmp_path, bad, Path(what).suffix) == {}


@pytest.mark.parametrize("what", WRITES)
def test_an_output_that_cannot_be_written(fasdk, places, tmp_path, what):
    suffix = ".safetensors" if what.startswith("train") else ".out"
    assert refusals(fasdk, WRITES[what], places, tmp_path, BAD_OUTPUTS, suffix) == {}


@pytest.mark.parametrize("name", ["below a file", "FIFO", "full device", "link to itself"])
@pytest.mark.parametrize(
    "words",
    [
        "synth {file} --captures 30",
        f"record {RECORDED} -o {{file}}",
        "train {list} --development {list} --model mmdg --config tiny -o {out}.safetensors "
        "--log {file}",
    ],
)
def test_a_folder_that_cannot_be_made(fasdk, places, tmp_path, name, words):
    given = places | {"file": BAD_OUTPUTS[name](tmp_path / "given")}
    assert refusal(fasdk, words, given, tmp_path) == ""


def test_files_of_attempts_that_are_damaged_are_named(fasdk):
    folder = home_folder("state", "attempts")
    for number, place in enumerate(BAD.values()):
        place(folder / f"{number}.attempts")
    ran = fasdk("attempts", "--json")
    assert ran.status == 0
    damaged = json.loads(ran.stdout)["damaged"]
    assert len(damaged) == sum(1 for _ in folder.glob("*.attempts"))


NO_PASSPHRASES = (*NO_FILES, "4 GiB of zeros", "nothing", "line feeds", "huge integer", "deep")


@pytest.mark.parametrize("name", NO_PASSPHRASES)
def test_a_passphrase_file_that_is_none(fasdk, tmp_path, monkeypatch, name):
    file = BAD[name](tmp_path / "given")
    if is_file(file):
        file.chmod(0o600)
    monkeypatch.delenv("FASDK_KEY_PASSPHRASE", raising=False)
    monkeypatch.setenv("FASDK_KEY_PASSPHRASE_FILE", str(file))
    words = "keygen {out} --encrypt"
    assert refusal(fasdk, words, {"out": tmp_path / "key.pem"}, tmp_path) == ""


def test_a_full_stdout_is_one_line_and_no_traceback():
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "fasdk_tools.cli", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("fasdk: ") and line.endswith("put: No space left on device")
