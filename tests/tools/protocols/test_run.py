"""Protocol runs: training, scoring, finished cells, and cells of other settings."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
import torch

from fasdk.errors import UsageError
from fasdk_calibration.protocols import (
    PROTOCOLS,
    DomainCaptures,
    DomainSplit,
    Outcome,
    Protocol,
    without,
)
from fasdk_calibration.synthetic import Split, generate
from fasdk_calibration.synthetic.domains import get_domain
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import TrainingSettings, get_method, train
from fasdk_engines.training.data import CaptureTensors
from fasdk_tools.protocols import run as runner
from fasdk_tools.protocols.run import (
    SYSTEMS,
    Cell,
    ProtocolSettings,
    Spread,
    SyntheticSource,
    print_report,
    run_protocols,
)
from fasdk_tools.terminal.output import progress_view

P1, P2, _ = PROTOCOLS
SPLIT = DomainSplit(("S",), ("W",))
SMALL = (Protocol("P1", P1.title, (SPLIT,)), Protocol("P2", P2.title, (SPLIT,), P2.missing))
SETTINGS = ProtocolSettings(
    train=12, development=12, test=12, training=TrainingSettings(epochs=2, batch=8)
)
BASELINE, U_ADAPTER = SYSTEMS[:2]


class SmallSource:
    """Two of the synthetic domains in small frames, every species in each part."""

    def __init__(self) -> None:
        self.loads = 0

    def describe(self):
        return {"frames": "128x96"}

    def load(self, seed, _view=None):
        self.loads += 1
        return draw(seed)


@cache
def draw(seed):
    found = {}
    for domain in (get_domain("W"), get_domain("S")):
        scene = replace(domain.scene, width=128, height=96)
        parts = [
            [generate(domain.population(seed), i, split, settings=scene) for i in range(8)]
            for split in Split
        ]
        found[domain.letter] = DomainCaptures(*parts)
    return found


def run(out, source=None, **changes):
    arguments = {"systems": (BASELINE, U_ADAPTER), "chosen": SMALL, "seeds": (0,)} | changes
    settings = arguments.pop("settings", SETTINGS)
    with progress_view() as view:
        return run_protocols(out, settings, view, source=source or SmallSource(), **arguments)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """One run of two systems over two domains, and the folder of its cells."""
    out = tmp_path_factory.mktemp("protocols")
    return out, run(out)


def without_times(report):
    document = asdict(report)
    for cell in document["cells"]:
        cell.pop("seconds")
    document.pop("seconds")
    return document


def test_a_run_trains_once_a_system_and_judges_every_test(fresh):
    _, report = fresh
    assert [(cell.system.name, cell.split, cell.seed) for cell in report.cells] == [
        ("baseline", "S->W", 0),
        ("u-adapter", "S->W", 0),
    ]
    for cell in report.cells:
        assert list(cell.outcomes) == ["none", "depth", "ir", "depth+ir"]
        assert (
            len({o.auc for o in cell.outcomes.values()}) > 1
        )  # what is missing makes a difference
    assert [(row.protocol, row.system, list(row.columns)) for row in report.rows] == [
        ("P1", "baseline", ["S->W"]),
        ("P1", "u-adapter", ["S->W"]),
        ("P2", "baseline", ["depth", "ir", "depth+ir"]),
        ("P2", "u-adapter", ["depth", "ir", "depth+ir"]),
    ]
    cell = report.cells[1]
    p2 = report.rows[3]
    assert report.rows[1].hter.mean == cell.outcomes["none"].hter
    assert p2.auc.mean == pytest.approx(np.mean([cell.outcomes[name].auc for name in p2.columns]))


def test_a_stopped_run_goes_on_and_ends_like_an_unbroken_one(fresh, tmp_path):
    _, whole = fresh
    first = SmallSource()
    run(tmp_path, first, systems=(BASELINE,))
    second = SmallSource()
    resumed = run(tmp_path, second)
    assert (first.loads, second.loads) == (1, 1)
    assert resumed.cells[0].seconds == run(tmp_path, second).cells[0].seconds  # not trained again
    assert second.loads == 1  # nothing left to train: no capture was drawn
    assert without_times(resumed) == without_times(whole)


def test_a_cell_that_lacks_a_test_is_trained_again(tmp_path):
    source = SmallSource()
    run(tmp_path, source, systems=(BASELINE,), chosen=SMALL[:1])
    report = run(tmp_path, source, systems=(BASELINE,))
    assert source.loads == 2
    assert list(report.cells[0].outcomes) == ["none", "depth", "ir", "depth+ir"]


def test_cells_of_other_settings_are_never_mixed_in(fresh, tmp_path):
    out, _ = fresh
    with pytest.raises(UsageError, match="holds cells of other settings: test differs"):
        run(out, settings=SETTINGS.model_copy(update={"test": 24}))
    longer = SETTINGS.training.model_copy(update={"epochs": 3})
    with pytest.raises(UsageError, match="other settings: training differs"):
        run(out, settings=SETTINGS.model_copy(update={"training": longer}))
    with pytest.raises(
        UsageError,
        match=r"holds mmdg by plain, adapter_\.\* frozen, asked for is mmdg by plain, adapter_1",
    ):
        run(out, systems=(replace(BASELINE, frozen=(r"adapter_1.*",)),))
    run(tmp_path, systems=(BASELINE,), chosen=SMALL[:1])
    (tmp_path / "baseline.S-W.0.json").write_text('{"system": ')
    with pytest.raises(UsageError, match=r"baseline\.S-W\.0\.json is no finished cell"):
        run(tmp_path, systems=(BASELINE,), chosen=SMALL[:1])


def test_every_system_fits_its_training_method_and_names_what_it_is_compared_with():
    names = [system.name for system in SYSTEMS]
    assert names == ["baseline", "u-adapter", "regrad", "mmdgpp", "mmda", "bigmoe"]
    for system in SYSTEMS:
        family = get_family(system.family)
        assert "tiny" in family.configs
        assert get_method(system.method, family).name == system.method
        assert system.against in names or system is BASELINE


@pytest.mark.parametrize(
    ("name", "value", "presence"),
    [
        ("mmdg", 0.0, False),
        ("mmdgpp", 0.0, True),
        ("mmda", -127.5 / 128, False),
        ("bigmoe", 0.0, False),
    ],
)
def test_p2_missing_modalities_reach_each_model_by_its_published_convention(name, value, presence):
    family = get_family(name)
    config = family.configs["tiny"]
    item = draw(0)["W"].test[0]
    for missing in P2.missing:
        tensors = CaptureTensors(
            family, family.preprocess(config), [without(item, missing)], (item.domain,)
        )
        arguments = tensors.batch(torch.arange(1)).arguments
        for modality, tensor in zip(family.modalities, arguments, strict=False):
            assert bool((tensor == value).all()) == (modality in missing)
        assert len(arguments) == len(family.modalities) + presence
        if presence:
            there = [float(modality not in missing) for modality in family.modalities]
            assert arguments[-1].tolist() == [there]


def test_the_baseline_is_mmdg_whose_adapters_add_nothing():
    """Else the row called baseline would not be one."""
    family = get_family("mmdg")
    config = family.configs["tiny"]
    captures = draw(0)["W"]
    trained = train(
        family,
        config,
        BASELINE.method,
        captures.train,
        captures.development,
        SETTINGS.training,
        frozen=BASELINE.frozen,
    ).module
    ups = [p for n, p in trained.named_parameters() if n.startswith("adapter") and "_up." in n]
    assert len(ups) == 2 * 4 * config.depth and not any(bool(p.any()) for p in ups)
    inputs = family.example_inputs(config, 2)
    before = trained(*inputs)[0]
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if name.startswith("adapter") and "_up." not in name:
                parameter.normal_()
    assert torch.equal(trained(*inputs)[0], before)


def test_a_change_is_taken_seed_by_seed_and_spread_is_over_seeds(monkeypatch, capsys, tmp_path):
    """Worked by hand: HTER of two systems over two seeds, one test."""
    hters = {("baseline", 0): 0.3, ("baseline", 1): 0.5, ("u-adapter", 0): 0.2}
    hters["u-adapter", 1] = 0.5

    def judged(system, split, seed, settings, captures, tests, view):
        hter = hters[system.name, seed]
        outcome = Outcome(threshold=0.5, hter=hter, test_eer=hter / 2, auc=1 - hter)
        return Cell(system, split.name, seed, 1, 1, 1.0, 0.0, dict.fromkeys(tests, outcome))

    monkeypatch.setattr(runner, "run_cell", judged)
    monkeypatch.setattr(SmallSource, "load", lambda *_: draw(0))
    report = run(tmp_path, chosen=SMALL[:1], seeds=(0, 1))
    baseline, adapted = report.rows
    assert (baseline.against, baseline.change, baseline.better_seeds) == (None, None, None)
    assert baseline.hter == Spread(0.4, pytest.approx(np.sqrt(0.02)), 0.3, 0.5)
    assert adapted.auc.mean == pytest.approx(0.65)
    assert (adapted.against, adapted.better_seeds, adapted.seeds) == ("baseline", 1, 2)
    assert adapted.change is not None
    assert (adapted.change.mean, adapted.change.least, adapted.change.greatest) == pytest.approx(
        (-0.05, -0.1, 0.0)
    )
    print_report(report)
    shown = capsys.readouterr().out
    assert "P1, leave one domain out" in shown and "P3" not in shown
    assert "40.0 ±14.1" in shown.replace("\n", " ")
    alone = run(tmp_path / "alone", chosen=SMALL[:1], seeds=(0,), systems=(U_ADAPTER,))
    assert alone.rows[0].against is None and alone.rows[0].hter.deviation is None


def test_the_source_draws_each_split_from_its_own_people(capfd):
    source = SyntheticSource(ProtocolSettings(train=12, development=12, test=12), letters=("S",))
    with progress_view() as view:
        loaded = source.load(1, view)
    assert list(loaded) == ["S"] and list(source.describe()) == ["S"]
    parts = (loaded["S"].train, loaded["S"].development, loaded["S"].test)
    assert [len(part) for part in parts] == [12, 12, 12]
    people = [{c.subject for c in part} for part in parts]
    assert people[0].isdisjoint(people[1] | people[2]) and people[1].isdisjoint(people[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--system", "resnet"), "unknown system 'resnet': choose of baseline, u-adapter"),
        (("--tables", "P4"), "unknown protocol 'P4': choose of P1, P2, P3"),
        (("--seeds", 0), "--seeds"),
        (("--captures", 2), "--captures"),
    ],
)
def test_the_verb_refuses_what_there_is_not(fasdk, tmp_path, arguments, message):
    ran = fasdk("protocols", "-o", tmp_path / "out", *arguments, "--json")
    assert ran.status == 2
    assert message in json.loads(ran.stdout)["error"]
    assert not (tmp_path / "out").exists()


def test_the_verb_prints_one_json_document(fasdk, tmp_path, monkeypatch):
    captured = {}

    def fake(out, settings, view, **changes):
        captured.update(changes, settings=settings)
        return run_protocols(
            out,
            SETTINGS,
            view,
            source=SmallSource(),
            systems=changes["systems"],
            chosen=SMALL[:1],
            seeds=changes["seeds"],
        )

    monkeypatch.setattr(runner, "run_protocols", fake)
    ran = fasdk(
        *("protocols", "-o", tmp_path, "--system", "baseline", "--tables", "P1"),
        *("--seeds", 1, "--captures", 24, "--epochs", 3, "--json"),
    )
    document = json.loads(ran.stdout)
    assert ran.status == 0
    assert document["rows"][0]["system"] == "baseline" and len(document["cells"]) == 1
    assert captured["settings"].train == 24 and captured["settings"].training.epochs == 3
    assert captured["chosen"] == [P1] and list(captured["seeds"]) == [0]
