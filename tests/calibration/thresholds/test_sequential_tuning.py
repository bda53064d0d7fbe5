"""Tuning of sequential tests: bounds on whole presentations, or refusal."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.sequential import ScoredFrame, SequentialRun, Step
from fasdk_calibration.metrics import Scores
from fasdk_calibration.thresholds.levels import LevelTarget, Refusal
from fasdk_calibration.thresholds.sequential_tuning import TunedTest, has_several_frames, tune_test

ALL = tuple(Modality)
GRAPH = "0" * 64
STANDARD, CONVENIENCE = LevelTarget("standard", 0.05), LevelTarget("convenience", 0.10)


def log_odds_of(rng, mean: float, count: int, frames: int, correlation: float, spread=1.5):
    """Return [count, frames] equally correlated Gaussians."""
    shared = rng.normal(0.0, np.sqrt(correlation), (count, 1))
    own = rng.normal(0.0, np.sqrt(1.0 - correlation), (count, frames))
    return mean + spread * (shared + own)


def scores_of(parts: dict[str, list]) -> Scores:
    """Return frames of presentations; `parts` maps a species to sequences of log-odds."""
    values, species, names = [], [], []
    for name, presentations in parts.items():
        for number, sequence in enumerate(presentations):
            values += list(sequence)
            species += [name] * len(sequence)
            names += [f"{name} {number}"] * len(sequence)
    return Scores(
        values=1.0 / (1.0 + np.exp(-np.array(values, np.float64))),
        is_bona_fide=np.array([name == "bona fide" for name in species]),
        species=tuple(species),
        presentation=tuple(names),
        subject=tuple(names),
        domain=("lab",) * len(names),
    )


def parts(seed=0, attacks=62, bona_fide=80, frames=6, correlation=0.5) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {
        "bona fide": list(log_odds_of(rng, 2.0, bona_fide, frames, correlation)),
        "print": list(log_odds_of(rng, -2.0, attacks, frames, correlation)),
        "mask": list(log_odds_of(rng, -1.0, attacks, frames, correlation)),
    }


def tuned(found: dict[str, list], target=STANDARD) -> TunedTest | Refusal:
    return tune_test(
        scores_of(found), target, ALL, max_ms=4000.0, source="a list", graph_sha256=GRAPH
    )


def verdicts(test, sequences) -> list[Step]:
    """Run the device's test on each presentation."""
    ended = []
    for sequence in sequences:
        run, step = SequentialRun(test), Step.UNDECIDED
        for value in sequence:
            step = run.add(ScoredFrame(float(1.0 / (1.0 + np.exp(-value))), False, 0.0))
            if step is not Step.UNDECIDED:
                break
        ended.append(step)
    return ended


def test_every_species_keeps_to_the_bound_by_the_devices_own_count():
    found = parts()
    result = tuned(found)
    test = result.test
    assert (test.level, test.modalities, test.max_frames) == ("standard", ALL, 6)
    assert (test.max_ms, test.graph_sha256) == (4000.0, GRAPH)
    assert test.live_bound > 0.0 > test.spoof_bound
    for species in ("print", "mask"):
        live = sum(step is Step.LIVE for step in verdicts(test, found[species]))
        assert result.apcer[species].errors == live
        assert result.apcer[species].upper() <= 0.05
    refused = [step is not Step.LIVE for step in verdicts(test, found["bona fide"])]
    assert (result.bpcer.errors, result.bpcer.total) == (sum(refused), 80)
    assert test.apcer_upper == result.apcer[result.worst_species].upper()
    assert 1.0 <= result.mean_frames_bona_fide < 6.0
    assert test.source == (
        "a list; 204 presentations of 6 frames, bound 0.05; "
        f"APCER mask 0/62, print 0/62, BPCER {result.bpcer.errors}/80"
    )


def test_tuned_live_bound_is_the_lowest_that_holds_the_target():
    """Below the chosen bound one attack more is LIVE, or no bona fide presentation is gained."""
    found = parts(seed=3, attacks=120)
    result = tuned(found)
    allowed = {name: rate.errors for name, rate in result.apcer.items()}
    lower = result.test.model_copy(update={"live_bound": result.test.live_bound - 0.3})
    more = {
        name: sum(step is Step.LIVE for step in verdicts(lower, found[name])) for name in allowed
    }
    assert any(more[name] > allowed[name] for name in allowed)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_correlation_is_that_of_bona_fide_frames(correlation):
    result = tuned(parts(bona_fide=600, correlation=correlation))
    assert result.test.evidence.correlation == pytest.approx(correlation, abs=0.06)


def test_frames_that_say_the_same_count_as_one():
    found = {name: [[s[0]] * 6 for s in those] for name, those in parts().items()}
    result = tuned(found)
    assert result.test.evidence.correlation == 1.0
    first = [s[:1] for s in found["bona fide"]]
    live = [step is Step.LIVE for step in verdicts(result.test, found["bona fide"])]
    assert any(live)
    assert live == [step is Step.LIVE for step in verdicts(result.test, first)]


