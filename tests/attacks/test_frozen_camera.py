"""A camera that stands still, or is replayed, and gives frames without times of exposure.

A frame without a time is never too old, so one face of this morning would do for ever. A camera
owes a time for every frame: the capture loop, and the gates for a person at a camera, answer RETRY
(stale) without one, and no model is asked.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

import fasdk
from fasdk.capture import monotonic_ms
from fasdk.capture_loop import run_captures
from fasdk.quality import QualityLimits
from fasdk.reasons import Reason

from support import tiny_bundle
from support.scripted_camera import ScriptedCamera

RGB, DEPTH, IR = ALL = tuple(fasdk.Modality)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    bundle = tiny_bundle.write(tmp_path_factory.mktemp("door") / "door.fasb")
    limits = QualityLimits.off()  # times are asked for whatever the limits
    with fasdk.open(bundle, backend="onnxruntime", threads=1, limits=limits) as opened:
        yield opened


def times_of(kind):
    now = monotonic_ms()
    return {
        "none": {},
        "one alone": {RGB: now},
        "not a number": {**dict.fromkeys(ALL, now), IR: math.nan},
        "endless": {**dict.fromkeys(ALL, now), DEPTH: math.inf},
    }[kind]


@pytest.mark.parametrize("kind", ["none", "one alone", "not a number", "endless"])
@pytest.mark.parametrize("by_track", [True, False])
def test_the_loop_takes_no_frame_without_a_time(session, kind, by_track):
    capture = replace(tiny_bundle.capture(255), taken_ms=times_of(kind))
    camera = ScriptedCamera(*[capture] * 4, stamps=False)
    checker = session.track(f"{kind}") if by_track else session
    answers = [result.decision for result in run_captures(camera, checker)]
    assert [answer.codes for answer in answers] == [(Reason.STALE,)] * 4
    assert all(answer.verdict.value == "retry" for answer in answers)
    assert "no time of exposure: fill Capture.taken_ms" in answers[0].reasons[0]
    # As the message says:
    timed = [replace(capture, taken_ms=dict.fromkeys(ALL, monotonic_ms())) for _ in range(1)]
    (good,) = run_captures(ScriptedCamera(*timed), session)
    assert good.decision.is_live


def test_the_gates_for_a_camera_ask_for_times_by_default(session):
    assert QualityLimits().require_times
    only_times = QualityLimits.off().model_copy(update={"require_times": True})
    with fasdk.open(session.bundle.path, backend="onnxruntime", limits=only_times) as gated:
        found = gated.check(tiny_bundle.capture(255))
        assert found.codes == (Reason.STALE,)
        now = dict.fromkeys(ALL, time.monotonic() * 1000.0)
        assert gated.check(replace(tiny_bundle.capture(255), taken_ms=now)).is_live
