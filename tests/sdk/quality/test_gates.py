"""Quality gates: each finds its own fault alone, and good captures pass."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.quality import QualityLimits, assess
from fasdk.quality.exposure import middle_of
from fasdk.quality.pose import FACE_MODEL_MM
from fasdk.reasons import Reason
from fasdk_calibration.synthetic import Species, Split, generate

NOW_MS = 10_000.0
FACE = FaceBox(70, 40, 100, 140)
# An average head facing the camera, its nose in the middle of the box.
LANDMARKS = (FACE_MODEL_MM[:, :2] + (120.0, 110.0)).astype(np.float32)
MIDDLE = np.s_[60:160, 84:156]  # all of the box's middle, and no pixel of the frame's edge


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Return the landmarks of the average head turned by so many degrees, seen from far away."""
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    about_y = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    points = FACE_MODEL_MM @ (np.array(about_z) @ about_y @ about_x).T
    return (points[:, :2] + (120.0, 110.0)).astype(np.float32)


def checkered(low: int, high: int, cell: int = 6) -> np.ndarray:
    """Return uint8 [240, 320], squares as sharp as can be."""
    y, x = np.mgrid[0:240, 0:320] // cell
    return np.where((x + y) % 2 == 0, low, high).astype(np.uint8)


def color(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)


@pytest.fixture
def clean() -> Capture:
    """A capture in which nothing is wrong, with everything that can be said about it."""
    depth = np.full((240, 320), 500, np.uint16)
    depth[:20] = 900
    return Capture(
        rgb=color(checkered(90, 170)),
        depth=depth,
        ir=checkered(60, 140),
        face=FACE,
        landmarks=LANDMARKS,
        taken_ms=dict.fromkeys(Modality, NOW_MS - 20.0),
    )


def painted(frame: np.ndarray, value: int, where=MIDDLE) -> np.ndarray:
    frame = frame.copy()
    frame[where] = value
    return frame


def with_holes(pixels: int) -> np.ndarray:
    """Return a depth frame without so many of the 71x99 pixels in the middle of the face."""
    depth = 500 + np.arange(240 * 320, dtype=np.uint16).reshape(240, 320) % 7
    middle = middle_of(depth, FACE)
    assert middle.shape == (99, 71)
    scattered = np.random.default_rng(5).permutation(middle.size)[:pixels]
    middle.flat[scattered] = 0
    return depth


def times(rgb: float = -20.0, depth: float = -20.0, ir: float = -20.0) -> dict[Modality, float]:
    return {Modality.RGB: NOW_MS + rgb, Modality.DEPTH: NOW_MS + depth, Modality.IR: NOW_MS + ir}


def test_a_clean_capture_passes_every_gate(clean):
    assert assess(clean, QualityLimits(), now_ms=NOW_MS) == ()


