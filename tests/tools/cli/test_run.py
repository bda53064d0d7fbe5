"""Verb run: one answer a capture, through camera faults, none of them LIVE."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from fasdk.errors import CameraError

from support import tiny_bundle
from support.scripted_camera import ScriptedCamera
from support.video_servers import Picture, serving

BRIGHT, DARK = 200, 60
# Each capture by itself, and whatever it looks like.
PLAIN = ("run", "--backend", "onnxruntime", "--each-frame", "--no-gates")


def write_capture(folder, number, level):
    capture = tiny_bundle.capture(level)
    cv2.imwrite(str(folder / f"{number:06}.rgb.png"), np.ascontiguousarray(capture.rgb[..., ::-1]))
    cv2.imwrite(str(folder / f"{number:06}.depth.png"), capture.depth)
    cv2.imwrite(str(folder / f"{number:06}.ir.png"), capture.ir)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("run") / "tiny.fasb")


@pytest.fixture
def folder(tmp_path):
    """A live face, an attack, a live face."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, level in enumerate((BRIGHT, DARK, BRIGHT)):
        write_capture(frames, number, level)
    return frames


@pytest.fixture
def run(fasdk, tiny):
    """Run the verb on the tiny bundle and return what it printed, with its JSON lines."""

    def answer(camera, *options):
        ran = fasdk(*PLAIN, tiny, "--camera", camera, *options)
        lines = ran.stdout.splitlines()
        return ran, [json.loads(line) for line in lines] if "--json" in options else lines

    return answer


def test_a_line_a_decision(run, folder):
    ran, lines = run(f"replay:{folder}")
    assert ran.status == 0
    assert [line.split()[1] for line in lines] == ["LIVE", "SPOOF", "LIVE"]
    assert "threshold 0.5000" in lines[0]
    assert ran.error_lines == ["fasdk: 2 live, 1 spoof; 0 captures dropped by the camera"]


def test_bad_lines_are_errors_at_once_and_count_as_captures(run, folder):
    listed = folder.parent / "list.jsonl"
    good = {m: f"frames/000000.{m}.png" for m in ("rgb", "depth", "ir")}
    bad = [good | {"depth": "frames/000000.ir.png"}, good | {"rgb": "frames/none.png"}]
    listed.write_text("\n".join(json.dumps(each) for each in [*bad * 10, good]))
    started = time.monotonic()
    ran, lines = run(f"replay:{listed}", "--json")
    assert time.monotonic() - started < 5.0  # a back-off alone would take 95 s
    assert ran.status == 0
    assert [line["verdict"] for line in lines] == ["error"] * 20 + ["live"]
    assert [line["capture"] for line in lines] == list(range(1, 22))
    assert {code for line in lines for code in line["codes"]} == {"bad-capture"}
    assert "line 2: cannot read rgb frame" in lines[1]["reasons"][0]
    stopped, lines = run(f"replay:{listed}?loop=1", "--json", "--max-captures", "7")
    assert stopped.status == 0 and len(lines) == 7


def test_json_lines_hold_the_whole_decision(run, folder):
    before = time.time()
    ran, lines = run(f"replay:{folder}", "--json")
    assert ran.status == 0
    assert [line["verdict"] for line in lines] == ["live", "spoof", "live"]
    assert [line["capture"] for line in lines] == [1, 2, 3]
    first = lines[0]
    assert first["score"] > first["threshold"] == 0.5
    assert first["operating_point"] == "standard/rgb+depth+ir"
    assert first["modalities"] == ["rgb", "depth", "ir"]
    assert first["codes"] == first["reasons"] == []
    assert before <= first["unix_s"] <= time.time()
    assert first["latency_ms"] >= first["timings_ms"]["end_to_end"] > 0


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Sharp captures at half a meter: four of a live face, nobody, then six of an attack."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(3)
    for number, level in enumerate([120] * 4 + [0] + [40] * 6):
        depth = np.full((240, 320), 1400, np.uint16)
        depth[50:200, 100:220] = 500 + rng.integers(0, 5, (150, 120))
        relief = 30 * np.outer(np.hanning(150), np.hanning(120))
        depth[50:200, 100:220] -= relief.astype(np.uint16)
        light = rng.integers(level // 2, 2 * level + 1, (240, 320, 4), np.uint8)
        light = np.where((depth < 1000)[..., None], 1.15, 0.95) * light  # an outline in each sensor
        light = light.clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:06}.rgb.png"), light[..., :3])
        cv2.imwrite(str(folder / f"{number:06}.depth.png"), depth)
        cv2.imwrite(str(folder / f"{number:06}.ir.png"), light[..., 3])
    return folder


