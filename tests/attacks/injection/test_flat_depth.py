"""An attacker who injects depth that was made up: one distance, a tilted board, noise on it.

Edges of such depth tell nothing, so nothing contradicts color. A face has relief: a LIVE where
depth has none over the face is RETRY (sensors-disagree). A screen that the model finds stays a
SPOOF.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.decision import Verdict
from fasdk.quality import QualityLimits
from fasdk.quality.agreement import disagreement
from fasdk.reasons import Reason
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.injection import ONLY_AGREEMENT, person, spoof
from support.scripted_engine import FakeEngine, live

FLAT = (Verdict.RETRY, (Reason.SENSORS_DISAGREE,))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("door") / "door.fasb"))


def made_up(kind, shape):
    rng = np.random.default_rng(4)
    down, across = np.mgrid[: shape[0], : shape[1]]
    surface = np.full(shape, 520.0)
    if "board" in kind:
        surface += 0.4 * down + 0.6 * across
    if "noise" in kind:
        surface += rng.normal(0.0, 2.0, shape)
    return surface.round().astype(np.uint16)


def asked(bundle, capture, model=live, limits=ONLY_AGREEMENT):
    with Liveness(bundle, FakeEngine(model), limits=limits) as session:
        return session.check(capture)


@pytest.mark.parametrize("kind", ["one distance", "board", "noise", "board with noise"])
def test_a_flat_surface_is_no_face(bundle, kind):
    capture = person(6)[0]
    flat = replace(capture, depth=made_up(kind, capture.depth.shape))
    answer = asked(bundle, flat)
    assert (answer.verdict, answer.codes) == FLAT
    for without in ("ir", "rgb"):
        found = disagreement(replace(flat, **{without: None}))
        assert found is not None
        assert found.reason is Reason.SENSORS_DISAGREE


def test_a_face_has_relief(bundle):
    for number in range(4):
        assert asked(bundle, person(6 + number)[0]).is_live


def test_an_attack_that_the_model_finds_stays_one(bundle):
    capture = person(6)[0]
    flat = replace(capture, depth=made_up("noise", capture.depth.shape))
    answer = asked(bundle, flat, model=spoof)
    assert (answer.verdict, answer.codes) == (Verdict.SPOOF, ())


def test_it_is_switched_with_the_other_agreement_of_sensors(bundle):
    capture = person(6)[0]
    flat = replace(capture, depth=made_up("noise", capture.depth.shape))
    assert asked(bundle, flat, limits=QualityLimits.off()).is_live