# What is changed about the clean capture, what is found, and words of the message.
ONE_FAULT = {
    "no face": (lambda _: {"face": None, "landmarks": None}, Reason.NO_FACE, "step in front"),
    "another person": (
        lambda _: {"other_faces": (FaceBox(200, 40, 40, 60),)},
        Reason.SEVERAL_FACES,
        "2 faces",
    ),
    "far by depth": (
        lambda c: {"depth": c.depth * 4},
        Reason.TOO_FAR,
        "2000 mm away, at most 1500",
    ),
    "close by depth": (
        lambda c: {"depth": c.depth // 3},
        Reason.TOO_CLOSE,
        "166 mm away, at least 250 mm: step back",
    ),
    "far by pixels": (
        lambda _: {"face": FaceBox(90, 80, 63, 80)},
        Reason.TOO_FAR,
        "63 px wide, at least 64 px: come closer",
    ),
    "close by pixels": (
        lambda _: {"face": FaceBox(20, 10, 273, 220)},
        Reason.TOO_CLOSE,
        "fills 92% of the frame",
    ),
    "turned": (
        lambda _: {"landmarks": turned(yaw=31.0)},
        Reason.NOT_FRONTAL,
        "turned to the side by 31°, at most 30°: look straight",
    ),
    "nodded": (lambda _: {"landmarks": turned(pitch=-26.0)}, Reason.NOT_FRONTAL, "nodded by 26°"),
    "tilted": (lambda _: {"landmarks": turned(roll=26.0)}, Reason.NOT_FRONTAL, "tilted by 26°"),
    "eyes swapped": (
        lambda _: {"landmarks": LANDMARKS[[1, 0, 2, 4, 3]]},
        Reason.NOT_FRONTAL,
        "person's right eye first",
    ),
    "no face in the landmarks": (
        lambda _: {"landmarks": np.full((5, 2), 100.0, np.float32)},
        Reason.NOT_FRONTAL,
        "span no face",
    ),
    "box at the edge": (
        lambda _: {"face": FaceBox(0, 40, 140, 140)},
        Reason.OUT_OF_FRAME,
        "0 px from the edge of the rgb frame",
    ),
    "box at another frame's edge": (
        lambda _: {"faces": {Modality.IR: FaceBox(220, 40, 100, 140)}},
        Reason.OUT_OF_FRAME,
        "edge of the ir frame",
    ),
    "an eye outside": (
        lambda _: {"landmarks": LANDMARKS - np.float32([89.0, 0.0])},
        Reason.OUT_OF_FRAME,
        "1 of the eyes",
    ),
    "an eye outside to the right": (
        lambda _: {"landmarks": LANDMARKS + np.float32([168.0, 0.0])},
        Reason.OUT_OF_FRAME,
        "1 of the eyes",
    ),
    "the forehead only": (
        lambda _: {"landmarks": LANDMARKS + np.float32([0.0, 90.0])},
        Reason.OUT_OF_FRAME,
        "2 of the eyes",
    ),
    "the chin only": (
        lambda _: {"landmarks": LANDMARKS - np.float32([0.0, 90.0])},
        Reason.OUT_OF_FRAME,
        "2 of the eyes",
    ),
    "dark": (
        lambda _: {"rgb": color(checkered(20, 59))},
        Reason.TOO_DARK,
        "highlights are at 59 of 255, at least 60",
    ),
    "bright": (
        lambda _: {"rgb": color(checkered(200, 252))},
        Reason.TOO_BRIGHT,
        "quarter of the face is at 252",
    ),
    "out of focus": (
        lambda c: {"rgb": cv2.GaussianBlur(c.rgb, (0, 0), 6.0)},
        Reason.BLURRED,
        "hold still",
    ),
    "saturated": (
        lambda c: {"ir": painted(c.ir, 255, np.s_[60:160, 84:110])},
        Reason.IR_SATURATED,
        "of the face is saturated",
    ),
    "holes": (lambda _: {"depth": with_holes(2109)}, Reason.DEPTH_HOLES, "30.0% of the face"),
    "no depth on the face": (
        lambda c: {"depth": painted(c.depth, 0)},
        Reason.DEPTH_HOLES,
        "100.0%",
    ),
    "meters": (
        lambda _: {"depth": (checkered(1, 1) + (np.arange(320) > 300)).astype(np.uint16) * 2},
        Reason.DEPTH_UNITS,
        "depth 2, which cannot be millimeters: these look like meters, multiply by 1000",
    ),
    "centimeters": (lambda c: {"depth": c.depth // 11}, Reason.DEPTH_UNITS, "centimeters, mult"),
    "lens covered": (
        lambda c: {"rgb": np.full_like(c.rgb, 3)},
        Reason.NO_IMAGE,
        r"rgb frame is \[3, 3, 3\] everywhere: uncover the lens",
    ),
    "no picture, in color": (
        lambda c: {"rgb": np.full_like(c.rgb, 0) + np.uint8([0, 0, 255])},
        Reason.NO_IMAGE,
        r"\[0, 0, 255\]",
    ),
    "depth sensor unplugged": (lambda c: {"depth": c.depth * 0}, Reason.NO_IMAGE, "not meters cut"),
    "infrared covered": (
        lambda c: {"ir": painted(c.ir * 0, 2, np.s_[0, 0])},
        Reason.NO_IMAGE,
        "ir",
    ),
    "infrared emitter off": (
        lambda _: {"ir": checkered(0, 11, 20)},
        Reason.IR_UNLIT,
        r"99% of the whole ir frame is below 12 of 255.*emitter=flashing",
    ),
    "old": (
        lambda _: {"taken_ms": times(-501, -501, -501)},
        Reason.STALE,
        "501 ms old, at most 500",
    ),
    "from the future": (
        lambda _: {"taken_ms": times(1.0, 1.0, 1.0)},
        Reason.STALE,
        "taken at 10001 ms, now is 10000 ms: times must be of time.monotonic",
    ),
    "apart": (
        lambda _: {"taken_ms": times(ir=-71.0)},
        Reason.OUT_OF_STEP,
        "ir and rgb were taken 51 ms apart, at most 50 ms",
    ),
}


@pytest.mark.parametrize("name", ONE_FAULT)
def test_each_fault_is_found_alone_and_said(clean, name):
    change, reason, words = ONE_FAULT[name]
    found = assess(replace(clean, **change(clean)), now_ms=NOW_MS)
    assert [finding.reason for finding in found] == [reason]
    assert "\n" not in found[0].message
    assert re.search(words, found[0].message), found[0].message


@pytest.mark.parametrize("name", ONE_FAULT)
def test_switched_off_nothing_is_found(clean, name):
    capture = replace(clean, **ONE_FAULT[name][0](clean))
    assert assess(capture, QualityLimits.off(), now_ms=NOW_MS) == ()


def test_every_limit_is_reached_by_a_fault_above():
    limits = QualityLimits().model_dump()
    assert {reason for _, reason, _ in ONE_FAULT.values()} == {
        Reason.NO_FACE, Reason.SEVERAL_FACES, Reason.TOO_FAR, Reason.TOO_CLOSE, Reason.NOT_FRONTAL,
        Reason.OUT_OF_FRAME, Reason.BLURRED, Reason.TOO_DARK, Reason.TOO_BRIGHT,
        Reason.IR_SATURATED, Reason.DEPTH_HOLES, Reason.NO_IMAGE, Reason.STALE,
        Reason.OUT_OF_STEP, Reason.DEPTH_UNITS, Reason.IR_UNLIT,
    }  # fmt: skip
    assert all(value is not None for value in limits.values())


# What is asked of a capture that the model calls LIVE: test_agreement.py.
AFTER_THE_MODEL = {"sensors_agree"}


@pytest.mark.parametrize("name", sorted({*QualityLimits.model_fields} - AFTER_THE_MODEL))
def test_a_limit_switched_on_alone_finds_a_fault_above(clean, name):
    limit = getattr(QualityLimits(), name)
    alone = QualityLimits.off().model_copy(update={name: limit})
    captures = [replace(clean, taken_ms={})]
    captures += [replace(clean, **change(clean)) for change, _, _ in ONE_FAULT.values()]
    assert any(assess(capture, alone, now_ms=NOW_MS) for capture in captures)


@pytest.mark.parametrize(
    ("change", "limits"),
    [
        ({"face": FaceBox(90, 80, 64, 80)}, {}),
        ({"face": FaceBox(24, 1, 272, 204)}, {"min_sharpness": None}),  # 85 % on the dot
        ({"landmarks": turned(yaw=29.5)}, {}),
        ({"landmarks": turned(pitch=24.5)}, {}),
        ({"landmarks": turned(roll=-24.5)}, {}),
        ({"face": FaceBox(1, 1, 140, 140)}, {}),
        ({"rgb": color(checkered(20, 60))}, {}),
        ({"rgb": color(checkered(200, 250))}, {}),
        ({"depth": with_holes(2108)}, {}),
        ({"depth": with_holes(71 * 99)}, {"max_depth_holes": 1.0}),
        ({"depth": np.full((240, 320), 250, np.uint16) + (np.arange(320) > 310)}, {}),
        ({"depth": np.full((240, 320), 1500, np.uint16) - (np.arange(320) > 300) * 9}, {}),
        ({"taken_ms": times(0.0, 0.0, 0.0)}, {}),
        ({"taken_ms": times(-500.0, -500.0, -500.0)}, {}),
        ({"taken_ms": times(depth=-70.0)}, {}),
        ({"other_faces": (FaceBox(200, 40, 39, 60), FaceBox(250, 40, 12, 16))}, {}),  # passers-by
        ({"landmarks": None}, {}),
        ({"taken_ms": {}}, {"require_times": False}),
        ({"face": None, "landmarks": None}, {"require_face": False}),
        ({"ir": checkered(0, 12, 20)}, {}),
    ],
)
def test_capture_exactly_at_a_limit_passes(clean, change, limits):
    if "depth" in change:
        change = {"depth": change["depth"].astype(np.uint16)}
    assert assess(replace(clean, **change), QualityLimits(**limits), now_ms=NOW_MS) == ()


@pytest.mark.parametrize(
    ("taken_ms", "now_ms", "reasons"),
    [
        (times(rgb=math.nan), NOW_MS, [Reason.STALE, Reason.OUT_OF_STEP]),
        (times(rgb=math.inf), NOW_MS, [Reason.STALE, Reason.OUT_OF_STEP]),
        (times(-math.inf, -math.inf, -math.inf), NOW_MS, [Reason.STALE, Reason.OUT_OF_STEP]),
        (times(), math.nan, [Reason.STALE]),
        (times(), math.inf, [Reason.STALE]),
        ({Modality.RGB: np.float32(NOW_MS)}, NOW_MS, []),
        ({Modality.RGB: NOW_MS - 600.0}, NOW_MS, [Reason.STALE]),
        ({}, NOW_MS, []),
    ],
)
def test_a_time_that_is_none_is_stale_and_never_in_step(clean, taken_ms, now_ms, reasons):
    limits = QualityLimits(require_times=False)
    found = assess(replace(clean, taken_ms=taken_ms), limits, now_ms=now_ms)
    assert [finding.reason for finding in found] == reasons


@pytest.mark.parametrize("depth_ms", [None, math.nan, math.inf])
def test_times_are_required_of_the_frames_there_are(clean, depth_ms):
    limits = QualityLimits(max_age_ms=None, max_skew_ms=None)
    of_depth = {} if depth_ms is None else {Modality.DEPTH: depth_ms}
    capture = replace(clean, taken_ms={Modality.RGB: NOW_MS, **of_depth})
    (found,) = assess(capture, limits, now_ms=NOW_MS)
    assert found.reason is Reason.STALE
    assert "depth, ir has no time" in found.message
    assert assess(replace(capture, depth=None, ir=None), limits, now_ms=NOW_MS) == ()


def test_skew_counts_between_frames_the_capture_holds(clean):
    capture = replace(clean, depth=None, ir=None, taken_ms=times(depth=-400.0, ir=-9000.0))
    assert assess(capture, now_ms=NOW_MS) == ()


def test_everything_wrong_is_said_at_once_the_most_useful_first(clean):
    capture = replace(
        clean,
        rgb=cv2.GaussianBlur(color(checkered(10, 40)), (0, 0), 6.0),
        ir=np.full_like(clean.ir, 255) - checkered(0, 4, 40),
        depth=np.where(checkered(0, 1, 3) == 1, 0, 2000).astype(np.uint16),
        face=FaceBox(70, 0, 60, 140),
        landmarks=turned(40.0, 30.0, -40.0),
        other_faces=(FACE,),
        taken_ms=times(rgb=-900.0),
    )
    found = assess(capture, now_ms=NOW_MS)
    assert [finding.reason for finding in found] == [
        Reason.STALE,
        Reason.OUT_OF_STEP,
        Reason.SEVERAL_FACES,
        Reason.OUT_OF_FRAME,
        Reason.TOO_FAR,
        Reason.NOT_FRONTAL,
        Reason.TOO_DARK,
        Reason.BLURRED,
        Reason.IR_SATURATED,
        Reason.DEPTH_HOLES,
    ]
    assert "turned" in found[5].message
    assert "nodded" in found[5].message
    assert "tilted" in found[5].message
    assert all(finding.reason.retry_helps for finding in found)


def test_a_retry_helps_against_every_finding_but_depth_units(clean):
    reasons = {reason for _, reason, _ in ONE_FAULT.values()}
    assert [reason for reason in reasons if not reason.retry_helps] == [Reason.DEPTH_UNITS]
    assert not Reason.ENGINE_FAULT.retry_helps


def test_meters_are_told_even_without_a_face(clean):
    depth = (1 + np.arange(240 * 320) % 3).astype(np.uint16).reshape(240, 320)
    capture = replace(clean, depth=depth, face=None, landmarks=None)
    found = assess(capture, now_ms=NOW_MS)
    assert [finding.reason for finding in found] == [Reason.DEPTH_UNITS, Reason.NO_FACE]
    assert "nothing is beyond depth 3" in found[0].message


def test_dim_light_is_not_blur(clean):
    sharp = replace(clean, rgb=color(checkered(20, 38)))
    found = assess(sharp, now_ms=NOW_MS)
    assert [finding.reason for finding in found] == [Reason.TOO_DARK]


def test_without_color_the_infrared_frame_tells_blur_and_nothing_of_the_room_s_light(clean):
    capture = replace(clean, rgb=None, ir=checkered(10, 50))
    assert assess(capture, now_ms=NOW_MS) == ()
    blurred = replace(capture, ir=cv2.GaussianBlur(capture.ir, (0, 0), 6.0))
    (found,) = assess(blurred, now_ms=NOW_MS)
    assert found.reason is Reason.BLURRED
    assert "the ir frame" in found.message


@pytest.mark.parametrize("limits", [QualityLimits(), QualityLimits.faults()])
def test_an_unlit_infrared_frame_says_nothing_about_a_person(clean, limits):
    unlit = np.random.default_rng(3).normal(2.0, 1.5, (240, 320)).clip(0, 255).astype(np.uint8)
    (found,) = assess(replace(clean, ir=unlit), limits, now_ms=NOW_MS)
    assert found.reason is Reason.IR_UNLIT
    assert found.reason.retry_helps


def test_a_dark_face_in_a_lit_infrared_frame_is_left_to_the_model(clean):
    screen = np.where(np.indices((240, 320))[1] < 316, 2, 60).astype(np.uint8)
    screen[::2] += 1
    assert assess(replace(clean, ir=screen), now_ms=NOW_MS) == ()


def test_no_synthetic_attack_is_taken_for_an_unlit_frame():
    """A screen swallows infrared light; what holds it does not."""
    for index in range(24):
        capture = generate(5, index, Split.TRAIN, species=Species.REPLAY).capture
        found = assess(capture, QualityLimits.faults(), now_ms=NOW_MS)
        assert Reason.IR_UNLIT not in [finding.reason for finding in found], index


def test_gates_ignore_the_surroundings_of_the_face(clean):
    outside = np.ones((240, 320), bool)
    outside[MIDDLE] = False
    # Backlight, a saturated wall in infrared, and no depth behind the person.
    capture = replace(
        clean,
        rgb=np.where(outside[..., None], 255, clean.rgb).astype(np.uint8),
        ir=np.where(outside, 255, clean.ir).astype(np.uint8),
        depth=np.where(outside, 0, clean.depth).astype(np.uint16),
    )
    assert assess(capture, now_ms=NOW_MS) == ()


def test_frames_need_not_lie_in_one_piece_of_memory(clean):
    capture = replace(
        clean,
        rgb=np.ascontiguousarray(clean.rgb[..., ::-1])[..., ::-1],
        depth=np.asfortranarray(clean.depth),
        ir=np.repeat(clean.ir, 2, axis=1)[:, ::2],
    )
    for frame in (capture.rgb, capture.depth, capture.ir):
        frame.flags.writeable = False
    assert assess(capture, now_ms=NOW_MS) == ()


@pytest.mark.parametrize("box", [FaceBox(0, 0, 1, 1), FaceBox(319, 239, 1, 1), FaceBox(5, 5, 2, 1)])
def test_the_smallest_boxes_are_answered_too(clean, box):
    reasons = [finding.reason for finding in assess(replace(clean, face=box), now_ms=NOW_MS)]
    assert Reason.TOO_FAR in reasons


def test_bona_fide_captures_pass_the_defaults():
    """A tenth of synthetic people wear glasses, lamps and noise vary: none is turned away."""
    for index in range(24):
        capture = generate(11, index, Split.TRAIN, species=Species.BONA_FIDE).capture
        timed = replace(capture, taken_ms=dict.fromkeys(capture.present, NOW_MS))
        assert assess(timed, now_ms=NOW_MS) == (), index


def test_the_same_captures_blurred_dimmed_or_far_do_not():
    for index in range(10):
        capture = generate(11, index, Split.TRAIN, species=Species.BONA_FIDE).capture
        width = FaceBox.of(capture.face).width
        spoilt = {
            Reason.BLURRED: {"rgb": cv2.GaussianBlur(capture.rgb, (0, 0), 0.05 * width)},
            Reason.TOO_DARK: {"rgb": capture.rgb // 5},
            Reason.TOO_FAR: {"depth": capture.depth * 6},
        }
        for reason, change in spoilt.items():
            found = assess(replace(capture, **change), now_ms=NOW_MS)
            assert reason in [finding.reason for finding in found], (index, reason)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_face_px", 0),
        ("max_face_share", 1.5),
        ("max_yaw_deg", math.nan),
        ("max_age_ms", math.inf),
        ("max_skew_ms", -1.0),
        ("min_highlight", 256),
        ("max_depth_holes", 31),
        ("min_distance_mm", 1500),
        ("blur", 3),
    ],
)
def test_limits_that_make_no_sense_are_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        QualityLimits(**{field: value})
    with pytest.raises(ValidationError, match=field):
        QualityLimits().model_copy(update={field: value})


def test_a_limit_changed_alone_is_the_only_one_that_changed():
    changed = QualityLimits.off().model_copy(update={"max_yaw_deg": 10.0})
    assert changed.model_dump() == QualityLimits.off().model_dump() | {"max_yaw_deg": 10.0}


@settings(max_examples=150)
@given(st.data())
def test_whatever_a_capture_may_hold_is_answered(data):
    """Any frame sizes, boxes, landmarks and times that Capture takes: findings, never an error."""
    side = st.integers(1, 70)
    frames = {}
    for modality in Modality:
        if data.draw(st.booleans()) or (modality is Modality.IR and not frames):
            shape = (data.draw(side), data.draw(side))
            shape += (3,) if modality is Modality.RGB else ()
            rng = np.random.default_rng(data.draw(st.integers(0, 9)))
            most = data.draw(st.sampled_from([1, 3, 256, 1500]))
            kind = np.uint16 if modality is Modality.DEPTH else np.uint8
            frames[modality.value] = rng.integers(0, most, shape).astype(kind)
    present = [Modality(name) for name in frames]

    def box_in(modality: Modality) -> FaceBox:
        height, width = frames[modality.value].shape[:2]
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        return FaceBox(
            x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
        )

    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    points = st.lists(numbers, min_size=10, max_size=10).map(
        lambda values: np.float32(values).reshape(5, 2)
    )
    capture = Capture(
        **frames,
        face=data.draw(st.none() | st.just(box_in(present[0]))),
        faces={m: box_in(m) for m in present[1:] if data.draw(st.booleans())},
        landmarks=data.draw(st.none() | points),
        other_faces=(box_in(present[0]),) if data.draw(st.booleans()) else (),
        taken_ms={m: data.draw(st.floats()) for m in present if data.draw(st.booleans())},
    )
    limits = data.draw(st.sampled_from([QualityLimits(), QualityLimits.faults()]))
    with np.errstate(all="raise"):
        found = assess(capture, limits, now_ms=data.draw(st.floats()))
    reasons = [finding.reason for finding in found]
    assert len(set(reasons)) == len(reasons)
    assert all(finding.message for finding in found)
