"""Reliability of a sensor: ranks among good pictures, in the graph of every precision."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.manifest import Precision
from fasdk.capture import Capture, Modality
from fasdk.errors import ExportError, ParityError
from fasdk.preprocess import CropRule, DepthEncoding, DepthPolarity, PreprocessSpec, to_batch
from fasdk_engines.graph.captures import DevelopmentSet
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.graph.lint import lint_tensorrt
from fasdk_engines.reliability.fit import LEAST_CAPTURES, LEAST_SUBJECTS, fit_reliability
from fasdk_engines.reliability.graph import (
    ISLAND,
    GraphReliability,
    add_reliability,
    require_same_ranks,
)
from fasdk_engines.reliability.simulated import simulated_faults
from fasdk_engines.reliability.statistics import FaultRegression, Gaussian, RankCurve

SIDE = 16
PLAIN = PreprocessSpec(
    width=SIDE, height=SIDE, crop=CropRule.FRAME, mean=(127.5,) * 3, std=(128.0,) * 3
)
DEPTH = PLAIN.model_copy(
    update={"depth": DepthEncoding(near_mm=250, far_mm=900, polarity=DepthPolarity.NEAR_BRIGHT)}
)
SPECS = {Modality.RGB: PLAIN, Modality.DEPTH: DEPTH}
HOST = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    host (float[batch,3,{SIDE},{SIDE}] rgb, float[batch,3,{SIDE},{SIDE}] depth)
      => (float[batch,2] logits)
    {{
      a = GlobalAveragePool (rgb) b = GlobalAveragePool (depth) both = Concat <axis = 1> (a, b)
      flat = Flatten (both) logits = Gemm (flat, weight)
    }}
"""


def host() -> bytes:
    """Return a graph of two modalities without the output."""
    model = onnx.parser.parse_model(HOST)
    weight = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
    return bytes(model.SerializeToString())


def capture(rng: np.random.Generator) -> Capture:
    """Return a picture of a few soft blotches in color and depth, with a little noise."""
    field = rng.uniform(0.3, 0.7, (4, 4)).repeat(4, axis=0).repeat(4, axis=1)
    color = field[..., None] * [1.0, 0.8, 0.7] * 255 + rng.normal(0, 3, (SIDE, SIDE, 3))
    depth = 400 + 200 * field + rng.normal(0, 2, field.shape)
    return Capture(rgb=color.clip(0, 255).astype(np.uint8), depth=depth.astype(np.uint16))


def development(count: int, people: int, seed: int = 0) -> DevelopmentSet:
    rng = np.random.default_rng(seed)
    captures = tuple(capture(rng) for _ in range(count))
    records = tuple(SimpleNamespace(subject=f"s{n % people}") for n in range(count))
    return DevelopmentSet("made up", records, captures)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reliability() -> GraphReliability:
    found = fit_reliability(development(160, 40), SPECS, with_presence=False)
    assert found.reliability is not None
    assert found.note == "reliability: ranks among the 160 development captures in made up"
    return found.reliability


@pytest.fixture(scope="module")
def graph(reliability) -> bytes:
    return add_reliability(host(), reliability, SPECS)


def ranks(graph: bytes, captures) -> np.ndarray:
    found = OnnxRuntimeEngine(graph, threads=1).run(to_batch(list(captures), SPECS)).reliability
    assert found is not None
    return found


def test_one_in_twenty_good_pictures_of_others_lies_below_a_twentieth(graph):
    found = ranks(graph, development(400, 400, seed=1).captures)
    assert found.shape == (400, 2)
    assert ((found >= 0) & (found <= 1)).all()
    # Two standard deviations of a share of 400, and of the 160 that the ranks come from.
    assert ((found < 0.05).mean(axis=0) <= 0.05 + 2 * 0.021).all()
    # The statistics have seen fewer people where the ranks come from, so that others rank higher.
    assert (np.median(found, axis=0) > 0.4).all()


def test_a_picture_unlike_the_others_has_a_low_rank_in_its_own_column(graph):
    good = development(40, 40, seed=2).captures
    dark = [Capture(rgb=np.zeros_like(c.rgb), depth=c.depth) for c in good]
    holes = [Capture(rgb=c.rgb, depth=np.zeros_like(c.depth)) for c in good]
    before = ranks(graph, good)
    for changed, column in ((dark, 0), (holes, 1)):
        found = ranks(graph, changed)
        assert found[:, column].max() < 0.01
        np.testing.assert_array_equal(found[:, 1 - column], before[:, 1 - column])


def test_logits_and_other_values_stay_as_they_were(graph, reliability):
    captures = development(8, 8, seed=3).captures
    require_same_ranks(host(), graph, reliability, captures, SPECS, None)
    own = {node.name for node in onnx.load_from_string(host()).graph.node}
    found = onnx.load_from_string(graph).graph
    added = [node for node in found.node if node.name not in own]
    assert all(node.name.startswith("/reliability/") for node in added)
    # Nothing that a quantizer would take.
    assert not {"MatMul", "Gemm", "Conv"} & {node.op_type for node in added}
    assert [value.name for value in found.output] == ["logits", "reliability"]
    lint_tensorrt(graph)