def test_a_door_judges_several_frames_and_makes_an_attack_wait(fasdk, tiny, people):
    camera = f"replay:{people}?fps=10"
    words = ("--backend", "onnxruntime", "--camera", camera, "--json")
    ran = fasdk("run", tiny, *words, "--face", "110,60,100,130")
    assert ran.status == 0
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    found = [line["verdict"] for line in lines]
    # Three live frames in a row make LIVE; the fourth begins anew; the fifth shows nothing.
    assert found[:5] == ["retry", "retry", "live", "retry", "retry"]
    assert lines[0]["codes"] == lines[1]["codes"] == ["undecided"]
    assert [line["frames"] for line in lines[:3]] == [1, 2, 3]
    assert lines[2]["frame_verdict"] == "live"
    assert "no-image" in lines[4]["codes"]
    # The attack is one attempt, and its further frames wait.
    assert found[5:] == ["spoof", *["retry"] * 5]
    assert {code for line in lines[6:] for code in line["codes"]} == {"wait"}
    assert all(0.0 < line["wait_ms"] <= 1000.0 for line in lines[5:])
    assert {line["camera_id"] for line in lines} == {f"replay:{people}"}


def test_gates_ask_for_a_face(fasdk, tiny, people):
    ran = fasdk("run", tiny, "--backend", "onnxruntime", "--camera", f"replay:{people}", "--json")
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {line["verdict"] for line in lines} == {"retry"}
    assert "no-face" in lines[0]["codes"]


def test_a_face_model_finds_who_is_there(fasdk, tiny, reference, tmp_path):
    photograph = cv2.imread(str(reference / "silent-face" / "image_T1.jpg"))
    cv2.imwrite(str(tmp_path / "0.rgb.png"), photograph)
    cv2.imwrite(str(tmp_path / "1.rgb.png"), np.full_like(photograph, 120))
    model = reference / "yunet" / "face_detection_yunet_2026may.onnx"
    words = ("--camera", f"replay:{tmp_path}", "--face-model", model, "--each-frame", "--json")
    ran = fasdk("run", tiny, "--backend", "onnxruntime", *words)
    somebody, nobody = (json.loads(line) for line in ran.stdout.splitlines())
    assert "no-face" not in somebody["codes"]
    assert "no-face" in nobody["codes"]
    assert nobody["verdict"] == "retry"


def test_max_captures_ends_an_endless_stream(run, folder):
    ran, lines = run(f"replay:{folder}?loop=1", "--json", "--max-captures", 7)
    assert ran.status == 0
    assert len(lines) == 7


def test_a_damaged_file_of_a_replay_is_an_error_line_and_the_run_goes_on(run, folder):
    damaged = folder / "000001.ir.png"
    damaged.write_bytes(damaged.read_bytes()[:30])
    ran, lines = run(f"replay:{folder}", "--json")
    assert ran.status == 0
    assert [line["verdict"] for line in lines] == ["live", "error", "live"]
    assert lines[1]["codes"] == ["bad-capture"]
    assert "000001.ir.png" in lines[1]["reasons"][0]
    assert lines[1]["score"] is lines[1]["latency_ms"] is None
    assert [line["capture"] for line in lines] == [1, 2, 3]


@pytest.fixture
def unplugged(monkeypatch):
    """Make any camera one that is gone for two reads."""
    gone = [CameraError("unplugged"), CameraError("unplugged")]
    monkeypatch.setattr("fasdk.cameras.open_camera", lambda _: ScriptedCamera(*gone))


