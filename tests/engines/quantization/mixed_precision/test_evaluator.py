"""Budget evaluator: each capture once, nearest to the threshold first, until a limit is missed."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Capture, Modality
from fasdk.decision import OperatingPoint
from fasdk.preprocess import PreprocessSpec
from fasdk_calibration.datasets import CaptureRecord, Label
from fasdk_engines.graph.captures import DevelopmentSet
from fasdk_engines.quantization import ExclusionReason, Layer
from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
from fasdk_engines.quantization.mixed_precision.evaluator import BudgetEvaluator
from fasdk_engines.quantization.mixed_precision.sensitivity import measure_sensitivity
from fasdk_engines.quantization.work_folder import WorkFolder

from support.progress import RecordedProgress

RGB = (Modality.RGB,)
COUNT = 20
SMALL = ExclusionReason.TOO_SMALL


@pytest.fixture
def section(tmp_path):
    return WorkFolder(tmp_path / "out.fasb").section("test")


def number_of(batch) -> np.ndarray:
    """A capture's number, which is the value of all its pixels."""
    return batch["rgb"][:, 0, 0, 0].round().astype(int)


ODDS = np.linspace(-5, 5, COUNT).astype(np.float32) + 0.1  # none on the threshold


def logits(odds) -> np.ndarray:
    return np.stack([np.zeros(len(odds)), odds], axis=1).astype(np.float32)


def make_evaluator(limits=None) -> BudgetEvaluator:
    captures = tuple(Capture(rgb=np.full((8, 8, 3), k, np.uint8)) for k in range(COUNT))
    records = tuple(
        CaptureRecord(
            id=f"c{k}",
            rgb="x.png",
            label=Label.BONA_FIDE if ODDS[k] > 0 else Label.ATTACK,
            species="bona fide" if ODDS[k] > 0 else "print",
            subject=f"s{k}",
            domain="door",
            presentation=f"p{k}",
        )
        for k in range(COUNT)
    )
    spec = PreprocessSpec(
        width=8, height=8, crop="frame", mean=(0.0,) * 3, std=(1.0,) * 3, missing_value=0.0
    )
    point = OperatingPoint(
        level="standard",
        modalities=RGB,
        threshold=0.5,
        source="test",
        apcer_upper=1.0,
        graph_sha256="0" * 64,
    )
    return BudgetEvaluator(
        DevelopmentSet("dev.jsonl", records, captures),
        logits(ODDS),
        [point],
        specs={Modality.RGB: spec},
        presence=None,
        live_index=1,
        modalities=RGB,
        limits=limits or BudgetLimits(),
    )


class Candidate:
    """Runner that returns the reference's log-odds plus `drift` and records the captures it ran."""

    def __init__(self, drift=0.0, fails_after=COUNT + 1) -> None:
        self.drift, self.fails_after = drift, fails_after
        self.evaluated: list[int] = []

    def open(self):
        return self

    def __call__(self, batch):
        numbers = number_of(batch)
        if len(self.evaluated) + len(numbers) > self.fails_after:
            raise KeyboardInterrupt
        self.evaluated += list(numbers)
        return logits(ODDS[numbers] + self.drift)


def evaluate(evaluator, candidate, section, **options):
    return evaluator.evaluate(
        candidate.open, section, "trial", progress=RecordedProgress(), **options
    )


def test_the_float_graph_itself_holds_and_every_row_is_in_list_order(section):
    evaluator, candidate = make_evaluator(), Candidate()
    found = evaluate(evaluator, candidate, section)
    assert found.holds
    assert (found.expected_flips, found.mean_drift) == (0.0, 0.0)
    assert np.array_equal(found.logits, logits(ODDS))
    distances = np.abs(ODDS[candidate.evaluated])
    assert (np.diff(distances) >= 0).all()


@pytest.mark.parametrize(("drift", "evaluated"), [(1.0, 8), (0.0, COUNT), (np.nan, 8)])
def test_evaluation_stops_early_once_the_budget_is_missed(section, drift, evaluated):
    found = evaluate(make_evaluator(), Candidate(drift), section, stop_early=True)
    assert found.evaluated == evaluated
    assert found.holds == (drift == 0.0)
    if evaluated < COUNT:
        assert "stopped after 8 captures: " in found.misses[0]
        assert "decision flips where 0.001 of 20 are allowed" in found.misses[0]
        assert found.expected_flips > 0.001


