"""Data sets of labeled captures: opening and reading."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.capture import Capture, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk_calibration.datasets import (
    CaptureRecord,
    Label,
    LabeledCapture,
    load_capture,
    load_list,
    read_frame,
    read_list,
    write_captures,
)

LINE = {
    "id": "a",
    "rgb": "a.png",
    "label": "attack",
    "species": "print",
    "subject": "s1",
    "domain": "lab",
    "presentation": "p1",
}


def labeled(name: str, *, rgb_only: bool = False) -> LabeledCapture:
    rng = np.random.default_rng(len(name))
    rgb = rng.integers(0, 256, (12, 16, 3), np.uint8)
    depth = rng.integers(0, 65536, (12, 16), np.uint16)
    ir = rng.integers(0, 256, (6, 8), np.uint8)
    capture = (
        Capture(rgb=rgb) if rgb_only else Capture(rgb=rgb, depth=depth, ir=ir, face=(1, 2, 3, 4))
    )
    return LabeledCapture(capture, name, Label.ATTACK, "print", "s1", "lab", "p1")


def write_png(path: Path, frame: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), frame)
    return path


def test_captures_come_back_exactly_as_written(tmp_path):
    written = [labeled("one"), labeled("three", rgb_only=True)]
    read = load_list(write_captures(written, tmp_path, "all"))
    assert [r.id for r in read] == ["one", "three"]
    for before, after in zip(written, read, strict=True):
        assert after.capture.present == before.capture.present
        assert after.capture.face == before.capture.face
        for m in before.capture.present:
            assert np.array_equal(before.capture.frame(m), after.capture.frame(m))
            assert before.capture.frame(m).dtype == after.capture.frame(m).dtype


def test_a_failed_write_leaves_the_old_list_and_nothing_else(tmp_path):
    write_captures([labeled("old")], tmp_path, "all")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def breaks():
        yield labeled("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_captures(breaks(), tmp_path, "all")
    with pytest.raises(DatasetError, match="no captures"):
        write_captures([], tmp_path, "all")
    with pytest.raises(DatasetError, match="appears twice"):
        write_captures([labeled("x"), labeled("x")], tmp_path, "all")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [r.id for r in load_list(write_captures([labeled("new")], tmp_path, "all"))] == ["new"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all", "all.jsonl"]


def test_a_folder_that_is_no_capture_list_is_never_replaced(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is no capture list"):
        write_captures([labeled("a")], tmp_path, "all")
    assert (tmp_path / "all" / "thesis.txt").read_text() == "mine"
    with pytest.raises(DatasetError, match="not a plain file name"):
        write_captures([labeled("a")], tmp_path, "../all")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rgb": None}, "names no frame"),
        ({"rgb": "../a.png"}, "rgb: .*below the list's folder"),
        ({"rgb": "/a.png"}, "rgb: .*below the list's folder"),
        ({"label": "cat"}, "label: "),
        ({"species": "bona fide"}, "contradict"),
        ({"label": "bona fide"}, "contradict"),
        ({"face": [1, 2, 3]}, "face"),
        ({"subject": ""}, "subject: "),
    ],
)
def test_a_malformed_line_is_named_by_file_line_and_field(tmp_path, change, message):
    path = tmp_path / "l.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps(LINE | {"id": "b"} | change) + "\n")
    with pytest.raises(DatasetError, match=f"l.jsonl:2: .*{message}"):
        read_list(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfe", "is empty"),
        (b"\xff", "not UTF-8"),
        (b"{]", "l.jsonl:1: "),
        (2 * (json.dumps(LINE).encode() + b"\n"), "l.jsonl:2: id 'a' appears twice"),
    ],
)
def test_capture_list_refuses_empty_and_malformed_files(tmp_path, content, message):
    path = tmp_path / "l.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_list(path)
    with pytest.raises(DatasetError, match=r"cannot read list .*: No such file"):
        read_list(tmp_path / "absent.jsonl")


def test_a_record_whose_frames_do_not_fit_is_named(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    outside = CaptureRecord.model_validate(LINE | {"face": (0, 0, 8, 4)})
    with pytest.raises(DatasetError, match=r"capture a: face box 0,0,8,4 leaves the 4x4 frame"):
        load_capture(outside, tmp_path)
    with pytest.raises(DatasetError, match=r"capture a: cannot read depth frame .*gone.png"):
        load_capture(CaptureRecord.model_validate(LINE | {"depth": "gone.png"}), tmp_path)


def test_color_is_red_first_and_gray_infrared_may_have_three_planes(tmp_path):
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[..., 0] = 200  # OpenCV writes blue first
    assert read_frame(write_png(tmp_path / "b.png", blue), Modality.RGB)[0, 0].tolist() == [
        0,
        0,
        200,
    ]
    gray = np.full((4, 4), 90, np.uint8)
    for planes in (gray, np.dstack([gray] * 3)):
        assert np.array_equal(read_frame(write_png(tmp_path / "i.png", planes), Modality.IR), gray)


@pytest.mark.parametrize(
    ("modality", "frame", "found"),
    [
        (Modality.RGB, np.zeros((4, 4), np.uint16), "16-bit with 1 channel,"),
        (
            Modality.RGB,
            np.full((4, 4, 3), 1023, np.uint16),
            "16-bit with 3 channels, largest value 1023,",
        ),
        (Modality.DEPTH, np.zeros((4, 4), np.uint8), "8-bit with 1 channel,"),
        (
            Modality.DEPTH,
            np.eye(3, dtype=np.uint16)[None],
            "16-bit with 3 channels, planes not equal, 1 levels apart,",
        ),
        (
            Modality.IR,
            np.full((4, 4), 1000, np.uint16),
            "16-bit with 1 channel, largest value 1000,",
        ),
        (
            Modality.IR,
            np.eye(3, dtype=np.uint8)[None],
            "8-bit with 3 channels, planes not equal, 1 levels apart,",
        ),
    ],
)
def test_a_frame_of_another_kind_says_what_it_is_and_what_is_expected(
    tmp_path, modality, frame, found
):
    path = write_png(tmp_path / "f.png", frame)
    with pytest.raises(CaptureError, match=rf"f\.png is {found} expected .*bit"):
        read_frame(path, modality)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.99])
def test_a_truncated_image_is_never_half_read(tmp_path, suffix, keep):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = write_png(tmp_path / f"f{suffix}", image)
    assert read_frame(path, Modality.RGB).shape == (64, 64, 3)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(CaptureError, match="does not decode as an image"):
        read_frame(path, Modality.RGB)


def test_read_frame_refuses_text_absent_files_and_folders(tmp_path):
    (tmp_path / "f.png").write_text("hello")
    with pytest.raises(CaptureError, match=r"f\.png does not decode"):
        read_frame(tmp_path / "f.png", Modality.RGB)
    with pytest.raises(CaptureError, match=r"cannot read ir frame .*No such file"):
        read_frame(tmp_path / "g.png", Modality.IR)
    with pytest.raises(CaptureError, match=r"cannot read rgb frame .*directory"):
        read_frame(tmp_path, Modality.RGB)


def test_exif_orientation_turns_a_photograph(tmp_path):
    upright = np.zeros((8, 16, 3), np.uint8)
    encoded = cv2.imencode(".jpg", upright)[1].tobytes()
    # One big-endian IFD entry: orientation (0x0112), short, one value, 6 = turn right.
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"Exif\0\0" + tiff
    marker = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    path = tmp_path / "f.jpg"
    path.write_bytes(encoded[:2] + marker + encoded[2:])
    assert read_frame(path, Modality.RGB).shape == (16, 8, 3)