@pytest.mark.usefixtures("unplugged")
def test_a_fault_of_the_camera_is_an_error_line_and_no_capture(run):
    ran, lines = run("opencv:0", "--json")
    assert ran.status == 0
    assert [line["codes"] for line in lines] == [["camera"], ["camera"]]
    assert lines[0]["capture"] is lines[0]["score"] is lines[0]["latency_ms"] is None


@pytest.mark.usefixtures("unplugged")
def test_a_fault_is_printed_with_its_reason_on_a_line_of_its_own(run):
    _, text = run("opencv:0")
    assert "ERROR" in text[0]
    assert text[1].lstrip().startswith("camera: unplugged")


def test_a_face_outside_the_frame_is_an_error_not_a_verdict(run, folder):
    _, lines = run(f"replay:{folder}", "--json", "--face", "30,20,10,10")
    assert {line["verdict"] for line in lines} == {"error"}
    assert lines[0]["codes"] == ["bad-capture"]
    assert "leaves the 32x24 frame" in lines[0]["reasons"][0]
    _, lines = run(f"replay:{folder}", "--json", "--face", "3,2,10,10")
    assert [line["verdict"] for line in lines] == ["live", "spoof", "live"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--camera", "webcam"], "is of no known kind: choose among replay:DIR"),
        (["--camera", "replay:/nowhere"], "/nowhere cannot be replayed"),
        (["--camera", "replay:{folder}", "--face", "1,2,3"], "is not (x, y, width, height)"),
        (["--camera", "replay:{folder}", "--face", "a,b,c,d"], "is not x,y,w,h"),
        (
            ["--camera", "replay:{folder}", "--face", "1,2,3,4", "--face-model", "x.onnx"],
            "--face and --face-model both give the face",
        ),
        (["--camera", "replay:{folder}", "--face-model", "/nowhere.onnx"], "/nowhere.onnx"),
        (["--camera", "replay:{folder}", "--rig", "/nowhere.json"], "/nowhere.json"),
        (["--camera", "replay:{folder}", "--level", "vault"], "no security level 'vault'"),
        (["--camera", "replay:{folder}", "--max-captures", "0"], "max-captures"),
        (["--camera", "replay:{folder}", "--timeout-ms", "inf"], "--timeout-ms is inf"),
        (["--camera", "replay:{folder}", "--key", "/nowhere.pub"], "/nowhere.pub"),
        ([], "camera"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(fasdk, tiny, folder, options, message):
    words = [option.format(folder=folder) for option in options]
    ran = fasdk(*PLAIN, tiny, *words)
    assert ran.status == 2
    assert ran.stdout == ""
    assert len(ran.error_lines) == 1
    assert message in ran.error_lines[0]
    as_json = fasdk(*PLAIN, tiny, "--json", *words)
    (line,) = as_json.stdout.splitlines()
    assert message in json.loads(line)["error"]


def test_a_video_that_cannot_be_decoded_ends_in_one_line(fasdk, tiny, tmp_path):
    (tmp_path / "notes.avi").write_bytes(b"no video" * 100)
    ran = fasdk(*PLAIN, tiny, "--camera", f"opencv:{tmp_path}/notes.avi")
    assert (ran.status, ran.stdout) == (2, "")
    (line,) = ran.error_lines
    assert "notes.avi cannot be decoded" in line or "notes.avi holds no frame" in line


def test_a_bundle_that_is_not_there(fasdk, folder):
    ran = fasdk("run", "/nowhere.fasb", "--camera", f"replay:{folder}")
    assert ran.status == 2
    assert "/nowhere.fasb" in ran.error_lines[0]


def test_systemd_hears_of_decisions_and_of_the_end(run, folder, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1")
        run(f"replay:{folder}")
        messages = []
        with pytest.raises(BlockingIOError):
            while True:
                messages.append(systemd.recv(100).decode())
    assert messages[0].startswith("READY=1")
    assert messages[1:] == ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.usefixtures("unplugged")
def test_systemd_hears_that_the_camera_is_gone_and_the_loop_alive(run, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        run("opencv:0")
        assert systemd.recv(100) == b"READY=1\nSTATUS=out of order: camera"


@contextmanager
def started(tiny, camera, *options):
    """Run the verb as a process of its own, which ends with the block whatever happens in it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fasdk_tools.cli", *PLAIN, tiny, "--camera", camera, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_an_answer_to_a_capture(text):
    """Return whether a line is a decision of a sound run: on a busy machine frames grow old."""
    decision = json.loads(text)
    return decision["verdict"] in {"live", "spoof"} or decision["codes"] == ["stale"]


@pytest.fixture
def heeds_interrupts():
    """Let children receive SIGINT, which tests run in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_stop_is_a_normal_end(heeds_interrupts, tiny, folder, stop):
    with started(tiny, f"replay:{folder}?loop=1&fps=50", "--json") as process:
        first = process.stdout.readline()
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert all(is_an_answer_to_a_capture(line) for line in [first, *out.splitlines()])
    assert "decision" not in err  # which a run without a single one says
    assert err.startswith("fasdk: ")
    assert len(err.splitlines()) == 1


def test_a_reader_that_goes_away_is_a_normal_end(tiny, folder):
    with started(tiny, f"replay:{folder}?loop=1") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_pair_with_a_flashing_emitter_is_never_a_spoof(fasdk, tmp_path):
    """Color at 15 frames a second, infrared at 30, dark in every other frame."""
    points = (
        tiny_bundle.point(),
        tiny_bundle.point(modalities=(tiny_bundle.Modality.RGB, tiny_bundle.Modality.IR)),
    )
    door = tiny_bundle.write(tmp_path / "door.fasb", operating_points=points)

    def video(name, levels, fps):
        writer = cv2.VideoWriter(
            str(tmp_path / name), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48)
        )
        for level in levels:
            writer.write(np.full((48, 64, 3), level, np.uint8))
        writer.release()
        return tmp_path / name

    color = video("color.avi", [150] * 12, 15)
    infrared = video("ir.avi", [200, 2] * 12, 30)
    for member, verdicts in (
        (f"opencv:{infrared}", {"live", "retry"}),
        (f"'opencv:{infrared}?emitter=flashing'", {"live"}),
    ):
        spec = f"pair:rgb=opencv:{color};ir={member}?skew_ms=50"
        ran = fasdk(*PLAIN, door, "--camera", spec, "--json", "--missing-modalities", "degrade")
        assert ran.status == 0
        found = [json.loads(line)["verdict"] for line in ran.stdout.splitlines()]
        assert len(found) >= 6
        assert {*found} == verdicts
        assert "has no rig: the face is looked for at the same place" in ran.error_lines[0]


def test_a_password_is_in_no_line(tiny):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    camera = f"opencv:rtsp://joe:hush@127.0.0.1:{port}/x?allow=network"
    with started(tiny, camera, "--json") as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert f"127.0.0.1 does not answer at port {port}" in first
    assert "hush" not in first + out + err


def test_a_track_is_named_without_a_password(fasdk, tiny):
    picture = Picture("joe:hush")
    with serving("http", picture) as where:
        camera = f"opencv:http://joe:hush@{where}/x?allow=network"
        words = ("--backend", "onnxruntime", "--max-captures", "1", "--face", "4,3,40,30")
        ran = fasdk("run", tiny, "--camera", camera, *words, "--json")
    last = json.loads(ran.stdout.splitlines()[-1])
    assert last["capture"] == 1
    assert last["camera_id"] == f"http://{where}/x"
    assert "hush" not in ran.stdout + ran.stderr


def test_a_batching_policy_comes_from_a_file(run, folder, tmp_path):
    file = tmp_path / "policy.json"
    file.write_text('{"schema_version": 1, "batching": {"lanes": 1, "max_batch": 1}, "threads": 1}')
    ran, lines = run(f"replay:{folder}", "--batching", file, "--json")
    assert (ran.status, len(lines)) == (0, 3)
    file.write_text('{"batching": {"lanes": 0}}')
    ran, _ = run(f"replay:{folder}", "--batching", file)
    assert ran.status == 2
    assert ran.error_lines == [
        f"fasdk: {file}: batching lanes is 0, expected a whole number of at least 1"
    ]
