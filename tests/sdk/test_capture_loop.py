"""Capture loop: faults of camera, finder and session, none answered LIVE."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fasdk.audit import AuditLog, AuditPolicy, verify_audit_log
from fasdk.capture import FaceBox, Modality
from fasdk.capture_loop import Backoff, FixedFace, run_captures
from fasdk.decision import Decision, Verdict
from fasdk.errors import (
    BadCaptureError,
    CameraError,
    CaptureError,
    ClosedError,
    FaceFinderError,
    UnreadableRecordingError,
)
from fasdk.reasons import Reason
from fasdk.registration import Rig
from fasdk.registration.optics import Lens, Pinhole
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track import Track

from support import tiny_bundle
from support.scripted_camera import ScriptedCamera
from support.track_fakes import FakeSession, Hand, capture, plain_bundle, scored


class Answers:
    """A checker that answers LIVE, or raises what it was given."""

    def __init__(self, *raised):
        self._raised = list(raised)
        self.seen = []

    def check(self, capture):
        self.seen.append(capture)
        error = self._raised.pop(0) if self._raised else None
        if error is not None:
            raise error
        return Decision(verdict=Verdict.LIVE)


def verdicts(found):
    return [(o.decision.verdict, o.decision.codes) for o in found]


LIVE = (Verdict.LIVE, ())


def test_a_recording_that_cannot_be_read_ends_the_loop():
    slept = []
    camera = ScriptedCamera(UnreadableRecordingError("x.avi is no video"), tiny_bundle.capture())
    with pytest.raises(UnreadableRecordingError, match="no video"):
        list(run_captures(camera, Answers(), sleep=slept.append))
    assert slept == []


def test_pauses_double_up_to_a_limit_and_begin_again_after_a_capture():
    good = tiny_bundle.capture()
    gone = [CameraError("unplugged") for _ in range(9)]
    slept = []
    camera = ScriptedCamera(good, *gone, good, CameraError("unplugged"), good)
    found = list(run_captures(camera, Answers(), sleep=slept.append))
    fault = (Verdict.ERROR, (Reason.CAMERA,))
    assert verdicts(found) == [LIVE, *[fault] * 9, LIVE, fault, LIVE]
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 0.1]


def test_a_pause_is_bounded_however_long_a_camera_is_gone():
    assert Backoff().pause_ms(10**9) == 5000.0


def test_a_drivers_own_exception_is_a_fault_too():
    camera = ScriptedCamera(ZeroDivisionError("driver"), tiny_bundle.capture())
    found = list(run_captures(camera, Answers(), sleep=lambda _: None))
    assert verdicts(found) == [(Verdict.ERROR, (Reason.CAMERA,)), LIVE]
    assert "unexpected ZeroDivisionError" in found[0].decision.reasons[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CaptureError("bad"), Reason.BAD_CAPTURE),
        (FaceFinderError("odd"), Reason.CAMERA),
        (ClosedError("closed"), Reason.CLOSED),
        (CameraError("odd"), Reason.UNEXPECTED),
        (ZeroDivisionError("odd"), Reason.UNEXPECTED),
    ],
)
def test_a_checker_that_raises_is_an_error_and_the_next_capture_works(error, code):
    camera = ScriptedCamera(tiny_bundle.capture(), tiny_bundle.capture())
    found = list(run_captures(camera, Answers(error)))
    assert verdicts(found) == [(Verdict.ERROR, (code,)), LIVE]


def test_the_checker_sees_the_face_that_was_found():
    checker = Answers()
    list(
        run_captures(ScriptedCamera(tiny_bundle.capture()), checker, FixedFace(FaceBox(1, 2, 8, 9)))
    )
    assert checker.seen[0].face == FaceBox(1, 2, 8, 9)


class Nobody:
    def locate(self, capture):
        return replace(capture, face=None)


@pytest.mark.parametrize(
    ("heard", "answered"),
    [
        (Decision(verdict=Verdict.LIVE), (Verdict.RETRY, (Reason.NO_FACE,))),
        (Decision(verdict=Verdict.SPOOF), (Verdict.RETRY, (Reason.NO_FACE,))),
        (
            Decision(verdict=Verdict.ERROR, reasons=("x",), codes=(Reason.BAD_CAPTURE,)),
            (Verdict.RETRY, (Reason.NO_FACE,)),
        ),
        (
            Decision(verdict=Verdict.ERROR, reasons=("x",), codes=(Reason.LOCKED_OUT,)),
            (Verdict.ERROR, (Reason.LOCKED_OUT,)),
        ),
        (
            Decision(verdict=Verdict.RETRY, reasons=("x",), codes=(Reason.STALE,)),
            (Verdict.RETRY, (Reason.STALE,)),
        ),
    ],
)
def test_empty_scene_is_never_live_and_reaches_the_checker(heard, answered):
    class Hears:
        seen = ()

        def check(self, capture):
            self.seen += (capture,)
            return heard

    checker = Hears()
    found = list(run_captures(ScriptedCamera(tiny_bundle.capture()), checker, Nobody()))
    assert verdicts(found) == [answered]
    assert checker.seen[0].face is None


def lens(width, height):
    return Lens(
        **{"width_px": width, "height_px": height, "focal_x_px": 30, "focal_y_px": 30},
        **{"center_x_px": width / 2, "center_y_px": height / 2},
    )


@pytest.mark.parametrize(
    ("depth_sees", "verdict"),
    [
        (Pinhole(lens=lens(32, 24), translation_mm=(20.0, 0.0, 0.0)), LIVE),
        (
            Pinhole(lens=lens(32, 24), translation_mm=(900.0, 0.0, 0.0)),
            (Verdict.RETRY, (Reason.OUT_OF_FRAME,)),
        ),
        (Pinhole(lens=lens(640, 480)), (Verdict.ERROR, (Reason.BAD_CAPTURE,))),
    ],
)
def test_the_face_is_mapped_into_the_other_sensors_frames(depth_sees, verdict):
    rig = Rig(rgb=lens(32, 24), depth=depth_sees)
    checker = Answers()
    camera = ScriptedCamera(tiny_bundle.capture(face=(8, 6, 12, 12)))
    assert verdicts(run_captures(camera, checker, rig=rig)) == [verdict]
    if verdict == LIVE:
        box = checker.seen[0].faces[Modality.DEPTH]
        assert (box.width, box.height) == (12, 12)
        assert box.x == round(8 + 30 * 20 / 500)


def test_a_camera_that_hands_in_bad_frames_is_an_error(monkeypatch):
    camera = ScriptedCamera(CaptureError("depth is float32"), tiny_bundle.capture())
    found = list(run_captures(camera, Answers(), sleep=lambda _: None))
    assert verdicts(found) == [(Verdict.ERROR, (Reason.BAD_CAPTURE,)), LIVE]


def test_a_recordings_bad_captures_count_cost_no_pause_and_end_no_row_of_faults():
    slept = []
    bad = [BadCaptureError("line 3: no such file") for _ in range(4)]
    camera = ScriptedCamera(CameraError("gone"), *bad, CameraError("gone"), tiny_bundle.capture())
    found = list(run_captures(camera, Answers(), max_captures=5, sleep=slept.append))
    assert slept == [0.1, 0.1]
    assert [result.capture for result in found] == [None, 1, 2, 3, 4, None, 5]
    assert set(verdicts(found[1:5])) == {(Verdict.ERROR, (Reason.BAD_CAPTURE,))}
    assert all(result.latency_ms is None for result in found[:6])


class BlindFor:
    """A finder that fails on some captures in a row."""

    def __init__(self, good, failures):
        self._turns = [True] * good + [False] * failures

    def locate(self, capture):
        if self._turns and not self._turns.pop(0):
            raise FaceFinderError("the detector failed")
        return capture


@pytest.mark.parametrize(("failures", "frames"), [(2, 2), (3, 1)])
def test_a_track_hears_of_frames_on_which_the_finder_fails(failures, frames):
    # Meanwhile somebody else may have stepped in front: too many drop what was gathered.
    session = FakeSession(plain_bundle(), lambda _: scored(0.9))
    policy = TrackPolicy(frames_required=3, max_unscored=2, attempts=None, lock_out=None)
    track = Track(session, "door", policy, clock=Hand())
    captures = [capture() for _ in range(1 + failures + 1)]
    found = list(run_captures(ScriptedCamera(*captures), track, BlindFor(1, failures)))
    unheard = [(o.decision.verdict, o.decision.codes) for o in found[1:-1]]
    assert unheard == [(Verdict.ERROR, (Reason.CAMERA,))] * failures
    assert found[-1].decision.frames == frames
    assert session.judged == 2


def test_every_decision_stands_in_the_audit_log_before_it_is_given(tmp_path):
    path = tmp_path / "door.audit"
    camera = ScriptedCamera(
        tiny_bundle.capture(),
        CameraError("unplugged"),
        BadCaptureError("line 3"),
        tiny_bundle.capture(),
    )
    with AuditLog(path) as audit:
        for number, found in enumerate(
            run_captures(camera, Answers(), audit=audit, sleep=lambda _: None), 1
        ):
            written = verify_audit_log(path)
            assert sum(written.verdicts.values()) == number
            assert written.verdicts[found.decision.verdict] >= 1
    assert verify_audit_log(path).verdicts == {Verdict.LIVE: 2, Verdict.ERROR: 2}
    assert path.read_text().count(f'"camera":"{camera.name}"') == 4


@pytest.mark.parametrize("required", [False, True])
def test_a_log_that_takes_no_more_makes_errors_only_where_required(tmp_path, required):
    audit = AuditLog(tmp_path / "door.audit", AuditPolicy(required=required))
    audit.close()
    track = Track(FakeSession(plain_bundle(), lambda _: scored(0.9)), "lobby", TrackPolicy())
    for checker in (Answers(), track):
        camera = ScriptedCamera(tiny_bundle.capture(), CameraError("unplugged"))
        found = list(run_captures(camera, checker, audit=audit, sleep=lambda _: None))
        assert len(found) == 2
        assert all((Reason.UNRECORDED in one.decision.codes) is required for one in found)
        if required:
            assert {one.decision.verdict for one in found} == {Verdict.ERROR}


def test_an_observer_gets_every_capture_after_its_answer_and_cannot_stop_the_loop():
    answers, observed = [], []

    def observe(capture, decision):
        observed.append((len(answers), capture.present, decision.verdict))
        if len(observed) == 2:
            raise RuntimeError("a full disk")

    captures = [tiny_bundle.capture() for _ in range(4)]
    found = run_captures(ScriptedCamera(*captures), Answers(), observe=observe)
    answers.extend(found)  # one after another
    assert len(answers) == 4
    assert observed == [(n, captures[0].present, Verdict.LIVE) for n in (1, 2)]
