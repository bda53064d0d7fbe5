"""A candidate is asked every capture, nearest to the threshold first, once, and no more than it
takes to see that its case is lost."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Capture, Modality
from fasdk.decision import OperatingPoint
from fasdk.preprocess import PreprocessSpec
from fasdk_calibration.datasets import CaptureRecord, Label
from fasdk_engines.graph.captures import DevelopmentSet
from fasdk_engines.quantization import Layer
from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
from fasdk_engines.quantization.mixed_precision.evaluator import Judge
from fasdk_engines.quantization.mixed_precision.sensitivity import measure_costs
from fasdk_engines.quantization.mixed_precision.work_folder import WorkFolder

RGB = (Modality.RGB,)
COUNT = 20


@pytest.fixture
def section(tmp_path):
    return WorkFolder(tmp_path / "out.fasb").section("test")


def level_of(batch) -> np.ndarray:
    """A capture's number, which is the level all its pixels have."""
    return batch["rgb"][:, 0, 0, 0].round().astype(int)


ODDS = np.linspace(-5, 5, COUNT).astype(np.float32) + 0.1  # none on the threshold


def logits(odds) -> np.ndarray:
    return np.stack([np.zeros(len(odds)), odds], axis=1).astype(np.float32)


def make_judge(limits=None) -> Judge:
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
    return Judge(
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
    """Answers the reference's odds moved by `drift`, and counts what it is asked."""

    def __init__(self, drift=0.0, fails_after=COUNT + 1) -> None:
        self.drift, self.fails_after = drift, fails_after
        self.asked: list[int] = []

    def open(self):
        return self

    def __call__(self, batch):
        numbers = level_of(batch)
        if len(self.asked) + len(numbers) > self.fails_after:
            raise KeyboardInterrupt
        self.asked += list(numbers)
        return logits(ODDS[numbers] + self.drift)


def ask(judge, candidate, section, **options):
    return judge.judge(candidate.open, section, "trial", progress=lambda *_: None, **options)


def test_the_float_graph_itself_holds_and_every_row_is_in_list_order(section):
    judge, candidate = make_judge(), Candidate()
    found = ask(judge, candidate, section)
    assert found.holds
    assert (found.expected_flips, found.mean_drift) == (0.0, 0.0)
    assert np.array_equal(found.logits, logits(ODDS))
    distances = np.abs(ODDS[candidate.asked])
    assert (np.diff(distances) >= 0).all()


@pytest.mark.parametrize(("drift", "asked"), [(1.0, 8), (0.0, COUNT), (np.nan, 8)])
def test_a_lost_case_is_given_up_early(section, drift, asked):
    found = ask(make_judge(), Candidate(drift), section, stop_early=True)
    assert found.judged == asked
    assert found.holds == (drift == 0.0)
    if asked < COUNT:
        assert "given up after 8 captures: " in found.misses[0]
        assert "decision flips where 0.001 of 20 are allowed" in found.misses[0]
        assert found.expected_flips > 0.001


def test_a_drift_without_a_flip_is_given_up_too(section):
    found = ask(
        make_judge(BudgetLimits(0.9, 0.001, 0.9)), Candidate(0.05), section, stop_early=True
    )
    assert "mean score drift at least" in found.misses[0]


def test_what_was_answered_before_a_kill_is_not_asked_again(section):
    killed = Candidate(0.001, fails_after=16)
    with pytest.raises(KeyboardInterrupt):
        ask(make_judge(), killed, section)
    after = Candidate(0.001)
    found = ask(make_judge(), after, section)
    # Answers of the last two seconds may be asked once more.
    assert set(after.asked) < set(range(COUNT))
    assert np.array_equal(found.logits, logits(ODDS + np.float32(0.001)))
    again = Candidate(9.9)
    assert np.array_equal(ask(make_judge(), again, section).logits, found.logits)
    assert again.asked == []


def test_half_a_stored_file_is_as_good_as_none(section):
    ask(make_judge(), Candidate(), section)
    file = section.path / "trial.npy"
    file.write_bytes(file.read_bytes()[:100])
    again = Candidate()
    ask(make_judge(), again, section)
    assert len(again.asked) == COUNT


class Switch:
    """A graph where a layer moves the odds, by half in two terms, unless kept in float."""

    def __init__(self, moves: dict[str, float], calls: list[frozenset[str]], limit=99) -> None:
        self.moves, self.calls, self.limit = moves, calls, limit

    def logits(self, batch, keep_float=frozenset(), two_term=None):
        self.calls.append(keep_float)
        if len(self.calls) > self.limit:
            raise KeyboardInterrupt
        moved = sum(
            move * (0.5 if name in (two_term or ()) else 1.0)
            for name, move in self.moves.items()
            if name not in keep_float
        )
        return logits(ODDS[level_of(batch)] + moved)


def quiet(*_):
    """Hear nothing."""


@pytest.mark.parametrize("two_terms", [False, True])
def test_a_layer_costs_what_it_moves_alone(section, two_terms):
    layers = [Layer(n, "MatMul", 5, q, "") for n, q in (("a", True), ("b", True), ("c", False))]
    switch = Switch({"a": 0.1, "b": 0.4}, [])
    costs = measure_costs(lambda: switch, layers, make_judge(), section, quiet, two_terms=two_terms)
    assert {c.name: c.error for c in costs} == pytest.approx({"a": 0.01, "b": 0.16}, rel=1e-4)
    fine = {"a": 0.0025, "b": 0.04} if two_terms else {"a": 0.01, "b": 0.16}
    assert {c.name: c.fine_error for c in costs} == pytest.approx(fine, rel=1e-4)


def test_costs_known_before_a_kill_are_not_measured_again(section):
    layers = [Layer(f"l{k}", "MatMul", 5, True, "") for k in range(6)]
    moves = {f"l{k}": 0.1 * k for k in range(6)}
    killed = Switch(moves, [], limit=2 + 1 + 2 * 3)  # two to time it, all in float, three layers
    with pytest.raises(KeyboardInterrupt):
        measure_costs(lambda: killed, layers, make_judge(), section, quiet)
    calls: list[frozenset[str]] = []
    costs = measure_costs(lambda: Switch(moves, calls), layers, make_judge(), section, quiet)
    assert len(calls) == 1 + 2 * 3
    assert [c.error for c in costs] == pytest.approx([m * m for m in moves.values()], rel=1e-4)
    measure_costs(lambda: pytest.fail("opened"), layers, make_judge(), section, quiet)
