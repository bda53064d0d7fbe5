"""Error rates of scored captures, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.error_rates import (
    NamedThreshold,
    ThresholdKind,
    Unit,
    compute_error_rates,
    development_threshold,
)
from fasdk_calibration.metrics import Scores, auc, binomial_interval, bootstrap_intervals, fuse

BONA_FIDE = "bona fide"


def scores(rows, responded=None) -> Scores:
    """Return scores of (value, species, presentation, subject, domain); shorter rows fill in."""
    full = []
    for number, row in enumerate(rows):
        filled = (*row, *(f"{number}", f"person-{number}", "lab")[len(row) - 2 :])
        full.append(filled)
    values, species, presentation, subject, domain = zip(*full, strict=True)
    values = np.array(values, np.float64)
    return Scores(
        values=values,
        is_bona_fide=np.array([name == BONA_FIDE for name in species]),
        species=species,
        presentation=presentation,
        subject=subject,
        domain=domain,
        responded=~np.isnan(values),
    )


def at(value: float, claimed: float | None = None) -> NamedThreshold:
    return NamedThreshold("standard", ThresholdKind.OPERATING_POINT, value, "elsewhere", claimed)


MIXED = [
    (0.9, BONA_FIDE),
    (0.8, BONA_FIDE),
    (0.5, BONA_FIDE),  # on the threshold: refused
    (0.2, BONA_FIDE),
    (0.6, "print"),  # accepted
    (0.1, "print"),
    (0.5, "mask"),  # on the threshold: not accepted
    (0.05, "mask"),
]


def test_every_rate_is_counted_by_species_with_exact_bounds():
    found = compute_error_rates(scores(MIXED), [at(0.5)])
    (point,) = found.thresholds
    overall, fused = point.overall, scores(MIXED)
    assert [(r.species, r.errors, r.attempts, r.rate) for r in overall.apcer] == [
        ("mask", 0, 2, 0.0),
        ("print", 1, 2, 0.5),
    ]
    bounds = binomial_interval(1, 2)
    assert (overall.apcer[1].lower, overall.apcer[1].upper) == (bounds.lower, bounds.upper)
    assert (overall.worst_species, overall.worst_apcer.rate) == ("print", 0.5)
    assert (overall.bpcer.errors, overall.bpcer.attempts) == (2, 4)
    assert (overall.attacks_accepted.errors, overall.attacks_accepted.attempts) == (1, 4)
    assert overall.acer == (0.5 + 0.5) / 2
    assert overall.hter.value == (0.25 + 0.5) / 2
    bounds = bootstrap_intervals(fused.values, fused.is_bona_fide, fused.subject, point.threshold)
    assert (overall.hter.lower, overall.hter.upper) == (bounds.hter.lower, bounds.hter.upper)
    assert (found.separation.auc.lower, found.separation.auc.upper) == (
        bounds.auc.lower,
        bounds.auc.upper,
    )
    assert found.separation.hter_at_eer.upper == bounds.hter_at_eer.upper
    assert (found.bona_fide, found.attacks, found.subjects) == (4, 4, 8)


def test_the_unit_is_the_presentation_not_the_frame():
    frames = [
        (0.9, BONA_FIDE, "walk-by", "ann"),
        (0.2, BONA_FIDE, "walk-by", "ann"),
        (0.9, "print", "held-up", "bob"),
        (0.2, "print", "held-up", "bob"),
        (0.2, "print", "again", "bob"),
    ]
    found = compute_error_rates(scores(frames), [at(0.5)])
    assert (found.captures, found.presentations) == (5, 3)
    overall = found.thresholds[0].overall
    assert (overall.apcer[0].errors, overall.apcer[0].attempts) == (1, 2)  # means 0.55 and 0.2
    assert overall.bpcer.attempts == 1
    assert overall.bpcer.errors == 0


def test_a_non_response_counts_in_apnrr_and_bpnrr_and_nowhere_else():
    rows = [*MIXED, (float("nan"), "mask"), (float("nan"), BONA_FIDE)]
    found = compute_error_rates(scores(rows), [at(0.5)])
    assert found.thresholds == compute_error_rates(scores(MIXED), [at(0.5)]).thresholds
    assert found.separation == compute_error_rates(scores(MIXED), []).separation
    silent = found.non_responses
    assert silent.frames == 2
    assert [(r.species, r.errors, r.attempts) for r in silent.apnrr] == [
        ("mask", 1, 3),
        ("print", 0, 2),
    ]
    assert (silent.bpnrr.errors, silent.bpnrr.attempts) == (1, 5)


@pytest.mark.parametrize(
    ("rows", "said", "apcer", "refused"),
    [
        ([(0.9, BONA_FIDE), (0.1, BONA_FIDE)], "no attack", 0, (1, 2)),
        ([(0.9, "print"), (0.1, "print")], "no bona fide", 1, None),
        ([(float("nan"), "print")], "no presentation got a score", None, None),
    ],
)
def test_error_rates_of_one_class_alone_lack_the_figures_of_both(rows, said, apcer, refused):
    found = compute_error_rates(scores(rows), [at(0.5)])
    assert found.separation is None
    assert said in found.separation_note
    if apcer is None:
        assert found.thresholds == ()
        assert sum(found.histogram.bona_fide) + sum(found.histogram.attacks) == 0
        return
    overall = found.thresholds[0].overall
    assert len(overall.apcer) == apcer
    counted = overall.bpcer and (overall.bpcer.errors, overall.bpcer.attempts)
    assert counted == refused
    assert overall.acer is None
    assert overall.hter is None


@pytest.mark.parametrize(("accepted", "contradicted"), [(0, False), (3, False), (9, True)])
def test_a_claimed_bound_is_contradicted_only_by_a_rate_that_lies_above_it(accepted, contradicted):
    rows = [(0.9 if i < accepted else 0.1, "print") for i in range(30)] + [(0.9, BONA_FIDE)] * 2
    found = compute_error_rates(scores(rows), [at(0.5, claimed=0.1)])
    assert found.thresholds[0].is_contradicted is contradicted


def test_each_threshold_has_bounds_of_its_own():
    rng = np.random.default_rng(5)
    rows = [(v, BONA_FIDE) for v in rng.uniform(0.3, 1, 40)]
    rows += [(v, "print") for v in rng.uniform(0, 0.7, 40)]
    low, high = compute_error_rates(scores(rows), [at(0.35), at(0.6)]).thresholds
    (alone,) = compute_error_rates(scores(rows), [at(0.6)]).thresholds
    assert high.overall == alone.overall
    assert low.overall.hter != high.overall.hter


def test_every_domain_has_its_own_rates():
    rows = [
        (0.9, BONA_FIDE, "a", "ann", "door"),
        (0.1, "print", "b", "bob", "door"),
        (0.9, "print", "c", "cas", "kiosk"),
    ]
    found = compute_error_rates(scores(rows), [at(0.5)])
    door, kiosk = found.domains
    assert (door.domain, door.auc, door.bona_fide, door.attacks) == ("door", 1.0, 1, 1)
    assert (kiosk.domain, kiosk.auc, kiosk.eer) == ("kiosk", None, None)
    by_domain = {d.domain: d.decisions for d in found.thresholds[0].domains}
    assert by_domain["door"].worst_apcer.errors == 0
    assert by_domain["kiosk"].worst_apcer.errors == 1
    assert by_domain["kiosk"].bpcer is None


def test_a_thinned_curve_keeps_its_ends_and_its_area():
    rng = np.random.default_rng(3)
    live = 1 / (1 + np.exp(-rng.normal(1, 1, 1500)))
    attack = 1 / (1 + np.exp(-rng.normal(-1, 1, 1500)))
    rows = [(v, BONA_FIDE) for v in live] + [(v, "print") for v in attack]
    given = scores(rows)
    found = compute_error_rates(given, []).separation
    accepted, refused = np.array(found.curve.accepted), np.array(found.curve.refused)
    assert len(accepted) <= 400
    assert (accepted[0], refused[0], accepted[-1], refused[-1]) == (1, 0, 0, 1)
    assert (np.diff(accepted) <= 0).all()
    assert (np.diff(refused) >= 0).all()
    area = np.trapezoid((1 - refused)[::-1], accepted[::-1])
    exact = auc(given.values, given.is_bona_fide)
    assert found.auc.value == exact
    assert area == pytest.approx(exact, abs=2e-3)


def test_a_short_curve_is_kept_whole_where_it_turns():
    found = compute_error_rates(scores(MIXED), []).separation.curve
    assert list(zip(found.accepted, found.refused, strict=True)) == [
        (1, 0),
        (0.5, 0),
        (0.5, 0.25),
        (0.25, 0.5),
        (0, 0.5),
        (0, 1),
    ]


def test_a_histogram_holds_every_presentation_saturated_ones_at_its_ends():
    rows = [(0.0, "print"), (1e-300, "print"), (0.5, "print"), (1.0, BONA_FIDE), (0.5, BONA_FIDE)]
    found = compute_error_rates(scores(rows), []).histogram
    middle = len(found.attacks) // 2
    assert (found.attacks[0], found.attacks[middle], sum(found.attacks)) == (2, 1, 3)
    assert (found.bona_fide[-1], found.bona_fide[middle], sum(found.bona_fide)) == (1, 1, 2)


@pytest.mark.parametrize(
    ("largest", "limit"), [(0.9, 3.0), (0.99, 5.0), (0.9999, 10.0), (1.0, 10.0)]
)
def test_a_histogram_is_as_narrow_as_its_scores_allow(largest, limit):
    rows = [(0.3, "print")] * 5 + [(largest, BONA_FIDE)] * 5
    assert compute_error_rates(scores(rows), []).histogram.limit == limit


def test_a_development_threshold_is_where_fused_error_rates_meet():
    rows = [
        (0.9, BONA_FIDE, "a", "ann"),
        (0.5, BONA_FIDE, "a", "ann"),
        (0.6, BONA_FIDE, "b", "bob"),
        (0.4, "print", "c", "cas"),
        (float("nan"), "print", "d", "dan"),
    ]
    given = scores(rows)
    found = development_threshold(given, "five captures")
    assert found.kind is ThresholdKind.DEVELOPMENT
    assert found.value == pytest.approx((0.4 + 0.6) / 2)
    judged = fuse(given)
    assert (judged.values[:2] > found.value).all()


def test_a_development_list_of_one_class_has_no_threshold():
    with pytest.raises(DatasetError, match="attack"):
        development_threshold(scores([(0.9, BONA_FIDE)]), "one capture")


def test_rows_are_counted_one_by_one_as_published_code_counts_them():
    """Two frames of one presentation, one on either side of the threshold."""
    rows = [
        (0.9, BONA_FIDE, "a", "one"),
        (0.7, BONA_FIDE, "b", "two"),
        (0.8, "print", "c", "three"),
        (0.1, "print", "c", "three"),
        (0.2, "print", "d", "four"),
    ]
    fused = compute_error_rates(scores(rows), [at(0.6)])
    single = compute_error_rates(scores(rows), [at(0.6)], "row")
    assert (fused.captures, fused.presentations, fused.bona_fide, fused.attacks) == (5, 4, 2, 2)
    assert (single.captures, single.presentations, single.bona_fide, single.attacks) == (5, 4, 2, 3)
    assert fused.thresholds[0].overall.attacks_accepted.errors == 0  # 0.45, the mean, is below
    assert single.thresholds[0].overall.attacks_accepted.errors == 1
    assert fused.separation.auc.value == 1.0
    assert single.separation.auc.value == pytest.approx(5 / 6)
    by_row = development_threshold(scores(rows), "five rows", Unit.ROW)
    assert by_row.value != development_threshold(scores(rows), "five rows").value
