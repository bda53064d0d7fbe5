"""An attacker who injects one sensor's stream and makes the others' of it, or takes another's.

Infrared made of the color frame has its noise: RETRY (replayed). Infrared or depth of somebody else
does not show the same face at the same place: RETRY (sensors-disagree), found frame by frame or
while the person moves. Each is asked of a LIVE alone, so what the model finds stays a SPOOF.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.decision import Verdict
from fasdk.reasons import Reason

from support import tiny_bundle
from support.injection import jpeg, noisy, person, show, spoof


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("door") / "door.fasb"))


def infrared_of_color(capture, change):
    return replace(capture, ir=change(cv2.cvtColor(capture.rgb, cv2.COLOR_RGB2GRAY)))


def as_it_is(frame):
    return frame


@pytest.mark.parametrize(
    "change", [as_it_is, jpeg(90), noisy(1.0)], ids=["as it is", "by a codec", "with new noise"]
)
@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_infrared_made_of_color_is_found(bundle, change, drift):
    frames = [infrared_of_color(capture, change) for capture in person(3, drift)]
    decisions = show(bundle, frames)
    assert not any(each.is_live for each in decisions)
    found = [each for each in decisions if Reason.REPLAYED in each.codes]
    assert len(found) >= 3
    assert "rgb and ir have one noise" in found[0].reasons[0]


@pytest.mark.parametrize("sensor", ["ir", "depth"])
def test_a_sensor_of_somebody_else_opens_no_door(bundle, sensor):
    frames = [
        replace(mine, **{sensor: getattr(other, sensor)})
        for mine, other in zip(person(3, 3.0), person(4, 3.0), strict=True)
    ]
    decisions = show(bundle, frames)
    assert not any(each.is_live for each in decisions)
    assert any(each.codes == (Reason.SENSORS_DISAGREE,) for each in decisions)


def test_an_attack_that_the_model_finds_stays_one(bundle):
    frames = [infrared_of_color(capture, as_it_is) for capture in person(3, 0.0)]
    assert {each.verdict for each in show(bundle, frames, model=spoof)} == {Verdict.SPOOF}
