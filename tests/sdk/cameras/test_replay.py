"""Replay cameras: order, one delivery a capture, and one time stamp."""

from __future__ import annotations

import json
import time

import cv2
import numpy as np
import pytest

from fasdk.cameras import open_camera
from fasdk.cameras.replay import ReplayCamera
from fasdk.capture import FaceBox, Modality
from fasdk.errors import CameraError, EndOfStreamError, UsageError

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR


def write_frames(folder, number, modalities=tuple(Modality)):
    """Write one capture as `fasdk synth` names it; every pixel says which one it is."""
    folder.mkdir(exist_ok=True, parents=True)
    frames = {
        RGB: np.full((24, 32, 3), (30, 20, number), np.uint8),  # OpenCV writes blue first
        DEPTH: np.full((12, 16), 500 + number, np.uint16),
        IR: np.full((12, 16), number, np.uint8),
    }
    for modality in modalities:
        cv2.imwrite(str(folder / f"{number:06}.{modality.value}.png"), frames[modality])


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        write_frames(tmp_path / "frames", number)
    (tmp_path / "frames" / "notes.txt").write_text("not a frame")
    return tmp_path / "frames"


def write_list(folder, *lines):
    path = folder.parent / "captures.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return path


def line(number=0, **more):
    names = {m.value: f"frames/{number:06}.{m.value}.png" for m in Modality}
    return names | {"id": f"c{number}", "label": "attack", "species": "print flat"} | more


def test_a_folder_is_replayed_in_the_order_of_its_names(folder):
    before = time.monotonic() * 1000
    with ReplayCamera(folder) as camera:
        captures = list(camera)
    assert [capture.rgb[0, 0].tolist() for capture in captures] == [[n, 20, 30] for n in range(3)]
    assert [int(capture.depth[0, 0]) for capture in captures] == [500, 501, 502]
    assert camera.counts.delivered == 3
    for capture in captures:
        assert capture.face is None
        assert set(capture.taken_ms) == set(Modality)
        assert len(set(capture.taken_ms.values())) == 1
        assert before <= capture.taken_ms[RGB] <= time.monotonic() * 1000


def test_a_capture_may_lack_modalities(folder):
    write_frames(folder, 3, (RGB, IR))
    assert list(ReplayCamera(folder))[3].present == (RGB, IR)


def test_replay_reads_what_synth_writes(tmp_path):
    from fasdk_calibration.synthetic import write_dataset
    from fasdk_calibration.synthetic.domains import populations_of

    lists = write_dataset(tmp_path, 30, 1, populations=populations_of([], 1, size=(96, 72)))
    path = next(iter(lists.values()))
    from_list = list(open_camera(f"replay:{path}"))
    from_folder = list(open_camera(f"replay:{path.with_suffix('')}"))
    assert len(from_list) == len(from_folder) > 0
    assert all(
        np.array_equal(a.depth, b.depth) for a, b in zip(from_list, from_folder, strict=True)
    )
    assert all(capture.face is not None for capture in from_list)


def test_a_list_brings_face_boxes(folder):
    path = write_list(folder, line(0, face=[4, 5, 10, 11]), "", line(1, face_crop=True), line(2))
    faces = [capture.face for capture in ReplayCamera(path)]
    assert faces == [FaceBox(4, 5, 10, 11), FaceBox(0, 0, 32, 24), None]


def test_the_end_stays_the_end(folder):
    camera = ReplayCamera(folder)
    list(camera)
    for _ in range(2):
        with pytest.raises(EndOfStreamError, match="over after 3 captures"):
            camera.read()


