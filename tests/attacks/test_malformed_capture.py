"""A driver, or whoever replaced it, that fills a capture with values of wrong types.

An exception of another kind than `FasdkError` may end a door's program, or be taken by it for
something else. Each such value is a `CaptureError` when the capture is made, and an ERROR decision
where it is put into a capture that was sound.
"""

from __future__ import annotations

import itertools
import math
from decimal import Decimal

import numpy as np
import pytest

import fasdk
from fasdk.capture import Capture, FaceBox, monotonic_ms
from fasdk.capture_loop import run_captures
from fasdk.errors import CaptureError, UsageError
from fasdk.quality import QualityLimits
from fasdk.tracking.tracks import Tracks

from support import tiny_bundle
from support.scripted_camera import ScriptedCamera
from support.track_fakes import FakeSession, plain_bundle, scored

RGB, DEPTH, IR = ALL = tuple(fasdk.Modality)
NOT_FRAMES = (7, "frame", b"", [[1, 2], [3, 4]], (), {}, object(), True, math.nan)
NOT_MAPPINGS = (None, 7, 1.5, "rgb", b"", [1, 2], (RGB,), {RGB}, object(), np.zeros(3))
NOT_BOXES = (7, "face", b"1234", "1234", (), (1, 2, 3), (1, 2, 3, 4, 5), {}, object(), (None,) * 4)
ENDLESS_FACES = itertools.repeat(FaceBox(1, 1, 2, 2))
WRONG = {
    "rgb": (*NOT_FRAMES, np.zeros((9, 9, 3), np.float32), np.ma.zeros((9, 9, 3), np.uint8)),
    "depth": (*NOT_FRAMES, np.zeros((9, 9), ">u2"), np.zeros(9, np.uint16), np.array(None)),
    "ir": (*NOT_FRAMES, np.asmatrix(np.zeros((9, 9), np.uint8)), np.zeros((0, 9), np.uint8)),
    "face": (*NOT_BOXES, (1, 2, math.nan, 4), (1, 2, 1e300, 4), itertools.count(), (1, 1, "9", 9)),
    "faces": (*NOT_MAPPINGS, {"sonar": (1, 2, 3, 4)}, {RGB: None}, {RGB: 7}, {None: (1, 2, 3, 4)}),
    "landmarks": (7, "eyes", [[1, 2]] * 5, np.zeros((5, 2)) * math.nan, np.zeros((5, 2), int)),
    "frame_landmarks": (*NOT_MAPPINGS, {RGB: None}, {RGB: [[1, 2]] * 5}, {3: np.zeros((5, 2))}),
    "other_faces": (
        None,
        7,
        1.5,
        object(),
        (1, 2, 3, 4),
        (None,),
        "1234",
        itertools.repeat(FaceBox(1, 1, 2, 2)),
    ),
    "taken_ms": (
        *NOT_MAPPINGS,
        *({RGB: wrong} for wrong in (None, "now", True, 1j, [1.0], Decimal(1), 10**400, object())),
        {"sonar": 1.0},
        {None: 1.0},
    ),
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]
WHAT = [f"{name}-{type(value).__name__}" for name, value in CASES]


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    path = tiny_bundle.write(tmp_path_factory.mktemp("door") / "door.fasb")
    limits = QualityLimits.off().model_copy(update={"max_age_ms": 60_000.0, "max_skew_ms": 50.0})
    with fasdk.open(path, backend="onnxruntime", threads=1, limits=limits) as session:
        yield session


def fields():
    sound = tiny_bundle.capture(255, face=(4, 3, 20, 15))
    taken_ms = dict.fromkeys(ALL, monotonic_ms())
    return {"rgb": sound.rgb, "depth": sound.depth, "ir": sound.ir, "face": sound.face} | {
        "taken_ms": taken_ms
    }


@pytest.mark.parametrize(("name", "value"), CASES, ids=WHAT)
def test_a_value_of_a_wrong_type_makes_no_capture(name, value):
    with pytest.raises(CaptureError) as refused:
        Capture(**fields() | {name: value})
    assert len(str(refused.value)) < 400
    assert any(word in str(refused.value) for word in (name, "face box", "was taken at"))


@pytest.mark.parametrize(("name", "value"), CASES, ids=WHAT)
def test_a_value_of_a_wrong_type_put_in_later_is_answered(door, name, value):
    broken = Capture(**fields())
    object.__setattr__(broken, name, value)
    answers = [
        door.check(broken),
        door.submit(broken).result(),
        door.track(f"{name}").check(broken),
        *door.check_batch([broken]),
    ]
    for answer in answers:
        assert isinstance(answer, fasdk.Decision)
    loop = [r.decision for r in run_captures(ScriptedCamera(broken, stamps=False), door)]
    assert len(loop) == 1
    # Fields that neither the gates nor the model of this door read change nothing.
    unread = {"landmarks", "frame_landmarks", "other_faces", "faces", "face", "taken_ms"}
    assert name in unread or not any(answer.is_live for answer in [*answers, *loop])


@pytest.mark.parametrize("frames", [None, 7, [1], "rgb", {"sonar": None}, {None: None}, {}])
def test_no_mapping_of_frames_is_an_error_of_fasdk(frames):
    with pytest.raises(CaptureError):
        Capture.of(frames)


@pytest.mark.parametrize("captures", [[None], [7, "x"], [object()]])
def test_what_is_no_capture_is_an_error_decision(door, captures):
    for answer in (*door.check_batch(captures), *map(door.check, captures)):
        assert answer.verdict is fasdk.Verdict.ERROR


def test_the_loop_goes_on_after_times_that_were_changed_later(door):
    broken, good = Capture(**fields()), Capture(**fields())
    object.__setattr__(broken, "taken_ms", {RGB: 10**400})
    found = list(run_captures(ScriptedCamera(broken, good, stamps=False), door))
    assert [result.decision.is_live for result in found] == [False, True]
    assert found[0].latency_ms is None


@pytest.mark.parametrize("camera_id", [0, 5, b"lobby", ("lobby",), None, ""])
def test_a_name_of_a_camera_that_is_none_is_refused(camera_id):
    with pytest.raises(UsageError, match=r"has the camera_id .*, expected a name"):
        Tracks(FakeSession(plain_bundle(), lambda _: scored(0.5))).of(camera_id)