def test_attacks_shape_nothing_but_the_upper_bound():
    found = parts()
    other = found | {"mask": [[value - 1.0 for value in s] for s in found["mask"]]}
    one, two = tuned(found).test, tuned(other).test
    assert one.live_bound > two.live_bound
    assert (one.evidence, one.spoof_bound, one.max_frames) == (
        two.evidence,
        two.spoof_bound,
        two.max_frames,
    )


def test_classes_far_apart_still_ask_for_evidence():
    found = parts()
    apart = {
        n: [[v + (20 if n == "bona fide" else -20) for v in s] for s in found[n]] for n in found
    }
    result = tuned(apart)
    assert result.test.live_bound > 0.0
    assert (result.bpcer.errors, result.mean_frames_bona_fide) == (0, 1.0)
    silent = {n: [[-20.0 - abs(v) for v in s] for s in found[n]] for n in found}
    silent["bona fide"] = [[-1.0 - abs(v) for v in s] for s in found["bona fide"]]
    assert "no bona fide presentation scores above 0.0000" in tuned(silent).reason


def test_too_few_presentations_are_refused_with_how_many_more():
    result = tuned(parts(attacks=58))
    assert isinstance(result, Refusal)
    assert result.reason == "needs 59 presentations with 6 frames of every species, has 58"
    assert [(s.species, s.more) for s in result.shortages] == [("mask", 1), ("print", 1)]
    # Frames do not count: 58 presentations of six are not 348.
    assert isinstance(tuned(parts(attacks=58, frames=12)), Refusal)


def test_single_frames_give_no_test():
    single = {name: [s[:1] for s in those] for name, those in parts().items()}
    assert not has_several_frames(scores_of(single))
    assert "no presentation has more than one frame" in tuned(single).reason
    assert has_several_frames(scores_of(parts()))


def test_a_species_of_single_frames_alone_is_not_passed_over():
    found = parts(attacks=62)
    found["replay"] = [s[:1] for s in found["mask"]]
    result = tuned(found)
    assert isinstance(result, Refusal)
    assert [(s.species, s.attempts, s.more) for s in result.shortages] == [("replay", 0, 59)]


def test_sequential_tuning_refuses_one_bona_fide_presentation():
    assert "1 bona fide presentations with 6 frames" in tuned(parts(bona_fide=1)).reason


def test_presentations_shorter_than_the_limit_are_left_out_not_counted_as_refused_attacks():
    found = parts(attacks=80)
    found["mask"] = [s[:3] if n < 10 else s for n, s in enumerate(found["mask"])]
    result = tuned(found)
    assert (result.test.max_frames, result.left_out) == (6, 10)
    assert result.apcer["mask"].total == 70
    # With more than one in ten short, the limit gives way.
    found["print"] = [s[:4] if n < 30 else s for n, s in enumerate(found["print"])]
    assert tuned(found).test.max_frames == 4
    assert tuned(parts(frames=30)).test.max_frames == 16


def test_sequential_tuning_refuses_scores_that_are_no_probabilities():
    scores = scores_of(parts())
    values = scores.values.copy()
    values[3] = 1.5
    bad = Scores(
        values,
        scores.is_bona_fide,
        scores.species,
        scores.presentation,
        scores.subject,
        scores.domain,
    )
    with pytest.raises(DatasetError, match=r"1 of .* scores are not numbers"):
        tune_test(bad, STANDARD, ALL, max_ms=1.0, source="", graph_sha256=GRAPH)


def test_the_bound_holds_on_presentations_nobody_tuned_on():
    """Of many tunings at most one in twenty may promise less than the population's APCER.

    The statistic's rank decides which attacks pass, so the share follows Wilks' law whatever the
    model; the allowance of three standard deviations is that of 120 repetitions.
    """
    rng = np.random.default_rng(11)
    population = log_odds_of(rng, -1.0, 3000, 5, 0.6)
    broken = repetitions = 0
    for seed in range(120):
        drawn = np.random.default_rng(1000 + seed)
        found = {
            "bona fide": list(log_odds_of(drawn, 2.0, 40, 5, 0.6)),
            "mask": list(population[drawn.choice(3000, 29, replace=False)]),
        }
        result = tuned(found, CONVENIENCE)
        assert isinstance(result, TunedTest)
        repetitions += 1
        share = _share_live(result.test, population)
        broken += share > 0.10
    assert broken / repetitions <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repetitions)


def _share_live(test, values) -> float:
    """Return how many presentations end LIVE, all at once; held against the device's run below."""
    most = test.evidence.most_per_frame
    count = np.arange(1, values.shape[1] + 1)
    weights = 1.0 + (count - 1) * test.evidence.correlation
    ratios = np.cumsum(np.clip(values, -most, most), axis=1) / weights
    spoof = np.cumsum(ratios <= test.spoof_bound, axis=1) > 0
    return float(((ratios > test.live_bound) & ~spoof).any(axis=1).mean())


def test_counting_all_at_once_is_what_the_device_does():
    found = parts(seed=5)
    test = tuned(found).test
    for sequences in found.values():
        live = np.mean([step is Step.LIVE for step in verdicts(test, sequences)])
        assert _share_live(test, np.array(sequences)) == live
