from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.decision import OperatingPoint
from fasdk.errors import DatasetError
from fasdk_calibration.metrics import apcer_by_species, bpcer
from fasdk_calibration.operating_points import provisional_point

ALL = tuple(Modality)
GRAPH = "0" * 64


def choose(
    live: list[float], attack: list[float], species: list[str] | None = None
) -> OperatingPoint:
    return provisional_point(
        np.array(live + attack),
        np.arange(len(live) + len(attack)) < len(live),
        ["bona fide"] * len(live) + (species or ["print"] * len(attack)),
        ALL,
        source="two subjects",
        graph_sha256=GRAPH,
    )


@pytest.mark.parametrize(
    ("live", "attack", "threshold"),
    [
        ([0.8, 0.9], [0.1, 0.4], 0.6),
        ([0.3, 0.9], [0.1, 0.5], 0.7),  # the attack at 0.5 costs the bona fide one at 0.3
        ([0.5, 0.9], [0.5], 0.7),  # a score at the threshold is not live
        ([1.0], [np.nextafter(1.0, 0.0)], np.nextafter(1.0, 0.0)),  # no float between them
    ],
)
def test_with_few_attacks_the_threshold_lies_midway_above_them_all(live, attack, threshold):
    point = choose(live, attack)
    assert point.threshold == pytest.approx(threshold, abs=1e-15)
    assert not (np.array(attack) > point.threshold).any()
    assert (np.array(live) > point.threshold).any()


def test_the_bound_is_the_worst_species_and_the_source_tells_the_counts():
    point = choose([0.9, 0.2], [0.1] * 70 + [0.3] * 60, ["print"] * 70 + ["mask"] * 60)
    assert point.apcer_upper == pytest.approx(0.0487, abs=5e-5)
    assert point.id == "standard/rgb+depth+ir"
    assert point.source.startswith("two subjects; ")
    assert point.source.endswith("APCER mask 0/60, print 0/70, BPCER 1/2")


@pytest.mark.parametrize(
    ("max_apcer", "threshold", "errors"),
    [
        (0.0, 0.95, (0, 0, 3)),
        (0.3, 0.75, (0, 1, 2)),  # a third of two prints is none, of four masks one
        (0.5, 0.45, (1, 2, 0)),
    ],
)
def test_every_species_keeps_its_own_share(max_apcer, threshold, errors):
    live, prints, masks = [0.5, 0.6, 0.8, 1.0], [0.1, 0.7], [0.2, 0.4, 0.55, 0.9]
    scores = np.array(live + prints + masks)
    labels = np.arange(10) < 4
    species = ["bona fide"] * 4 + ["print"] * 2 + ["mask"] * 4
    point = provisional_point(
        scores, labels, species, ALL, source="x", graph_sha256=GRAPH, max_apcer=max_apcer
    )
    assert point.threshold == pytest.approx(threshold)
    apcer = apcer_by_species(scores, labels, species, point.threshold)
    missed = bpcer(scores, labels, point.threshold)
    assert (apcer["print"].errors, apcer["mask"].errors, missed.errors) == errors
    assert point.apcer_upper == max(rate.upper() for rate in apcer.values())


@pytest.mark.parametrize("max_apcer", [-0.1, 1.0, np.nan])
def test_a_share_of_attacks_outside_its_range_is_refused(max_apcer):
    with pytest.raises(DatasetError, match="max_apcer"):
        provisional_point(
            np.array([0.1, 0.9]),
            np.array([False, True]),
            ["print", "bona fide"],
            ALL,
            source="x",
            graph_sha256=GRAPH,
            max_apcer=max_apcer,
        )


@pytest.mark.parametrize(
    ("live", "attack", "message"),
    [
        ([0.9], [], "no attack"),
        ([], [0.1], "no bona fide"),
        ([0.9, np.nan], [0.1], "1 of 3 scores"),
        ([1.5], [-0.5], "2 of 2 scores"),
        ([0.5], [0.5], "no bona fide capture scores above"),
    ],
)
def test_scores_that_give_no_threshold_are_refused(live, attack, message):
    with pytest.raises(DatasetError, match=message):
        choose(live, attack)
