"""An attacker who injects a face that comes nearer, while depth's face stays where it was.

What comes nearer grows by as much. The size of the box times the distance in depth is held against
its median of the face in view: RETRY (sensors-disagree), and the run ends without a LIVE. The same
face that does come nearer is let through.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.capture import FaceBox
from fasdk.decision import Verdict
from fasdk.reasons import Reason
from fasdk.tracking.size_watch import SizeWatch

from support import tiny_bundle
from support.injection import POLICY, noisy, person, show

STEPS_MM = (640.0, 610.0, 580.0, 550.0, 520.0, 490.0, 460.0, 430.0, 400.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("door") / "door.fasb"))


@pytest.fixture(scope="module")
def steps():
    """One person's frames, step by step nearer."""
    frames = []
    for at, distance_mm in enumerate(STEPS_MM):
        shown = person(7, 0.0, len(STEPS_MM), distance_mm=(distance_mm, distance_mm))
        frames.append(shown[at])
    return frames


def by_size(findings):
    return [each for each in findings if each is not None and "size" in each.message]


def test_who_comes_nearer_grows(steps):
    watch = SizeWatch()
    assert [watch.take_in(frame) for frame in steps] == [None] * len(steps)


def test_a_face_that_grows_while_depth_stays_is_found(bundle, steps):
    far, box = steps[0], FaceBox.of(steps[0].face)
    noise = noisy(1.0)
    injected = [replace(frame, depth=noise(far.depth), faces={"depth": box}) for frame in steps]
    watch = SizeWatch()
    (found, *_) = by_size(watch.take_in(frame) for frame in injected)
    assert found.reason is Reason.SENSORS_DISAGREE
    policy = replace(POLICY, frames_required=len(steps))
    decisions = show(bundle, injected, policy=policy)
    assert not any(each.is_live for each in decisions)
    refused = [each for each in decisions if Reason.SENSORS_DISAGREE in each.codes]
    assert refused
    assert {each.verdict for each in refused} == {Verdict.RETRY}


def test_depth_that_comes_nearer_alone_is_found_too(steps):
    watch, near = SizeWatch(), steps[0]
    mixed = [replace(near, depth=frame.depth, faces={"depth": frame.face}) for frame in steps]
    assert by_size(watch.take_in(frame) for frame in mixed)


def test_without_depth_or_a_face_nothing_is_said(steps):
    watch = SizeWatch()
    for frame in steps:
        assert watch.take_in(replace(frame, depth=None)) is None
        assert watch.take_in(replace(frame, face=None)) is None
