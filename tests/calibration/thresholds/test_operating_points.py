"""Operating points: thresholds within every species' bound, or the shortage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk.capture import Modality
from fasdk.decision import OperatingPoint
from fasdk.errors import DatasetError
from fasdk_calibration.metrics import Scores, apcer_by_species, binomial_upper, bpcer
from fasdk_calibration.thresholds.levels import (
    DEFAULT_TARGETS,
    LevelTarget,
    Refusal,
    Shortage,
)
from fasdk_calibration.thresholds.operating_points import TunedPoint, tune_level
from fasdk_calibration.thresholds.provisional import provisional_point
from fasdk_calibration.thresholds.sample_size import attacks_allowed, attacks_needed

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


def test_among_close_scores_the_threshold_lies_clear_of_the_attacks():
    log_odds = np.array([0.0, 0.01, 0.02, 0.20])  # the widest gap within a quarter is from 0.02 on
    attacks = 1.0 / (1.0 + np.exp(-np.concatenate([np.full(66, -3.0), log_odds])))
    crowd = 1.0 / (1.0 + np.exp(-np.linspace(-1.0, 4.0, 200)))
    point = choose(list(crowd), list(attacks))
    threshold = np.log(point.threshold) - np.log1p(-point.threshold)
    assert threshold == pytest.approx(0.11, abs=1e-9)
    accepted = (attacks > point.threshold).sum()
    assert accepted <= 0.05 * attacks.size
    # What it costs lies within the band: no bona fide capture beyond it is refused.
    assert (crowd[crowd > 1.0 / (1.0 + np.exp(-0.25))] > point.threshold).all()


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


def presentations(live, **attacks) -> Scores:
    """Return bona fide scores, then those of each species."""
    species = ["bona fide"] * len(live)
    values = list(live)
    for name, scores in attacks.items():
        species += [name] * len(scores)
        values += list(scores)
    names = tuple(f"p{n}" for n in range(len(values)))
    return Scores(
        values=np.array(values, np.float64),
        is_bona_fide=np.array([name == "bona fide" for name in species]),
        species=tuple(species),
        presentation=names,
        subject=names,
        domain=("lab",) * len(values),
    )


def tune(scores: Scores, max_apcer: float, level: str = "strict") -> TunedPoint | Refusal:
    return tune_level(
        scores,
        LevelTarget(level, max_apcer),
        ALL,
        source="two subjects",
        graph_sha256=GRAPH,
        calibrated=True,
    )


@pytest.mark.parametrize(
    ("max_apcer", "needed"),
    [(0.20, 14), (0.10, 29), (0.05, 59), (0.01, 299), (0.001, 2995), (0.96, 1), (1e-6, 2_995_731)],
)
def test_so_many_attacks_show_a_bound_and_one_fewer_does_not(max_apcer, needed):
    assert attacks_needed(max_apcer) == needed
    assert attacks_allowed(needed, max_apcer) == 0
    assert attacks_allowed(needed - 1, max_apcer) is None


def test_none_of_sixty_still_allows_nearly_five_per_cent():
    assert attacks_allowed(60, 0.0488) == 0
    assert attacks_allowed(60, 0.0487) is None
    assert attacks_allowed(0, 0.99) is None


@given(st.integers(1, 400), st.floats(1e-3, 0.999))
def test_the_most_attacks_that_keep_the_bound_are_allowed(attempts, max_apcer):
    allowed = attacks_allowed(attempts, max_apcer)
    if allowed is None:
        assert binomial_upper(0, attempts) > max_apcer
    else:
        assert binomial_upper(allowed, attempts) <= max_apcer
        assert binomial_upper(allowed + 1, attempts) > max_apcer


def test_the_defaults_are_stricter_one_by_one():
    assert [(t.level, t.max_apcer) for t in DEFAULT_TARGETS] == [
        ("convenience", 0.10),
        ("standard", 0.05),
        ("strict", 0.01),
    ]


@pytest.mark.parametrize(
    ("level", "max_apcer", "words"),
    [
        ("", 0.1, "level ''"),
        ("Strict", 0.1, "lower case"),
        ("strict/rgb", 0.1, "lower case"),
        ("strict", 0.0, r"not in \[1e-06, 1\)"),
        ("strict", 1.0, "not in"),
        ("strict", -0.1, "not in"),
        ("strict", 1e-7, "not in"),
        ("strict", float("nan"), "not in"),
    ],
)
def test_level_target_refuses_bad_names_and_bounds(level, max_apcer, words):
    with pytest.raises(DatasetError, match=words):
        LevelTarget(level, max_apcer)


def test_the_species_that_needs_it_sets_the_threshold_for_all():
    prints, masks = [0.1] * 60 + [0.5, 0.4], [0.2] * 93 + [0.9, 0.8, 0.6]
    live = [0.3, 0.45, 0.55, 0.62, 0.85, 0.95]
    # 62 prints may pass none at 5 %, 96 masks one: so nothing up to 0.5, and of the masks 0.9 only.
    found = tune(presentations(live, print=prints, mask=masks), 0.05)
    assert isinstance(found, TunedPoint)
    assert found.point.threshold == pytest.approx(0.825)
    assert {name: (r.errors, r.total) for name, r in found.apcer.items()} == {
        "mask": (1, 96),
        "print": (0, 62),
    }
    assert (found.bpcer.errors, found.bpcer.total) == (4, 6)
    assert found.worst_species == "mask"
    assert found.point.apcer_upper == binomial_upper(1, 96) <= 0.05
    assert found.point.id == "strict/rgb+depth+ir"
    assert found.point.calibrated
    assert found.point.graph_sha256 == GRAPH
    assert found.point.source == "two subjects; bound 0.05; APCER mask 1/96, print 0/62, BPCER 4/6"


def test_a_mask_more_at_the_top_moves_the_threshold_and_one_at_the_bottom_does_not():
    live, masks = [0.3, 0.7, 0.85, 0.95], [0.2] * 93 + [0.9, 0.8, 0.6]
    one = tune(presentations(live, mask=masks), 0.05)
    lower = tune(presentations(live, mask=[*masks, 0.01]), 0.05)
    higher = tune(presentations(live, mask=[*masks, 0.91]), 0.05)
    assert [t.point.threshold for t in (one, lower, higher)] == pytest.approx([0.825, 0.825, 0.905])


def test_too_few_attacks_are_refused_with_how_many_more_of_which_species():
    scores = presentations([0.9] * 50, print=[0.1] * 60, mask=[0.1] * 58, replay=[0.2] * 299)
    assert isinstance(tune(scores, 0.10), TunedPoint)
    standard, strict = tune(scores, 0.05, "standard"), tune(scores, 0.01)
    assert isinstance(standard, Refusal)
    assert standard.shortages == (Shortage("mask", 58, 1),)
    assert standard.reason == "needs 59 presentations of every species; has 58 of mask"
    assert isinstance(strict, Refusal)
    assert strict.shortages == (Shortage("mask", 58, 241), Shortage("print", 60, 239))
    assert strict.id == "strict/rgb+depth+ir"
    enough = presentations([0.9] * 50, print=[0.1] * 299, mask=[0.1] * 299, replay=[0.2] * 299)
    assert isinstance(tune(enough, 0.01), TunedPoint)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (presentations([0.9, 0.8]), "no attack presentation: add some, at least 59 of each"),
        (presentations([], mask=[0.1] * 80), "no bona fide presentation: add some"),
        (
            presentations([0.5, 0.2], mask=[0.5] * 80, print=[0.1] * 80),
            "no bona fide presentation scores above 0.5000, which the attacks of mask ask for",
        ),
        (presentations([0.5] * 80, mask=[0.5] * 80), "no bona fide presentation scores above"),
        (presentations([1.0] * 80, mask=[1.0] * 80), "no bona fide presentation scores above"),
    ],
)
def test_a_level_nothing_can_support_is_refused_with_the_reason(scores, words):
    found = tune(scores, 0.05)
    assert isinstance(found, Refusal)
    assert found.reason.startswith(words)
    assert found.shortages == ()


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(DatasetError, match="1 of 81 scores are not numbers in"):
        tune(presentations([7.0], mask=[0.5] * 80), 0.05)


SCORES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5).flatmap(
    lambda some: st.lists(st.sampled_from(some) | st.floats(0.0, 1.0), min_size=1, max_size=120)
)


@given(SCORES, SCORES, SCORES, st.floats(0.02, 0.9))
def test_a_point_keeps_its_bound_and_no_lower_threshold_would(live, prints, masks, max_apcer):
    scores = presentations(live, print=prints, mask=masks)
    found = tune(scores, max_apcer)
    if isinstance(found, Refusal):
        return
    assert found.point.apcer_upper <= max_apcer
    accepted = (np.array(live) > found.point.threshold).sum()
    assert accepted > 0
    for lower in (s for s in scores.values if s < found.point.threshold):
        apcer = apcer_by_species(scores.values, scores.is_bona_fide, scores.species, lower)
        refused = bpcer(scores.values, scores.is_bona_fide, lower)
        assert (
            max(rate.upper() for rate in apcer.values()) > max_apcer
            or refused.errors == found.bpcer.errors
        )


def test_a_stricter_bound_never_lowers_the_threshold():
    rng = np.random.default_rng(6)
    scores = presentations(rng.beta(4, 2, 300), print=rng.beta(2, 4, 400), mask=rng.beta(2, 3, 350))
    found = [tune(scores, bound) for bound in (0.3, 0.2, 0.1, 0.05, 0.02, 0.01)]
    thresholds = [each.point.threshold for each in found]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < thresholds[-1]


@pytest.mark.parametrize(("attempts", "max_apcer"), [(59, 0.05), (100, 0.10), (160, 0.05)])
def test_the_bound_holds_for_new_attacks_though_the_same_ones_chose_the_threshold(
    attempts, max_apcer
):
    """Scores uniform in [0, 1]: the true APCER of a threshold is 1 - threshold."""
    rng = np.random.default_rng(attempts)
    live = np.linspace(0.0, 1.0, 401)  # so the gap a threshold is put in adds next to nothing
    points = [
        tune(presentations(live, mask=scores), max_apcer).point
        for scores in rng.random((600, attempts))
    ]
    bound = binomial_upper(attacks_allowed(attempts, max_apcer), attempts)
    held = np.mean([1 - point.threshold <= bound for point in points])
    assert held == pytest.approx(0.95, abs=0.03)  # 600 trials wander by 0.009
