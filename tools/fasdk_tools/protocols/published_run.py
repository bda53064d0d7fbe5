"""Published tables over the published data sets: what is not there yet is trained and judged.

Every training is a folder of the output: checkpoint, bundle and evaluations, each written when it
is whole, with digests of what it was made from. A run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fasdk.atomic import require_writable
from fasdk.bounded_file import is_folder
from fasdk.errors import UsageError
from fasdk_calibration.benchmarks import ListPart, PlannedTraining, Table, plan_trainings
from fasdk_calibration.datasets import DatasetSource
from fasdk_calibration.error_rates import Unit
from fasdk_engines.models.checkpoint import find_config
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import InitialWeights, get_method
from fasdk_tools.evaluation.joining import BundleTest
from fasdk_tools.protocols.cell_folder import CellFolder
from fasdk_tools.protocols.forecast import Forecast, Work
from fasdk_tools.protocols.published_cells import (
    CellReport,
    Say,
    inputs_of,
    make_cell,
    settings_of,
    work_of,
)
from fasdk_tools.protocols.published_data import PublishedData, open_data
from fasdk_tools.protocols.published_tables import (
    MEAN,
    PublishedTable,
    make_table,
    percent,
    print_table,
)
from fasdk_tools.terminal.output import print_answer, print_notes
from fasdk_tools.training.train import TrainRequest

DOCUMENT, DOCUMENT_VERSION = "fasdk protocols", 1
MakeRequest = Callable[[DatasetSource, DatasetSource, Path, int], TrainRequest]
"""Returns the training of training captures, validation captures, checkpoint and seed."""

NOTES = (
    "rows: each row of a list counts by itself, as the code published with the benchmarks counts; "
    "HTER pools all attacks (Flex-Modal and CASIA-SURF call it ACER)",
    "threshold test EER: the score at which the test's own error rates meet, which no device can "
    "choose; development EER: where those of the validation lists of the training data meet",
    "presentations: ISO/IEC 30107-3, the mean score of a presentation's rows, at the development "
    "EER of the validation lists of the training data with the same modalities missing",
    "the epoch is chosen by the validation lists, where published code chooses it by the test",
)


@dataclass(frozen=True)
class PublishedRequest:
    """Tables to make.

    Attributes:
        data: Folder of each data set, by its letter.
        tables: Tables to make.
        out: Folder of the trainings.
        training: Returns the training of a cell.
        lists: Folder of the lists, or None for each data set's folder.
        seeds: Number of seeds, from 0.
    """

    data: Mapping[str, Path]
    tables: tuple[Table, ...]
    out: Path
    training: MakeRequest
    lists: Path | None = None
    seeds: int = 1


@dataclass(frozen=True)
class PublishedReport:
    """The tables and every training they are made of.

    Attributes:
        document: Kind of document, `DOCUMENT`.
        version: Version of the document's layout.
        system: Model, method and settings of all trainings.
        tables: Tables in the order of `fasdk_calibration.benchmarks`.
        cells: Trainings with their tests.
        notes: How the figures are to be read.
    """

    document: str
    version: int
    system: dict[str, Any]
    tables: tuple[PublishedTable, ...]
    cells: tuple[CellReport, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    folder: CellFolder
    training: PlannedTraining
    seed: int
    request: TrainRequest
    inputs: Mapping[str, str]


def run_published(request: PublishedRequest, say: Say) -> PublishedReport:
    """Train, build and judge what is not there yet, and return the tables.

    Args:
        request: Tables to make.
        say: Receiver of what is done, of what is made anew, and of the time it will take.

    Raises:
        UsageError: A data set that a table needs is not given, or the output holds other files.
        DatasetError: A list, root or frame is missing, or people are on both sides of a test.
        FasdkError: A training, a build or a test failed.
    """
    trainings = plan_trainings(request.tables)
    data = open_data(request.data, request.tables, trainings, request.lists)
    cells = _cells(request, trainings, data)
    first = cells[0].request
    _require_fitting(first, request.out)
    work = [
        Work(*work_of(cell.folder, cell.training, cell.request, cell.inputs, data))
        for cell in cells
    ]
    forecast = Forecast([each for each in work if each.captures], say)
    reports = []
    for number, (cell, left) in enumerate(zip(cells, work, strict=True), start=1):
        name = f"{cell.training.name}, seed {cell.seed}"
        what = "train" if left.captures else "there is a checkpoint"
        say(f"training {number} of {len(cells)}, {name}: {what}")
        reports.append(
            make_cell(
                cell.folder,
                cell.training,
                cell.request,
                cell.inputs,
                data,
                say,
                lambda step: forecast.step(step.done),
            )
        )
    tests = {
        (report.training, target, test.missing, report.seed, test.unit): test
        for report in reports
        for target, found in report.tests.items()
        for test in found
    }

    def find(training: str, target: str, missing: str, seed: int, unit: Unit) -> BundleTest | None:
        return tests.get((training, target, missing, seed, unit.value))

    tables = tuple(make_table(table, find, range(request.seeds)) for table in request.tables)
    return PublishedReport(
        document=DOCUMENT,
        version=DOCUMENT_VERSION,
        system=_system(first),
        tables=tables,
        cells=tuple(reports),
        notes=(*NOTES, *_notes(first, reports, tables), *data.notes),
    )


def _cells(
    request: PublishedRequest, trainings: Sequence[PlannedTraining], data: PublishedData
) -> list[_Cell]:
    cells = []
    for seed in range(request.seeds):
        for training in trainings:
            captures = data.source(training.sources, ListPart.TRAIN)
            development = data.source(training.sources, ListPart.DEVELOPMENT)
            probe = request.training(captures, development, request.out, seed)
            family = get_family(probe.model)
            method = get_method(probe.method, family).name
            path = request.out / f"{family.name}.{method}" / f"{training.name}.{seed}"
            folder = CellFolder(path)
            made = request.training(captures, development, folder.checkpoint, seed)
            cells.append(_Cell(folder, training, seed, made, inputs_of(training, made, data)))
    return cells


def _require_fitting(request: TrainRequest, out: Path) -> None:
    """Refuse what can be refused before anything is written."""
    family = get_family(request.model)
    if request.config is not None:
        find_config(family, request.config)
    settings_of(request)
    if request.initial is not None:
        InitialWeights.load(request.initial, request.vocabulary)
    if out.exists() and not is_folder(out):
        raise UsageError(f"--out {out} is no folder: name another")
    place = out
    while not place.exists():
        place = place.parent
    require_writable(place / "fasdk-protocols")


def _system(request: TrainRequest) -> dict[str, Any]:
    family = get_family(request.model)
    config = find_config(family, request.config) if request.config else family.default_config
    return {
        "model": family.name,
        "published_in": family.published_in,
        "method": get_method(request.method, family).name,
        "configuration": config.model_dump(mode="json"),
        "is_published_size": config == family.default_config,
        "settings": settings_of(request).model_dump(mode="json", exclude={"seed"}),
        "initial": None if request.initial is None else str(request.initial),
    }


def _notes(
    request: TrainRequest, reports: Sequence[CellReport], tables: Sequence[PublishedTable]
) -> list[str]:
    notes = []
    if not _system(request)["is_published_size"]:
        notes.append(
            f"settings {request.config} are not the published ones: no figure here stands beside a "
            "published one"
        )
    versions = {report.fasdk for report in reports if report.fasdk is not None}
    if len(versions) > 1:
        notes.append(f"trained by several versions of fasdk: {', '.join(sorted(versions))}")
    notes += [
        f"{table.name} lacks {', '.join(table.absent)}: a list holds one class alone"
        for table in tables
        if table.absent
    ]
    return notes


def print_published(report: PublishedReport, *, wide: bool = False) -> None:
    """Print the tables on stdout, and how to read them."""
    system = f"{report.system['model']} by {report.system['method']}"
    last = [
        f"{table.name}{'' if line.name == MEAN else f' {line.name}'} HTER "
        f"{percent(line.published.hter)} %, AUC {percent(line.published.auc)} %"
        for table in report.tables
        for line in table.lines[-1:]
    ]
    print_answer(f"{system}, by rows as published: {'; '.join(last) or 'no figures'}")
    for table in report.tables:
        if table.lines:
            print_table(table, system, wide=wide)
    print_notes(list(report.notes))


def to_document(report: PublishedReport) -> dict[str, Any]:
    """Return the report as a JSON document."""
    return asdict(report)