def test_it_stays_float32_in_half_precision(graph):
    half = convert(graph, Precision.FP16, islands_matching(graph, [ISLAND]))
    captures = development(20, 20, seed=4).captures
    np.testing.assert_array_equal(ranks(half, captures), ranks(graph, captures))


def test_a_capture_does_not_change_its_neighbors_rank(graph):
    captures = development(5, 5, seed=5).captures
    together = ranks(graph, captures)
    for row, one in enumerate(captures):
        np.testing.assert_allclose(ranks(graph, [one])[0], together[row], atol=1e-5)


def test_an_absent_modality_has_rank_0_where_the_model_is_told(reliability):
    found = GraphReliability(reliability.sensors, with_presence=True)
    batch = to_batch(list(development(2, 2, seed=6).captures), SPECS)
    pictures = [torch.from_numpy(values) for values in batch.values()]
    with torch.no_grad():
        told = found(*pictures, torch.tensor([[1.0, 1.0], [1.0, 0.0]])).numpy()
    assert told[1, 1] == 0.0
    assert (told[0] > 0.0).all()


@pytest.mark.parametrize(
    ("count", "people"), [(LEAST_CAPTURES - 1, LEAST_CAPTURES - 1), (120, LEAST_SUBJECTS - 1)]
)
def test_too_few_captures_give_none_and_say_so(count, people):
    found = fit_reliability(development(count, people), SPECS, with_presence=False)
    assert found.reliability is None
    assert found.note == (
        f"no reliability: {count} development captures of {people} people hold rgb, at least "
        f"{LEAST_CAPTURES} of {LEAST_SUBJECTS} are needed"
    )


def test_wrong_ranks_and_taken_names_are_refused(graph, reliability):
    captures = development(8, 8, seed=7).captures
    sensors = [*reliability.sensors.values()]
    other = GraphReliability(dict(zip(SPECS, reversed(sensors), strict=True)), with_presence=False)
    with pytest.raises(ParityError, match="its own ranks by"):
        require_same_ranks(host(), graph, other, captures, SPECS, None)
    with pytest.raises(ExportError, match="a name that reliability uses"):
        add_reliability(graph, reliability, SPECS)


def test_the_gaussian_is_mahalanobis_of_what_varies():
    rng = np.random.default_rng(0)
    mixing = np.eye(4) + 0.3 * rng.standard_normal((4, 4))
    rows = rng.standard_normal((4000, 4)) @ mixing
    rows = (rows - rows.mean(0)) / rows.std(0)
    exact = (rows @ np.linalg.inv(np.cov(rows.T)) * rows).sum(1)
    assert np.corrcoef(Gaussian.of(rows).distances(rows), exact)[0, 1] > 0.98


def test_the_regression_tells_what_two_sided_faults_are():
    """A fault to either side of good pictures is one that no straight line separates."""
    rng = np.random.default_rng(0)
    good, faulty = rng.standard_normal((400, 6)), rng.standard_normal((800, 6))
    faulty[:400, 0] += 5.0
    faulty[400:, 0] -= 5.0
    regression = FaultRegression.of(good, faulty)
    fresh = rng.standard_normal((400, 6))
    limit = np.quantile(regression.answers(fresh), 0.95)
    for side in (-5.0, 5.0):
        beside = rng.standard_normal((200, 6)) + np.eye(6)[0] * side
        assert (regression.answers(beside) > limit).mean() > 0.9


def test_ranks_are_shares_of_good_pictures_at_least_as_unlike():
    measures = np.random.default_rng(1).chisquare(5, (500, 2))
    curve = RankCurve.of(measures)
    larger = ((measures - curve.medians) / curve.spans).max(axis=1)
    for rank in (0.01, 0.05, 0.2, 0.5):
        at = np.quantile(larger, 1.0 - rank)
        assert np.interp(at, curve.knots, curve.ranks) == pytest.approx(rank, abs=0.012)
    assert curve.at(np.array([[0.0, 0.0], [1e9, 0.0], [0.0, 1e9]])).tolist() == [1.0, 0.0, 0.0]


def test_simulated_faults_are_pictures_of_the_same_form():
    rng = np.random.default_rng(0)
    for planes in (1, 3):
        picture = rng.uniform(30, 200, (16, 16, planes)).astype(np.float32).repeat(3 // planes, 2)
        made = simulated_faults(picture, picture[::-1], np.random.default_rng(1))
        for one in made:
            assert (one.shape, one.dtype) == (picture.shape, np.float32)
            assert 0.0 <= one.min() <= one.max() <= 255.0
            if planes == 1:
                np.testing.assert_array_equal(one[..., 0], one[..., 2])
        assert len(simulated_faults(picture, None, rng)) == len(made) - 1


def test_pictures_that_are_all_alike_give_none():
    alike = development(100, 20)
    captures = tuple(Capture(rgb=alike.captures[0].rgb, depth=c.depth) for c in alike.captures)
    found = fit_reliability(
        DevelopmentSet("made up", alike.records, captures), SPECS, with_presence=False
    )
    assert found.reliability is None
    assert found.note == "no reliability: all pictures of rgb are alike"
