"""Captures as clients send them: every form, and what is refused before anything is decoded."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import CaptureError
from fasdk_tools.serving.capture_body import CaptureBody, CaptureReader
from fasdk_tools.serving.limits import ServeLimits

ARRIVED_MS = 5_000.0
COLOR = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
DEPTH = np.arange(500, 506, dtype=np.uint16).reshape(2, 3)
GRAY = np.arange(6, dtype=np.uint8).reshape(2, 3)
SIZE = {"width": 3, "height": 2}


def read(header, *frames, same_clock=True, parts=None, pixels=2**23):
    reader = CaptureReader(ServeLimits(pixels=pixels), same_clock)
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    if parts is None:
        data = len(text).to_bytes(4, "little") + text + b"".join(bytes(each) for each in frames)
        body = CaptureBody.of_binary(data, ARRIVED_MS)
    else:
        body = CaptureBody(text, parts, memoryview(b""), ARRIVED_MS)
    return reader.capture(body, reader.header(body))


def raw(form):
    return {"format": form, **SIZE}


def test_raw_frames_follow_in_order_at_any_alignment():
    for padding in range(8):
        header = {"frames": {"rgb": raw("rgb8"), "depth": raw("depth16-mm"), "ir": raw("gray8")}}
        text = json.dumps(header).encode() + b" " * padding
        capture = read(text, COLOR.tobytes(), DEPTH.tobytes(), GRAY.tobytes())
        assert np.array_equal(capture.rgb, COLOR)
        assert np.array_equal(capture.depth, DEPTH) and capture.depth.flags.aligned
        assert np.array_equal(capture.ir, GRAY)


@pytest.mark.parametrize("form", ["bgr8", "bgra8"])
def test_color_with_blue_first_is_turned(form):
    pixels = COLOR[..., ::-1]
    if form == "bgra8":
        pixels = np.concatenate([pixels, np.full((2, 3, 1), 255, np.uint8)], axis=2)
    capture = read({"frames": {"rgb": raw(form)}}, pixels.tobytes())
    assert np.array_equal(capture.rgb, COLOR) and capture.rgb.flags.c_contiguous


def test_encoded_frames_have_their_length_or_a_part_of_their_own():
    color = cv2.imencode(".png", COLOR[..., ::-1])[1].tobytes()
    depth = cv2.imencode(".png", DEPTH)[1].tobytes()
    frames = {
        "rgb": {"format": "png", "bytes": len(color)},
        "depth": {"format": "png", "bytes": len(depth)},
    }
    followed = read({"frames": frames}, color, depth)
    parted = read({}, parts={Modality.RGB: color, Modality.DEPTH: depth})
    for capture in (followed, parted):
        assert np.array_equal(capture.rgb, COLOR)
        assert np.array_equal(capture.depth, DEPTH)


def test_the_header_gives_boxes_landmarks_and_times():
    header = {
        "frames": {"rgb": raw("rgb8"), "ir": raw("gray8")},
        "face": [0, 0, 2, 2],
        "faces": {"ir": [1, 0, 2, 2]},
        "other_faces": [[0, 0, 1, 1]],
        "landmarks": [[0.5, 0.5]] * 5,
        "taken_ms": {"rgb": 4_990.0},
        "age_ms": {"ir": 20.0},
    }
    capture = read(header, COLOR.tobytes(), GRAY.tobytes())
    assert capture.face.describe() == "0,0,2,2"
    assert capture.face_in("ir").describe() == "1,0,2,2"
    assert len(capture.other_faces) == 1
    assert capture.landmarks.shape == (5, 2)
    assert capture.taken_ms == {Modality.RGB: 4_990.0, Modality.IR: 4_980.0}


RGB = {"frames": {"rgb": raw("rgb8")}}


@pytest.mark.parametrize(
    ("header", "frames", "message"),
    [
        (b"[]", b"", "header"),
        (b"{", b"", "header"),
        (b'{"frames": {"rgb": NaN}}', b"", "header"),
        ({"frame": {}}, b"", "frame: Extra inputs"),
        ({}, b"", "no frame"),
        (RGB, COLOR.tobytes()[:-1], "17 bytes left of the capture, expected 18"),
        (RGB, COLOR.tobytes() + b"!", "1 bytes follow the last frame"),
        ({"frames": {"rgb": raw("gray8")}}, GRAY.tobytes(), "expected rgb8, bgr8, bgra8"),
        ({"frames": {"ir": raw("depth16-mm")}}, DEPTH.tobytes(), "expected gray8"),
        ({"frames": {"rgb": {"format": "rgb8"}}}, b"", "without width and height"),
        ({"frames": {"rgb": {"format": "png"}}}, b"", "without `bytes`"),
        ({"frames": {"rgb": {"format": "png", "bytes": 4}}}, b"GIF8", "begins as no png"),
        ({"frames": {"rgb": {"format": "jpeg", "bytes": 4}}}, b"\xff\xd8\xff\0", "no size"),
        ({"frames": {"rgb": {"format": "rgb8", "width": 9999, "height": 9999}}}, b"", "at most"),
        ({"frames": {"rgb": {"format": "rgb8", "width": 2.5, "height": 1}}}, b"", "rgb.width"),
        ({"frames": {"rgb": {"format": "tiff", "bytes": 4}}}, b"II*\0", "rgb.format"),
        ({**RGB, "face": [0, 0, 9, 9]}, COLOR.tobytes(), "leaves the 3x2 frame"),
        ({**RGB, "face": [0, 0, True, 1]}, COLOR.tobytes(), "face.2"),
        ({**RGB, "landmarks": [[1, 1]]}, COLOR.tobytes(), "landmarks"),
        ({**RGB, "age_ms": {"rgb": -1}}, COLOR.tobytes(), "below 0"),
        (
            {**RGB, "age_ms": {"rgb": 1}, "taken_ms": {"rgb": 1}},
            COLOR.tobytes(),
            "in taken_ms and in age_ms",
        ),
    ],
)
def test_what_is_no_capture_names_the_field(header, frames, message):
    with pytest.raises(CaptureError, match=message) as caught:
        read(header, frames)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"\1\0\0", b"\0\0\0\0{}", b"\xff\xff\xff\xff{}", b"\3\0\0\0{}"]
)
def test_a_length_that_is_none_is_refused(data):
    with pytest.raises(CaptureError, match="begins with the length"):
        CaptureBody.of_binary(data, ARRIVED_MS)


def test_a_picture_larger_than_a_frame_is_refused_by_its_header():
    data = cv2.imencode(".png", np.zeros((100, 100), np.uint8))[1].tobytes()
    with pytest.raises(CaptureError, match="100x100, expected at most 9999 pixels"):
        read({}, parts={Modality.IR: data}, pixels=9_999)


def test_the_clock_of_another_machine_is_refused():
    header = {**RGB, "taken_ms": {"rgb": 4_990.0}}
    with pytest.raises(CaptureError, match="give age_ms"):
        read(header, COLOR.tobytes(), same_clock=False)


def test_a_part_that_is_neither_described_nor_a_picture_is_refused():
    with pytest.raises(CaptureError, match="neither a png nor a jpeg"):
        read({}, parts={Modality.RGB: COLOR.tobytes()})
