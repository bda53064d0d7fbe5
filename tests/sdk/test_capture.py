"""Validation of captures where they are made."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk.capture import Capture, DeviceStamp, FaceBox, Modality
from fasdk.errors import CaptureError

RGB = np.zeros((24, 32, 3), np.uint8)
DEPTH = np.zeros((12, 16), np.uint16)
IR = np.zeros((24, 32), np.uint8)


def test_a_capture_says_what_it_holds():
    capture = Capture(ir=IR, rgb=RGB)
    assert capture.present == (Modality.RGB, Modality.IR)
    assert capture.frame(Modality.IR) is IR
    assert capture.size_of(Modality.RGB) == (32, 24)
    assert capture.face_in(Modality.RGB) is None
    with pytest.raises(CaptureError, match="no depth frame, only rgb, ir"):
        capture.frame(Modality.DEPTH)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ({}, "no frame"),
        ({"rgb": RGB.astype(np.float32)}, "float32"),
        ({"rgb": RGB[..., 0]}, r"uint8 \[24, 32\], expected uint8 \[H, W, 3\]"),
        ({"rgb": np.zeros((24, 32, 4), np.uint8)}, r"\[24, 32, 4\]"),
        ({"rgb": np.zeros((3, 24, 32), np.uint8)}, r"\[3, 24, 32\]"),
        ({"rgb": RGB[:0]}, r"\[0, 32, 3\]"),
        ({"rgb": RGB.tolist()}, "rgb is a list"),
        ({"rgb": "face.png"}, "rgb is a str"),
        ({"rgb": RGB.astype(bool)}, "bool"),
        ({"rgb": RGB.astype(object)}, "object"),
        ({"depth": DEPTH.astype(np.int16)}, "millimeters"),
        ({"depth": DEPTH.astype(np.float32) / 1000}, "millimeters"),
        ({"depth": DEPTH.astype(">u2")}, ">u2"),
        ({"depth": DEPTH[..., None]}, r"\[12, 16, 1\]"),
        ({"ir": RGB}, r"expected uint8 \[H, W\]"),
        ({"ir": IR.astype(np.uint16)}, "ir is uint16"),
        ({"rgb": RGB, "ir": IR[0]}, r"ir is uint8 \[32\]"),
    ],
)
def test_a_frame_of_another_kind_is_named(frames, words):
    with pytest.raises(CaptureError, match=words):
        Capture(**frames)


@pytest.mark.parametrize(
    "box",
    [
        (4, 3, 20, 15),
        [4, 3, 20, 15],
        np.array([4, 3, 20, 15], np.int64),
        (4.0, np.float32(3), np.uint8(20), 15),
        FaceBox(4, 3, 20, 15),
        iter((4, 3, 20, 15)),
    ],
)
def test_a_box_may_come_as_any_four_whole_numbers(box):
    found = Capture(rgb=RGB, face=box).face
    assert found == FaceBox(4, 3, 20, 15)
    assert all(type(v) is int for v in (found.x, found.y, found.width, found.height))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((1, 2, 3), "is not"),
        ((1, 2, 3, 4, 5), "is not"),
        (7, "is not"),
        ((), "is not"),
        ("1234", "x is '1'"),
        ((1, 2, None, 4), "width is None"),
        ((math.nan, 2, 3, 4), "x is nan"),
        ((1, math.inf, 3, 4), "y is inf"),
        ((1, 2, 3.5, 4), "width is 3.5"),
        ((1, 2, 3, True), "height is True"),
        ((1, 2, 3, np.bool_(True)), "height is"),
        ((1, 2, 3, 1 + 0j), "height is"),
        (np.ones((4, 1)), "x is array"),
        ((1, 2, 0, 4), "no area"),
        ((1, 2, 3, -4), "no area"),
        ((-1, 0, 4, 4), "leaves the 32x24 frame"),
        ((0, -1, 4, 4), "leaves"),
        ((29, 0, 4, 4), "leaves"),
        ((0, 21, 4, 4), "leaves"),
        ((10**400, 0, 1, 1), "leaves"),
    ],
)
def test_a_box_that_is_none_is_refused(box, words):
    with pytest.raises(CaptureError, match=words):
        Capture(rgb=RGB, face=box)


def test_a_box_made_by_hand_is_held_to_the_same():
    with pytest.raises(CaptureError, match="width is nan"):
        FaceBox(0, 0, math.nan, 4)
    assert FaceBox(np.int32(1), 2, 3, 4).describe() == "1,2,3,4"


def test_the_box_is_in_pixels_of_the_first_frame_and_follows_the_others_resolution():
    capture = Capture(rgb=RGB, depth=DEPTH, face=(4, 6, 20, 12))
    assert capture.face_in(Modality.RGB) == FaceBox(4, 6, 20, 12)
    assert capture.face_in(Modality.DEPTH) == FaceBox(2, 3, 10, 6)


SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(st.data(), SIZES, SIZES)
def test_a_box_inside_one_frame_is_inside_every_other(data, size, other):
    x, y = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    box = FaceBox(
        x, y, data.draw(st.integers(1, size[0] - x)), data.draw(st.integers(1, size[1] - y))
    )
    box.scaled_to(size, other).require_inside(*other)


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (DEPTH + 0.62, r"float64 \[12, 16\].* millimeters: meters\? multiply by 1000; then round"),
        (np.float32(DEPTH + 620.0), r"in millimeters: then round to uint16"),
        (np.where(DEPTH == 0, np.nan, 0.6), "meters.*NaN or infinity means no measurement"),
        (np.float16(DEPTH) + np.float16(np.inf), "millimeters: NaN or infinity .* write 0 there"),
        (
            np.zeros((0, 4), np.float32),
            r"float32 \[0, 4\], expected uint16 \[H, W\] in millimeters$",
        ),
        (DEPTH.astype(np.int32), "in millimeters$"),
    ],
)
def test_distances_in_floating_point_are_told_how_to_become_millimeters(depth, words):
    with pytest.raises(CaptureError, match=words):
        Capture(depth=depth)


def test_only_depth_is_told_of_millimeters():
    with pytest.raises(CaptureError, match=r"expected uint8 \[H, W\]$"):
        Capture(ir=IR.astype(np.float32))


def test_faces_in_other_frames_are_held_to_those_frames():
    capture = Capture(
        rgb=RGB, depth=DEPTH, face=(4, 6, 20, 12), faces={"depth": (1, 2, 3, 4)},
        other_faces=[(0, 0, 3, 3)],
    )  # fmt: skip
    assert capture.face_in(Modality.DEPTH) == FaceBox(1, 2, 3, 4)
    assert capture.other_faces == (FaceBox(0, 0, 3, 3),)
    for faces, words in (
        ({Modality.DEPTH: (14, 0, 3, 4)}, "leaves the 16x12 frame"),
        ({Modality.IR: (0, 0, 3, 4)}, "no ir frame"),
        ({Modality.DEPTH: (0, 0, 3)}, "is not"),
        ({"thermal": (0, 0, 3, 4)}, "faces names 'thermal', expected one of rgb, depth, ir"),
    ):
        with pytest.raises(CaptureError, match=words):
            Capture(rgb=RGB, depth=DEPTH, face=(4, 6, 20, 12), faces=faces)


@pytest.mark.parametrize(
    ("landmarks", "fits"),
    [
        (np.zeros((5, 2), np.float32), True),
        (np.full((5, 2), -3.5), True),
        (np.zeros((5, 2), np.int32), False),
        (np.zeros((5, 3), np.float32), False),
        (np.full((5, 2), np.nan, np.float32), False),
        ([[0.0, 0.0]] * 5, False),
    ],
)
def test_landmarks_are_five_finite_points(landmarks, fits):
    if fits:
        assert Capture(rgb=RGB, landmarks=landmarks).landmarks is landmarks
        return
    with pytest.raises(CaptureError, match=r"five finite \(x, y\) pairs"):
        Capture(rgb=RGB, landmarks=landmarks)


def test_landmarks_are_known_in_frames_whose_view_is_the_first_one_s():
    points = np.float32([(10, 8), (20, 8), (15, 12), (11, 18), (19, 18)])
    capture = Capture(rgb=RGB, depth=DEPTH, face=(4, 6, 20, 12), landmarks=points)
    (width, height), (to_width, to_height) = map(capture.size_of, (Modality.RGB, Modality.DEPTH))
    assert capture.landmarks_in(Modality.RGB) is points
    scaled = points * [to_width / width, to_height / height]
    assert capture.landmarks_in(Modality.DEPTH) == pytest.approx(scaled)
    other_view = replace(capture, faces={Modality.DEPTH: (1, 2, 3, 4)})
    assert other_view.landmarks_in(Modality.DEPTH) is None
    registered = replace(other_view, frame_landmarks={"depth": points / 3})
    assert (registered.landmarks_in(Modality.DEPTH) == points / 3).all()
    for wrong, words in (
        ({"ir": points}, "holds no ir frame"),
        ({"depth": points[:4]}, "frame_landmarks of depth must be five finite"),
        ({"left": points}, "frame_landmarks names 'left'"),
    ):
        with pytest.raises(CaptureError, match=words):
            replace(capture, frame_landmarks=wrong)


def test_times_are_numbers_and_whether_they_are_of_now_is_for_the_gates_to_say():
    times = {Modality.RGB: math.nan, Modality.DEPTH: 5, Modality.IR: np.float32(-1.0)}
    assert Capture(rgb=RGB, taken_ms=times).taken_ms == {
        **times,
        Modality.RGB: pytest.approx(math.nan, nan_ok=True),
    }
    for time_ms in ("12:00", None, True, 1j):
        with pytest.raises(
            CaptureError, match=r"rgb was taken at .*, expected milliseconds of time"
        ):
            Capture(rgb=RGB, taken_ms={Modality.RGB: time_ms})
    with pytest.raises(CaptureError, match="taken_ms names 'left'"):
        Capture(rgb=RGB, taken_ms={"left": 1.0})


def test_a_modality_is_found_under_the_word_it_equals():
    assert {Modality.IR: 1}["ir"] == {"ir": 1}[Modality.IR] == 1


def test_stamps_are_what_devices_write():
    stamp = DeviceStamp(7, 33.25)
    assert Capture(rgb=RGB, stamps={"rgb": stamp}).stamps == {Modality.RGB: stamp}
    assert Capture(rgb=RGB).stamps == {}
    for wrong, message in (
        ({"rgb": 7}, "stamps of rgb is a int, expected a fasdk.capture.DeviceStamp"),
        ({"rgb": DeviceStamp(7.5)}, "stamps of rgb has the number 7.5, expected a whole number"),
        ({"rgb": DeviceStamp(clock_ms="now")}, "expected milliseconds of"),
        ({"left": stamp}, "stamps names 'left'"),
        (None, "stamps is None, expected a fasdk.capture.DeviceStamp by modality"),
    ):
        with pytest.raises(CaptureError, match=message):
            Capture(rgb=RGB, stamps=wrong)