def test_a_loop_begins_again(folder):
    camera = ReplayCamera(folder, loop=True)
    assert [int(camera.read().ir[0, 0]) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_fps_spaces_the_captures(folder):
    camera = ReplayCamera(folder, fps=50)
    stamps = [capture.taken_ms[RGB] for capture in camera]
    assert all(gap >= 20.0 for gap in np.diff(stamps))


def test_a_capture_that_is_not_due_in_time_is_a_fault_and_comes_later(folder):
    camera = ReplayCamera(folder, fps=10)
    camera.read()
    started = time.monotonic()
    with pytest.raises(CameraError, match="within 20 ms: at 10 frames a second"):
        camera.read(20)
    assert time.monotonic() - started >= 0.02
    assert int(camera.read(5000).ir[0, 0]) == 1


def test_a_damaged_frame_is_a_fault_and_the_next_capture_works(folder):
    damaged = folder / "000001.depth.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    camera = ReplayCamera(folder)
    camera.read()
    with pytest.raises(CameraError, match=r"000001\.depth\.png does not decode"):
        camera.read()
    assert int(camera.read().ir[0, 0]) == 2
    assert camera.counts.dropped == 1


def test_depth_in_eight_bits_is_no_depth_in_millimeters(folder):
    cv2.imwrite(str(folder / "000000.depth.png"), np.full((12, 16), 9, np.uint8))
    with pytest.raises(CameraError, match="expected 16-bit, one channel, in millimeters"):
        ReplayCamera(folder).read()


def test_a_closed_replay_says_so(folder):
    camera = ReplayCamera(folder)
    camera.close()
    with pytest.raises(CameraError, match="is closed"):
        camera.read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"captures.jsonl:2: is no JSON object"),
        ({"id": "x"}, r"captures.jsonl:2: names no frame"),
        ({"rgb": "../x.png"}, r"captures.jsonl:2: rgb: .*must lie below the list's folder"),
        ({"rgb": "/x.png"}, r"must lie below the list's folder"),
        ({"rgb": "..\\x.png"}, r"must lie below the list's folder"),
        ({"rgb": "C:x.png"}, r"must lie below the list's folder"),
        ({"rgb": "x\0.png"}, r"captures.jsonl:2: rgb: .*zero byte"),
        (line(1, depth_unit="level"), r"depth_unit: .*only millimeters can be replayed"),
        (line(1, face=[1, 2, 3]), r"captures.jsonl:2: face"),
    ],
)
def test_a_malformed_line_is_named(folder, text, message):
    with pytest.raises(UsageError, match=message):
        ReplayCamera(write_list(folder, line(0), text))


def test_a_list_of_others_is_replayed_as_the_check_reads_it(folder, caplog):
    rows = [f"frames/{n:06}.rgb.png;frames/{n:06}.ir.png;{n};2;{n + 20};20" for n in range(3)]
    path = folder.parent / "l.csv"
    path.write_text("\n".join(["color;nir;x1;y1;x2;y2", *rows]))
    captures = list(ReplayCamera(path))
    assert [capture.face for capture in captures] == [FaceBox(n, 2, 20, 18) for n in range(3)]
    assert [capture.present for capture in captures] == [(RGB, IR)] * 3
    assert "face boxes are corners" in caplog.text


def test_a_box_is_clipped_or_refused_by_its_line_as_the_check_does(folder, caplog):
    path = write_list(
        folder,
        line(0, face=[-2, 2, 20, 18]),
        line(1, face=[30, 2, 20, 18]),
        line(2, face=[-2, 2, 20, 18]),
        *[line(0, face=[4, 2, 20, 18], id=f"more{n}") for n in range(9)],
    )
    camera = ReplayCamera(path)
    assert camera.read().face == FaceBox(0, 2, 18, 18)
    with pytest.raises(CameraError, match=r"line 2: face box 30,2,20,18 leaves the 32x24 frame"):
        camera.read()
    assert camera.read().face == FaceBox(0, 2, 18, 18)
    assert caplog.text.count("are clipped to them") == 1


def test_units_of_a_list_hold_for_its_replay(folder):
    path = write_list(folder, "# fasdk: depth_scale_mm=0.25", line(0), line(1, depth_scale_mm=2))
    depths = [int(capture.depth[0, 0]) for capture in ReplayCamera(path)]
    assert depths == [125, 1002]


def test_a_list_that_is_no_text_is_named(folder):
    path = write_list(folder, line(0))
    path.write_bytes(b"\xff" + path.read_bytes())
    with pytest.raises(UsageError, match=r"captures\.jsonl:1: is not UTF-8 text"):
        ReplayCamera(path)


def test_a_line_may_hold_any_character(folder):
    first = json.dumps(line(0, note="one\u2028line"), ensure_ascii=False)
    camera = ReplayCamera(write_list(folder, first, line(1)))
    assert [int(capture.ir[0, 0]) for capture in camera] == [0, 1]


def test_sources_that_cannot_be_replayed(tmp_path, folder):
    write_list(folder, line(0))
    with pytest.raises(
        UsageError, match=r"holds no frames: give one of its lists .*captures\.jsonl"
    ):
        ReplayCamera(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"expected files such as 000000\.rgb\.png"):
        ReplayCamera(tmp_path / "empty")
    for name in ("nowhere", "nowhere.jsonl"):
        with pytest.raises(UsageError, match="cannot be replayed: expected a folder"):
            ReplayCamera(tmp_path / name)
    with pytest.raises(UsageError, match="is empty"):
        ReplayCamera(write_list(folder, ""))
