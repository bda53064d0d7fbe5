"""Description of an ONNX file as far as it and labeled captures tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fasdk.capture import Modality
from fasdk.errors import FasdkError
from fasdk.preprocess import ChannelOrder, CropRule
from fasdk.preprocess.units import UNITS
from fasdk_engines.graph.captures import read_development, seeded_captures
from fasdk_engines.onnx_import.draft import (
    Draft,
    DraftField,
    Origin,
    draft_description,
    score_outputs,
)
from fasdk_engines.onnx_import.guard import run_guarded
from fasdk_engines.onnx_import.onnx_file import read_onnx_file
from fasdk_engines.onnx_import.reference_trial import (
    TRIED_DEPTH,
    Setting,
    TrialTable,
    open_draft,
    ranked,
    try_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fasdk_calibration.datasets import DatasetSource
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.onnx_import.draft import TomlValue
    from fasdk_engines.onnx_import.onnx_file import OnnxFile
    from fasdk_engines.onnx_import.reference_trial import TriedGraph

_PROBED = 8
# Nats above the best within which the weights do not tell two units apart.
_ALIKE = 1.5


@dataclass(frozen=True)
class FileDescription:
    """Description of an ONNX file, with where each line comes from.

    Attributes:
        draft: The description; `draft.text()` is the TOML document.
        table: Settings tried on labeled captures; None without captures.
        problem: Reason why the file could not be run, or None.
    """

    draft: Draft
    table: TrialTable | None
    problem: str | None


def describe_onnx(
    path: Path,
    *,
    reference: DatasetSource | None = None,
    modalities: Sequence[Modality] = (),
    size: tuple[int, int] | None = None,
) -> FileDescription:
    """Return the description of an ONNX file: what is read, guessed, measured, and must be told.

    Args:
        path: The ONNX file.
        reference: Labeled captures, or None. With it usual units, plane orders, live
            classes and crops are tried.
        modalities: Modalities of the inputs in the file's order; empty where they are not known.
        size: Width and height in pixels of inputs whose size is dynamic, or None.

    Raises:
        ExportError: The file cannot be read.
        DatasetError: The list or a frame is missing or malformed.
    """
    file = read_onnx_file(path)
    told = _Told(file, tuple(modalities), size)
    return run_guarded(partial(_described_by, told, reference), str(path), file.model.ByteSize())


def _described_by(told: _Told, reference: DatasetSource | None) -> FileDescription:
    if reference is None:
        return _described(told, None)
    development = read_development(reference, TRIED_DEPTH)
    found = told.draft().get("output.name")
    if found is None or found.origin is not Origin.MISSING:
        return _described(told, development)
    return _best_output(told, development) or _described(told, development)


@dataclass(frozen=True)
class _Told:
    """An ONNX file with what its caller told of it.

    Attributes:
        file: The file.
        modalities: Modalities of its inputs in the file's order; empty where they are not known.
        size: Width and height in pixels of inputs whose size is dynamic, or None.
        output: Name of the output that is taken for the scores, or None.
        is_masked: Whether an input of one number an image is taken for the presence mask.
    """

    file: OnnxFile
    modalities: tuple[Modality, ...]
    size: tuple[int, int] | None
    output: str | None = None
    is_masked: bool = True

    def draft(self, modalities: Sequence[Modality] = ()) -> Draft:
        """Return the draft, with modalities in place of those told where some are given."""
        return draft_description(
            self.file,
            modalities=modalities or self.modalities,
            size=self.size,
            output=self.output,
            is_masked=self.is_masked,
        )


def _best_output(told: _Told, development: DevelopmentSet) -> FileDescription | None:
    """Return the description with the output that separates labeled captures best, if one does."""
    tried = {
        name: _described(replace(told, output=name), development)
        for name in score_outputs(told.file)
    }
    best = {
        found.table.chosen: name
        for name, found in tried.items()
        if found.table is not None and found.table.chosen is not None
    }
    if not best:
        said = [
            f"output {name}: {found.problem or 'separates the captures no better than chance'}"
            for name, found in tried.items()
        ]
        return FileDescription(told.draft(), None, "; ".join(said)) if said else None
    first = ranked(list(best))[0]
    name = best[first]
    found = tried[name]
    line = found.draft.get("output.name")
    assert line is not None  # noqa: S101 - a file of several outputs has it
    others = ", ".join(f"{best_of.auc:.4f} of {of}" for best_of, of in best.items() if of != name)
    others = others or "nothing of " + ", ".join(of for of in tried if of != name)
    comment = f"{line.comment}: AUC {first.auc:.4f} on captures, {others}"
    measured = replace(line, origin=Origin.MEASURED, comment=comment)
    return replace(found, draft=found.draft.updated([measured]))


def _described(told: _Told, development: DevelopmentSet | None) -> FileDescription:
    draft = told.draft()
    assigned = draft
    if draft.value("modalities") is None and development is not None:
        # Any assignment will do to open the file; the trial finds the right one.
        held = {m for capture in development.captures for m in capture.present}
        placeholder = [m for m in Modality if m in held][: draft.images]
        if len(placeholder) == draft.images:
            assigned = told.draft(placeholder)
    try:
        graph, kind = _open(told.file, assigned)
    except FasdkError as error:
        if draft.value("presence") is None:
            return FileDescription(draft, None, str(error))
        return _described(replace(told, is_masked=False), development)
    if kind is not None:
        draft, assigned = draft.updated([kind]), assigned.updated([kind])
    if development is None:
        return FileDescription(_weighed(draft, graph), None, None)
    if draft.value("modalities") is None:
        missing = next(f for f in draft.fields if f.key == "modalities")
        assigned = assigned.updated([missing])
    table = try_settings(graph, assigned, development)
    if table.chosen is None:
        return FileDescription(draft, table, None)
    if draft.value("modalities") is None:
        draft = told.draft(table.chosen.setting.modalities)
        draft = draft if kind is None else draft.updated([kind])
    return FileDescription(draft.updated(list(_measured(draft, table))), table, None)


def _open(file: OnnxFile, draft: Draft) -> tuple[TriedGraph, DraftField | None]:
    """Open a draft, with another kind of output where its values are not of the kind guessed.

    Returns:
        The graph, and the field of the other kind or None.
    """
    try:
        return open_draft(file, draft), None
    except FasdkError:
        guess = draft.get("output.kind")
        other = None if guess is None else _OTHER_KIND.get(str(guess.value))
        if guess is None or guess.origin is not Origin.GUESS or other is None:
            raise
        kind = replace(
            guess, value=other, origin=Origin.MEASURED, comment="by its values on images"
        )
        try:
            return open_draft(file, draft.updated([kind])), kind
        except FasdkError:
            pass
        raise


_OTHER_KIND = {"logits": "probabilities", "logit": "probability"}


def _measured(draft: Draft, table: TrialTable) -> Iterator[DraftField]:
    """Yield the fields that the best setting states."""
    best = table.chosen
    assert best is not None  # noqa: S101 - the caller has looked
    setting = best.setting
    origin = Origin.MEASURED if table.is_sure else Origin.GUESS
    result = f"AUC {best.auc:.4f} on {table.captures} captures of {table.name}"

    def near(values: set[str]) -> str:
        return f"{result}; nearly as good: {', '.join(sorted(values))}" if values else result

    ties = [trial.setting for trial in table.near_ties]
    units = {t.units.name for t in ties if t.units != setting.units}
    orders = {t.order.value for t in ties if t.order != setting.order}
    crops = {t.crop_name for t in ties if t.crop_name != setting.crop_name}
    if crops:
        crops.add(setting.crop_name)
    modalities = tuple(m.value for m in setting.modalities)
    if draft.value("modalities") != modalities or draft.get("modalities") is None:
        yield DraftField("", "modalities", modalities, origin, result)
    labels = draft.value("labels")
    if isinstance(labels, tuple):
        named: list[TomlValue] = [
            "live"
            if index == best.live_index
            else "attack"
            if len(labels) == 2
            else f"attack {index}"
            for index in range(len(labels))
        ]
        yield DraftField("", "labels", tuple(named), Origin.FREE, "names are free")
    lives = {str(t.live_index) for t in table.near_ties if t.live_index != best.live_index}
    yield DraftField("", "live_index", best.live_index, origin, near(lives))
    for modality in setting.modalities:
        section = f"inputs.{modality.value}"
        spec = setting.spec(modality, (1, 1))
        if crops and not table.is_sure:  # too few captures to tell crops apart
            for line in (draft.get(f"{section}.{key}") for key in ("crop", "crop_scale")):
                if line is not None and line.origin is Origin.MISSING:
                    said = f"{line.comment}; alike here: {', '.join(sorted(crops))}"
                    yield replace(line, comment=said)
        else:
            yield DraftField(section, "crop", spec.crop.value, origin, near(crops))
            yield DraftField(section, "crop_scale", spec.crop_scale, origin, "as crop")
        if draft.get(f"{section}.channel_order") is not None:
            order = spec.channel_order.value
            yield DraftField(section, "channel_order", order, origin, near(orders))
        units_text = f"{setting.units.name}: {near(units)}"
        yield DraftField(section, "mean", spec.mean, origin, units_text)
        yield DraftField(section, "std", spec.std, origin, "as mean")
        if spec.depth is not None:
            depth: dict[str, TomlValue] = {
                "near_mm": spec.depth.near_mm,
                "far_mm": spec.depth.far_mm,
                "polarity": spec.depth.polarity.value,
            }
            yield DraftField(section, "depth", depth, Origin.GUESS, "range usual, polarity tried")


def _weighed(draft: Draft, graph: TriedGraph) -> Draft:
    """Return a draft with what the network's weights tell of the units, on generated images."""
    names = draft.value("modalities")
    if not isinstance(names, tuple):
        return draft
    modalities = tuple(Modality(str(name)) for name in names)
    captures = seeded_captures(modalities, _PROBED)
    base = Setting(modalities, UNITS[0], ChannelOrder.RGB, CropRule.FACE, 1.0)
    found = [(units, graph.evidence(captures, replace(base, units=units))) for units in UNITS]
    known = [(e.divergence, u.name) for u, e in found if e.divergence is not None]
    if known:
        best = min(known)[0]
        fitting = [name for divergence, name in sorted(known) if divergence - best <= _ALIKE]
        source = "its first batch norm speaks for"
    else:
        fitting = [units.name for units, e in found if e.is_usual and not e.is_lost]
        source = "the size of its first layer speaks for"
    if not fitting or len(fitting) == len(UNITS):
        return draft
    said = f"{source} {' or '.join(fitting)}"
    return draft.updated(
        [
            replace(line, comment=f"{line.comment}; {said}")
            for line in draft.missing
            if line.key == "mean"
        ]
    )
