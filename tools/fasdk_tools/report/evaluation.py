"""HTML page of an evaluation: summary, cases, worst captures, limitations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.capture import Modality
from fasdk_calibration.datasets import depth_encoding
from fasdk_tools.evaluation.record import Evaluation, WorstCapture
from fasdk_tools.report.cases import case_name, case_views, list_views
from fasdk_tools.report.environment import embedded_json, render, write_page
from fasdk_tools.report.evidence import sheet_parts
from fasdk_tools.report.figures import Figures, write
from fasdk_tools.report.thumbnails import thumbnail

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk_tools.evaluation.run import EvaluationRun

DATA_ID = "evaluation"

Pictures = Mapping[tuple[str, int], Sequence[tuple[Modality, str]]]


@dataclass(frozen=True)
class _Frame:
    """A capture's frame: its modality and the picture as a data URI."""

    modality: str
    uri: str


@dataclass(frozen=True)
class _Shown:
    """A worst-scored capture.

    Attributes:
        index: Its place among the worst of the record.
        worst: The capture.
        decided: Whether it was told right at the first threshold, in words.
        frames: Its pictures; empty where faces are not shown.
    """

    index: int
    worst: WorstCapture
    decided: str
    frames: list[_Frame]


@dataclass(frozen=True)
class _Group:
    """The worst-scored captures of a list and a class."""

    heading: str
    captures: list[_Shown]


@dataclass(frozen=True)
class _Cell:
    """A list's figures where something was taken away.

    Attributes:
        path: Path of its separation in the record; empty where there is no single one.
        share: Depth of the background, in [0, 1].
        are_several: Whether several cases answer to it.
    """

    path: list[str | int]
    share: float = 0.0
    are_several: bool = False


@dataclass(frozen=True)
class _Row:
    """What was taken away, and a cell for every list."""

    name: str
    cells: list[_Cell]


def write_report(
    path: Path, run: EvaluationRun, bundle: Bundle, *, with_faces: bool = False
) -> None:
    """Write an evaluation as one HTML file that only its owner may read.

    Args:
        path: File to write.
        run: The evaluation.
        bundle: Bundle that was evaluated.
        with_faces: Whether frames of the worst-scored captures are shown.

    Raises:
        DatasetError: A capture to be shown can no longer be read.
        FasdkError: The disk is full or the folder not writable.
    """
    write_page(path, page_of(run.record, _pictures(run, bundle) if with_faces else {}))


def _pictures(run: EvaluationRun, bundle: Bundle) -> Pictures:
    """Return the frames of the worst-scored captures, by list and row."""
    encoding = depth_encoding(bundle.manifest.inputs)
    datasets = {dataset.name: dataset for dataset in run.datasets}
    found = {}
    for worst in run.record.worst:
        dataset = datasets[worst.list]
        capture = dataset.load(dataset.records[worst.index], encoding)
        found[worst.list, worst.index] = [
            (modality, thumbnail(capture, modality, encoding))
            for modality in capture.present
            if modality.value in worst.modalities
        ]
    return found


def page_of(record: Evaluation, pictures: Pictures) -> str:
    """Return the page.

    Args:
        record: The evaluation; the page embeds it as JSON, and shows nothing else.
        pictures: PNG data URIs of the worst-scored captures, by list and row; empty shows none.
    """
    cases = case_views(record)
    lists = list_views(record, cases)
    names = [view.name for view in lists]
    missing = _missing(record, names)
    worst = _worst(record, pictures)
    sections = [
        ("in-short", "In short"),
        *([("evidence", "Evidence sheet")] if record.evidence is not None else []),
        *([("missing", "Missing modalities")] if missing else []),
        *((view.key, f"List {view.name}") for view in lists),
        *([("worst", "Worst-scored captures")] if worst else []),
        ("bundle", "The bundle"),
        ("lists", "The lists"),
        ("limits", "What the figures do not show"),
    ]
    return render(
        "evaluation.html",
        title=f"Evaluation of {Path(record.bundle.path).name}",
        subtitle=_subtitle(record),
        sections=sections,
        data_id=DATA_ID,
        document=embedded_json(asdict(record)),
        record=record,
        figures=Figures(record),
        write=write,
        warnings=_warnings(record),
        evidence=[]
        if record.evidence is None
        else [*sheet_parts(asdict(record.evidence), ("evidence",))],
        cases=cases,
        lists=lists,
        names=names,
        missing=missing,
        worst=worst,
        bundle=_bundle(record),
        lists_used=_lists_used(record),
    )


