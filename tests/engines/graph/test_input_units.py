"""Units of an input, told by a network's activations."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.preprocess import to_tensor
from fasdk.preprocess.units import UNITS
from fasdk_engines.graph.input_units import (
    UnitsEvidence,
    UnitsProbe,
    better_units,
    logit_spread,
)

from support.graphs import small_graph
from support.trained_network import NAMED, colored_captures, spec, trained_network


def evidence(divergence=None, spread=0.4, logits=2.0) -> UnitsEvidence:
    return UnitsEvidence(divergence, spread, (0.0, 1.0), logits)


@pytest.mark.parametrize("trained", ["levels", "level/255", "torchvision", "levels minus mean"])
def test_the_recorded_statistics_prefer_the_units_of_training(trained):
    probe = UnitsProbe(trained_network(trained).SerializeToString())
    captures = [item.capture for item in colored_captures(8, seed=4)]
    found = {}
    for units in UNITS:
        images = [to_tensor(one.rgb, None, spec(units.name)) for one in captures]
        found[units.name] = probe.evidence({"image": np.stack(images)})
    pairs = [(NAMED[name], one) for name, one in found.items()]
    assert min(found, key=lambda name: found[name].divergence) == trained
    assert better_units(found[trained], pairs) == []
    far = "level/255" if trained.startswith("levels") else "levels"
    assert better_units(found[far], pairs)[0].name == trained


def test_without_a_batch_norm_both_ends_must_be_far_off():
    usual, named = evidence(), NAMED["level/255"]
    assert better_units(evidence(spread=40.0, logits=400.0), [(named, usual)]) == [named]
    assert better_units(evidence(spread=0.001, logits=0.01), [(named, usual)]) == [named]
    # A first layer without a norm may have large outputs and be right.
    assert better_units(evidence(spread=40.0, logits=5.0), [(named, usual)]) == []
    assert better_units(evidence(spread=0.001, logits=5.0), [(named, usual)]) == []
    assert better_units(evidence(spread=40.0, logits=400.0), [(named, evidence(spread=9.0))]) == []


def test_small_differences_of_divergence_decide_nothing():
    pairs = [(NAMED["levels"], evidence(1.0)), (NAMED["torchvision"], evidence(9.0))]
    assert better_units(evidence(2.4), pairs) == []
    assert better_units(evidence(2.6), pairs) == [NAMED["levels"]]
    assert better_units(evidence(9.0), [(NAMED["levels"], evidence(4.0))]) == []  # fits neither


def test_a_batch_norm_that_was_never_trained_says_nothing():
    model = trained_network()
    for tensor in model.graph.initializer:
        if tensor.name in ("mean0", "variance0"):
            tensor.raw_data = np.full(16, float(tensor.name == "variance0"), np.float32).tobytes()
    found = UnitsProbe(model.SerializeToString()).evidence(
        {"image": np.zeros((2, 3, 32, 32), np.float32)}
    )
    assert found.divergence is None
    assert found.logit_spread == 0.0


def test_a_half_precision_graph_is_probed_too():
    images = np.random.default_rng(0).random((3, 3, 16, 16), np.float32)
    found = UnitsProbe(small_graph(half=True)).evidence({"rgb": images})
    assert found.divergence is None and found.first_spread > 0
    assert found.first_range == pytest.approx((0.0, 1.0), abs=0.01)


def test_the_spread_of_logits_is_that_of_the_widest_pair():
    rows = np.array([[0.0, 1.0, 5.0], [0.0, 1.0, 9.0]])
    assert logit_spread(rows) == 2.0
    assert logit_spread(np.array([[1.0], [3.0]])) == 1.0