def test_evaluation_stops_early_on_drift_without_a_flip(section):
    found = evaluate(
        make_evaluator(BudgetLimits(0.9, 0.001, 0.9)), Candidate(0.05), section, stop_early=True
    )
    assert "mean score drift at least" in found.misses[0]


def test_logits_stored_before_a_kill_are_not_computed_again(section):
    killed = Candidate(0.001, fails_after=16)
    with pytest.raises(KeyboardInterrupt):
        evaluate(make_evaluator(), killed, section)
    after = Candidate(0.001)
    found = evaluate(make_evaluator(), after, section)
    # Answers of the last two seconds may be evaluated once more.
    assert set(after.evaluated) < set(range(COUNT))
    assert np.array_equal(found.logits, logits(ODDS + np.float32(0.001)))
    again = Candidate(9.9)
    assert np.array_equal(evaluate(make_evaluator(), again, section).logits, found.logits)
    assert again.evaluated == []


def test_a_truncated_stored_file_is_ignored(section):
    evaluate(make_evaluator(), Candidate(), section)
    file = section.path / "trial.npy"
    file.write_bytes(file.read_bytes()[:100])
    again = Candidate()
    evaluate(make_evaluator(), again, section)
    assert len(again.evaluated) == COUNT


class Switch:
    """A graph in which each INT8 layer shifts the log-odds, a residual layer by half."""

    def __init__(self, shifts: dict[str, float], calls: list[frozenset[str]], limit=99) -> None:
        self.shifts, self.calls, self.limit = shifts, calls, limit

    def logits(self, batch, float_layers=frozenset(), residual_layers=None):
        self.calls.append(float_layers)
        if len(self.calls) > self.limit:
            raise KeyboardInterrupt
        moved = sum(
            shift * (0.5 if name in (residual_layers or ()) else 1.0)
            for name, shift in self.shifts.items()
            if name not in float_layers
        )
        return logits(ODDS[number_of(batch)] + moved)


@pytest.mark.parametrize("allow_residual", [False, True])
def test_sensitivity_is_the_squared_change_by_one_layer_alone(section, allow_residual):
    layers = [
        Layer(n, "MatMul", 5, reason) for n, reason in (("a", None), ("b", None), ("c", SMALL))
    ]
    switch = Switch({"a": 0.1, "b": 0.4}, [])
    sensitivities = measure_sensitivity(
        lambda: switch,
        layers,
        make_evaluator(),
        section,
        RecordedProgress(),
        allow_residual=allow_residual,
    )
    assert {c.name: c.error for c in sensitivities} == pytest.approx(
        {"a": 0.01, "b": 0.16}, rel=1e-4
    )
    fine = {"a": 0.0025, "b": 0.04} if allow_residual else {"a": 0.01, "b": 0.16}
    assert {c.name: c.residual_error for c in sensitivities} == pytest.approx(fine, rel=1e-4)


def test_sensitivities_stored_before_a_kill_are_not_measured_again(section):
    layers = [Layer(f"l{k}", "MatMul", 5) for k in range(6)]
    shifts = {f"l{k}": 0.1 * k for k in range(6)}
    killed = Switch(shifts, [], limit=2 + 1 + 2 * 3)  # two to time it, all in float, three layers
    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(lambda: killed, layers, make_evaluator(), section, RecordedProgress())
    calls: list[frozenset[str]] = []
    sensitivities = measure_sensitivity(
        lambda: Switch(shifts, calls), layers, make_evaluator(), section, RecordedProgress()
    )
    assert len(calls) == 1 + 2 * 3
    assert [c.error for c in sensitivities] == pytest.approx(
        [m * m for m in shifts.values()], rel=1e-4
    )
    measure_sensitivity(
        lambda: pytest.fail("opened"), layers, make_evaluator(), section, RecordedProgress()
    )