def _warnings(record: Evaluation) -> list[str]:
    warnings = [
        f"{each.list} holds {len(each.subjects)} subjects of {each.seen_in}, as was allowed: its "
        "figures are likely too good."
        for each in record.overlap
    ]
    if record.level is None:
        warnings.append(
            "The bundle has no operating point: figures without a threshold only; on a device "
            "every answer is ERROR."
        )
    warnings += [
        f"{case.list}, {case_name(case)}: at {at.name} a species' APCER lies above the bound the "
        "threshold came with."
        for case in record.cases
        for at in case.figures.thresholds
        if at.is_contradicted
    ]
    warnings += [
        f"{case.list}, {case_name(case)}: {case.figures.non_responses.frames} captures without a "
        "score."
        for case in record.cases
        if case.figures.non_responses.frames
    ]
    return warnings


def _subtitle(record: Evaluation) -> str:
    identity = record.bundle
    parts = [
        f"{identity.model}, {identity.precision}, revision {identity.revision}",
        record.backend,
        f"unit: {record.unit}",
    ]
    if record.family is not None:
        parts.append(f"protocol family {record.family}")
    parts.append(f"trained on {record.source}" if record.source else "training data not stated")
    return "; ".join(parts)


def _missing(record: Evaluation, names: Sequence[str]) -> list[_Row]:
    """Return a row for everything taken away; none where nothing was to be."""
    missing = list(dict.fromkeys(case.missing for case in record.cases))
    if len(missing) < 2 and not record.not_evaluated:
        return []
    return [
        _Row(
            "nothing" if each == "none" else each,
            [_cell(record, name, each) for name in names],
        )
        for each in missing
    ]


def _cell(record: Evaluation, name: str, missing: str) -> _Cell:
    found = [
        index
        for index, case in enumerate(record.cases)
        if case.list == name and case.missing == missing
    ]
    separation = record.cases[found[0]].figures.separation if len(found) == 1 else None
    if separation is None:
        return _Cell([], are_several=len(found) > 1)
    path: list[str | int] = ["cases", found[0], "figures", "separation"]
    return _Cell(path, max(0.0, 2 * separation.auc.value - 1))


def _worst(record: Evaluation, pictures: Pictures) -> list[_Group]:
    groups = []
    for name in dict.fromkeys(worst.list for worst in record.worst):
        for is_bona_fide, heading in ((False, "attacks"), (True, "bona fide captures")):
            shown = [
                _Shown(
                    index=index,
                    worst=worst,
                    decided=_decided(worst),
                    frames=[
                        _Frame(modality.value, uri)
                        for modality, uri in pictures.get((worst.list, worst.index), ())
                    ],
                )
                for index, worst in enumerate(record.worst)
                if worst.list == name and worst.is_bona_fide is is_bona_fide
            ]
            if shown:
                groups.append(_Group(f"{name}, {heading}", shown))
    return groups


def _decided(worst: WorstCapture) -> str:
    if worst.is_error is None:
        return "no threshold"
    if not worst.is_error:
        return "right"
    return "refused" if worst.is_bona_fide else "accepted"


def _bundle(record: Evaluation) -> list[tuple[str, str]]:
    identity = record.bundle
    if identity.signed_by:
        signature = f"by trusted key {identity.signed_by}"
    elif identity.has_signature:
        signature = "present, not checked (unsigned)"
    else:
        signature = "none (unsigned)"
    return [
        ("File", identity.path),
        ("Id", identity.id),
        ("Revision", str(identity.revision)),
        ("Signature", signature),
        ("Model", f"{identity.model} ({identity.published_in})"),
        ("Precision", identity.precision),
        ("Modalities", ", ".join(identity.modalities)),
        ("Required", ", ".join(identity.required) or "none"),
        ("Scores", "calibrated" if identity.is_calibrated else "softmax, not calibrated"),
        ("Thresholds", identity.operating_points_note),
        ("Graph, SHA-256", identity.graph_sha256),
        ("Checkpoint, SHA-256", identity.checkpoint_sha256),
        ("Run on", record.backend),
        ("Trained on", record.source or "not stated"),
    ]


def _lists_used(record: Evaluation) -> list[tuple[list[str | int], str]]:
    """Return path and use of every list."""
    used: list[tuple[list[str | int], str]] = [
        (["lists", index], "test") for index in range(len(record.lists))
    ]
    if record.development is not None:
        used.append((["development"], "development"))
    return used
