"""Table of what each part of a method does: cells, shared work, chosen rates, the page."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk_calibration.protocols import Outcome
from fasdk_calibration.synthetic import Split, generate
from fasdk_calibration.synthetic.domains import get_domain
from fasdk_tools.protocols import parts
from fasdk_tools.protocols.parts import (
    PARTS,
    Job,
    PartCell,
    PartsSettings,
    Target,
    chosen_rates,
    degraded,
    run_parts,
)
from fasdk_tools.protocols.parts_table import parts_document, parts_page

TINY = PartsSettings(
    parts=("baseline", "u-adapter"),
    splits=("CPS->W",),
    seeds=(0, 1),
    rates=(1e-3, 2e-3),
    epochs=1,
    train=12,
    development=12,
    test=12,
)


def cell_of(job: Job, auc: float = 0.5, hter: float = 0.4) -> PartCell:
    outcome = Outcome(threshold=0.5, hter=hter, test_eer=hter - 0.1, auc=auc)
    return PartCell(job, 1, auc, 2.0, {target.value: outcome for target in Target})


@pytest.mark.parametrize("target", [Target.DEPTH, Target.IR, Target.BOTH])
def test_a_degraded_target_shows_the_same_people_to_worse_sensors(target):
    domain = get_domain("W")
    small = replace(domain.scene, width=96, height=72)
    clean, worse = (
        generate(0, 3, Split.HELD_OUT, settings=scene) for scene in (small, degraded(small, target))
    )
    assert (clean.id, clean.subject, clean.species) == (worse.id, worse.subject, worse.species)
    changed = {
        modality
        for modality in Modality
        if not np.array_equal(clean.capture.frame(modality), worse.capture.frame(modality))
    }
    assert (
        changed
        == {
            Target.DEPTH: {Modality.DEPTH},
            Target.IR: {Modality.IR},
            Target.BOTH: {Modality.DEPTH, Modality.IR},
        }[target]
    )


def test_the_rate_with_the_largest_development_auc_is_chosen_and_of_equals_the_smallest():
    trials = [
        cell_of(Job("baseline", "CPS->W", 0, rate), auc)
        for rate, auc in ((5e-4, 0.7), (1e-3, 0.9), (2e-3, 0.9))
    ]
    assert chosen_rates(trials) == {"baseline": 1e-3}


@pytest.fixture
def trained(monkeypatch) -> list[Job]:
    """The trainings run so far; none takes time."""
    jobs: list[Job] = []

    def run(job: Job, settings: PartsSettings) -> PartCell:
        jobs.append(job)
        return cell_of(job, auc=0.5 + job.rate, hter=0.4 - 0.01 * jobs.count(job))

    monkeypatch.setattr(parts, "_run_job", run)
    return jobs


def test_every_row_trains_at_its_chosen_rate_and_a_second_run_trains_nothing(trained, tmp_path):
    said: list[str] = []
    cells = run_parts(tmp_path, TINY, said.append, processes=2)
    assert len(trained) == len(set(trained)) == 6, "2 rows of 2 rates, then 2 rows of a second seed"
    assert {cell.job.rate for cell in cells} == {2e-3}
    assert [cell.job.seed for cell in cells] == [0, 0, 1, 1]
    assert said[0] == "6 trainings, 4 of them to choose learning rates"
    assert said[1].startswith("1 of 6: baseline CPS->W seed 0 rate 0.001, 2 s; about 0 min left")
    again = run_parts(tmp_path, TINY, said.append)
    assert len(trained) == 6 and again == cells


def test_a_cell_that_another_process_holds_is_left_to_it(trained, tmp_path, monkeypatch):
    job = Job("baseline", "CPS->W", 0, 1e-3)
    with job.file(tmp_path).with_suffix(".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        def finished(_seconds: float) -> None:  # the other process, while this one waits
            cell = cell_of(job)
            parts.write_document(job.file(tmp_path), parts.asdict(cell))

        monkeypatch.setattr(parts.time, "sleep", finished)
        run_parts(tmp_path, TINY, lambda _: None)
    assert job not in trained and len(trained) == 5


def test_other_settings_and_damaged_cells_are_refused(trained, tmp_path):
    run_parts(tmp_path, TINY, lambda _: None)
    with pytest.raises(UsageError, match="epochs differs"):
        run_parts(tmp_path, TINY.model_copy(update={"epochs": 2}), lambda _: None)
    next(tmp_path.glob("u-adapter.*.json")).write_text('{"job": 1')
    with pytest.raises(UsageError, match="is no finished cell"):
        run_parts(tmp_path, TINY, lambda _: None)
    with pytest.raises(UsageError, match="unknown row 'wings': choose of baseline, certainty-1"):
        run_parts(tmp_path, TINY.model_copy(update={"parts": ("wings",)}), lambda _: None)


def test_the_page_has_a_table_a_target_and_says_how_often_a_part_helps():
    hters = {("baseline", 0): 0.4, ("baseline", 1): 0.3, ("u-adapter", 0): 0.3}
    hters[("u-adapter", 1)] = 0.36
    cells = [
        cell_of(Job(name, "CPS->W", seed, 1e-3), hter=hter) for (name, seed), hter in hters.items()
    ]
    rows = ("baseline", "u-adapter")
    settings = TINY.model_copy(update={"parts": (*rows, "certainty-1")})
    cells += [cell_of(Job("certainty-1", "CPS->W", seed, 1e-3), hter=0.35) for seed in (0, 1)]
    document = json.loads(json.dumps(parts_document(cells, settings, "python x")))
    page = parts_page(document)
    assert page.count("| baseline") == 0 and page.count("| no adapters | 0.001 | 35.0 ± 7.1 |") == 4
    assert "| U-Adapter | 0.001 | 33.0 ± 4.2 | 50.0 ± 0.0 | -2.0 against adapters, " in page
    assert "certainty 1, lower in 1 of 2 |" in page
    assert "## Degraded infrared" in page and "1 epoch on" in page


def test_every_row_names_a_row_before_it_and_a_method_of_its_family():
    names = [part.name for part in PARTS]
    for index, part in enumerate(PARTS):
        assert part.against is None or part.against in names[:index]
    assert len(PARTS) == 8


@pytest.mark.slow
def test_the_table_is_made_of_real_trainings(tmp_path):
    settings = TINY.model_copy(update={"seeds": (0,), "rates": (1e-3,), "parts": ("certainty-1",)})
    cells = run_parts(tmp_path, settings, lambda _: None)
    assert set(cells[0].outcomes) == {target.value for target in Target}
    assert "adapters, certainty 1" in parts_page(parts_document(cells, settings, "x"))
