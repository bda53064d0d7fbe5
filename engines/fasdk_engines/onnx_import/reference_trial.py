"""Trial of usual settings of an ONNX file on labeled captures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from fasdk.capture import Modality
from fasdk.decision import class_scores
from fasdk.errors import ExportError
from fasdk.preprocess import (
    PRESENCE,
    ChannelOrder,
    CropRule,
    DepthEncoding,
    DepthPolarity,
    PreprocessSpec,
    to_tensor,
)
from fasdk.preprocess.units import UNITS, InputUnits
from fasdk_calibration.metrics import auc
from fasdk_engines.graph.input_units import UnitsProbe, better_units
from fasdk_engines.graph.separation import chance_auc
from fasdk_engines.onnx_import.description import ImportDescription
from fasdk_engines.onnx_import.draft import Draft, Origin, TomlValue
from fasdk_engines.onnx_import.import_graph import import_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.graph.input_units import UnitsEvidence
    from fasdk_engines.onnx_import.onnx_file import OnnxFile

_CROPS = (
    (CropRule.FACE, 1.0),
    (CropRule.FACE, 1.5),
    (CropRule.FACE, 2.7),
    (CropRule.FACE, 4.0),
    (CropRule.FRAME, 1.0),
)
_MOST_CAPTURES = 64
_FEWEST_CAPTURES = 16
_PROBED = 8
_SECONDS = 120.0  # for all settings together; a large network is tried on fewer captures
# AUCs that differ by less than this order by the misfit, which saturates later.
_NEAR_AUC = 0.02
_NEAR_MISFIT = 0.1
_FIRST_UNITS = tuple(u for u in UNITS if u.name in ("level/255", "(level-127.5)/128"))
_SURE = 10  # captures of each class from which a result counts as measured


# Depth as it is tried first; 8-bit depth of a list becomes millimeters by it.
TRIED_DEPTH = DepthEncoding(near_mm=300, far_mm=1500, polarity=DepthPolarity.NEAR_BRIGHT)


@dataclass(frozen=True)
class Setting:
    """Settings of a description that no file states.

    Attributes:
        modalities: Modality that feeds each input, in the file's order.
        units: Units of every input.
        order: Order of the color planes.
        crop: Part of the frame.
        crop_scale: Factor on the face box.
        polarity: End of the depth range that is bright.
    """

    modalities: tuple[Modality, ...]
    units: InputUnits
    order: ChannelOrder
    crop: CropRule
    crop_scale: float
    polarity: DepthPolarity = DepthPolarity.NEAR_BRIGHT

    @property
    def crop_name(self) -> str:
        """The crop as a table shows it."""
        return "frame" if self.crop is CropRule.FRAME else f"face x {self.crop_scale:g}"

    def spec(self, modality: Modality, size: tuple[int, int]) -> PreprocessSpec:
        """Return the preprocessing of one modality at a width and height in pixels."""
        plain = PreprocessSpec(
            width=size[0],
            height=size[1],
            crop=self.crop,
            crop_scale=self.crop_scale,
            channel_order=self.order if modality is Modality.RGB else ChannelOrder.RGB,
            depth=TRIED_DEPTH.model_copy(update={"polarity": self.polarity})
            if modality is Modality.DEPTH
            else None,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        return self.units.applied(plain)


@dataclass(frozen=True)
class Trial:
    """Result of one setting.

    Attributes:
        setting: The setting.
        live_index: Class whose scores separate the captures best.
        auc: AUC with that class taken for bona fide.
        log_loss: Mean negative logarithm of the probability it gives the right kind, in nats.
        divergence: Distance of the activations from what the network's batch norm recorded, in
            nats; None where it has none.
        against: Whether the network's own batch norm or output size speaks for other units.
    """

    setting: Setting
    live_index: int
    auc: float
    log_loss: float
    divergence: float | None
    against: bool

    @property
    def misfit(self) -> float:
        """Log loss and divergence together, in nats; smaller is better."""
        return self.log_loss + (self.divergence or 0.0)


@dataclass(frozen=True)
class TrialTable:
    """Results of all settings tried, best first.

    Attributes:
        name: Name of the captures' list.
        captures: Number of captures tried on.
        attacks: Number of them that are attacks.
        trials: Results, best first.
        near_ties: Results that differ from the best by no more than chance may.
        chosen: The best, or None where it separates the captures no better than chance.
    """

    name: str
    captures: int
    attacks: int
    trials: tuple[Trial, ...]
    near_ties: tuple[Trial, ...]
    chosen: Trial | None

    @property
    def is_sure(self) -> bool:
        """Whether both classes have enough captures for a measurement."""
        return min(self.attacks, self.captures - self.attacks) >= _SURE


@dataclass(frozen=True)
class TriedGraph:
    """A file's graph with settings that can still be exchanged.

    Attributes:
        inputs: Name and size (width and height in pixels) of each of its inputs in file order.
        probe: The graph.
        labels: Number of classes.
        takes_presence: Whether it has an input that says which modalities a capture holds.
    """

    inputs: tuple[tuple[str, tuple[int, int]], ...]
    probe: UnitsProbe
    labels: int
    takes_presence: bool = False

    def tensors(
        self, captures: Sequence[Capture], setting: Setting
    ) -> dict[str, NDArray[np.float32]]:
        """Return the graph's inputs, float32 [B, 3, H, W] and presence [B, modalities], by name."""
        found: dict[str, NDArray[np.float32]] = {}
        for (name, size), modality in zip(self.inputs, setting.modalities, strict=True):
            spec = setting.spec(modality, size)
            found[name] = np.stack(
                [
                    to_tensor(one.frame(modality), one.face_in(modality), spec)
                    if modality in one.present
                    else np.full((3, spec.height, spec.width), spec.missing_value, np.float32)
                    for one in captures
                ]
            )
        if self.takes_presence:
            held = [[m in one.present for m in setting.modalities] for one in captures]
            found[PRESENCE] = np.array(held, np.float32)
        return found

    def evidence(self, captures: Sequence[Capture], setting: Setting) -> UnitsEvidence:
        """Return what the activations on captures tell of the units."""
        return self.probe.evidence(self.tensors(captures, setting))


def open_draft(file: OnnxFile, draft: Draft) -> TriedGraph:
    """Import a file with what its draft states, and any value for what it does not.

    Raises:
        ExportError: Fields that shape the graph are missing, or the file cannot be imported.
        ParityError: Its scores depend on the batch.
    """
    shaping = [f.name for f in draft.missing if f.key in _SHAPING or f.section == "constants"]
    if shaping:
        raise ExportError(f"nothing can be tried before {', '.join(shaping)} are told")
    description = placeholder_description(file, draft)
    imported = import_graph(file, description)
    inputs = tuple(
        (m.value, (description.inputs[m].width, description.inputs[m].height))
        for m in description.modalities
    )
    return TriedGraph(
        inputs,
        UnitsProbe(imported.graph),
        len(description.labels),
        takes_presence=description.presence is not None,
    )


_SHAPING = frozenset(
    ["modalities", "layout", "planes", "width", "height", "name", "kind", "reduction", "labels"]
)
_PLACEHOLDERS: dict[str, TomlValue] = {
    "live_index": 0,
    "crop": "frame",
    "channel_order": "rgb",
    "mean": (127.5, 127.5, 127.5),  # numbers that overflow in no network
    "std": (127.5, 127.5, 127.5),
}


def placeholder_description(file: OnnxFile, draft: Draft) -> ImportDescription:
    """Return a draft's description with any value for what does not shape the graph.

    Raises:
        ExportError: A field is wrong.
    """
    document: dict[str, object] = {}
    for found in draft.fields:
        value = _PLACEHOLDERS.get(found.key) if found.value is None else found.value
        if value is None:
            continue
        section: dict[str, object] = document
        for part in found.section.split(".") if found.section else ():
            section = section.setdefault(part, {})  # type: ignore[assignment]
        section[found.key.strip('"')] = value
    try:
        return ImportDescription.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExportError(f"{file.path}: {where}: {first['msg']}") from None


def try_settings(graph: TriedGraph, draft: Draft, development: DevelopmentSet) -> TrialTable:
    """Try usual units, plane orders, crops and live classes on labeled captures.

    One setting is varied at a time from the best so far; the units and the order of the planes
    are varied together, and again once the crop is known.

    Args:
        graph: The file's graph.
        draft: Its draft, whose fields that are told are not varied.
        development: The captures and their labels.
    """
    search = _Search(graph, draft, development)
    search.run()
    return search.table()


@dataclass
class _Search:
    graph: TriedGraph
    draft: Draft
    development: DevelopmentSet
    results: dict[Setting, Trial] = field(default_factory=dict)
    evidences: dict[Setting, UnitsEvidence] = field(default_factory=dict)
    captures: tuple[Capture, ...] = ()
    truth: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def run(self) -> None:
        self._take(_MOST_CAPTURES)
        best = self._start()
        began = time.perf_counter()
        self._try(best)
        seconds = time.perf_counter() - began
        expected = len(UNITS) * 4 + len(_CROPS)
        affordable = int(len(self.captures) * _SECONDS / max(seconds * expected, 1e-9))
        if affordable < len(self.captures):
            self._take(max(affordable, _FEWEST_CAPTURES))
            self.results.clear()
            self.evidences.clear()
        best = self._best_of(self._assignments(best))
        best = self._best_of(self._units(best))
        cropped = self._best_of(self._crops(best))
        if Modality.DEPTH in best.modalities:
            turned = replace(cropped, polarity=DepthPolarity.FAR_BRIGHT)
            cropped = self._best_of([cropped, turned])
        if cropped != best:
            self._best_of(self._units(cropped))

    def _take(self, count: int) -> None:
        """Take captures of both classes, evenly spread."""
        labels = np.array([r.is_bona_fide for r in self.development.records], bool)
        chosen: list[int] = []
        for is_live in (True, False):
            rows = np.flatnonzero(labels == is_live)
            taken = np.linspace(0, len(rows) - 1, min(len(rows), max(count // 2, 1))).round()
            chosen += [int(rows[int(i)]) for i in taken] if len(rows) else []
        chosen.sort()
        self.captures = tuple(self.development.captures[i] for i in chosen)
        self.truth = labels[chosen]

    def _start(self) -> Setting:
        told = self.draft.value("modalities")
        held = {m for capture in self.captures for m in capture.present}
        if isinstance(told, tuple):
            modalities = tuple(Modality(str(name)) for name in told)
        else:
            modalities = tuple(m for m in Modality if m in held)[: len(self.graph.inputs)]
        faces = all(capture.face is not None for capture in self.captures)
        crop = CropRule.FACE if faces else CropRule.FRAME
        return Setting(modalities, self._usual_units()[0], ChannelOrder.RGB, crop, 1.0)

    def _assignments(self, best: Setting) -> list[Setting]:
        found = self.draft.get("modalities")
        if found is not None and found.origin is not Origin.MISSING:
            return [best]
        held = [m for m in Modality if all(m in capture.present for capture in self.captures)]
        return [
            replace(best, modalities=order, units=units)
            for order in permutations(held, len(self.graph.inputs))
            for units in ({*_FIRST_UNITS} & {*self._usual_units()} or self._usual_units())
        ]

    def _units(self, best: Setting) -> list[Setting]:
        colored = Modality.RGB in best.modalities
        return [
            replace(best, units=units, order=order)
            for units in self._usual_units()
            for order in (tuple(ChannelOrder) if colored else (ChannelOrder.RGB,))
        ]

    def _usual_units(self) -> tuple[InputUnits, ...]:
        """Return the units to try: levels alone where the type of an input fits no others."""
        told = any(f.key == "std" and f.value is not None for f in self.draft.fields)
        return tuple(u for u in UNITS if u.name == "levels") if told else UNITS

    def _crops(self, best: Setting) -> list[Setting]:
        if any(capture.face is None for capture in self.captures):
            return [replace(best, crop=CropRule.FRAME, crop_scale=1.0)]
        return [replace(best, crop=crop, crop_scale=scale) for crop, scale in _CROPS]

    def _best_of(self, settings: Sequence[Setting]) -> Setting:
        tried = [self._try(setting) for setting in settings]
        return ranked(tried)[0].setting

    def _try(self, setting: Setting) -> Trial:
        if setting not in self.results:
            self.results[setting] = self._measure(setting)
        return self.results[setting]

    def _measure(self, setting: Setting) -> Trial:
        logits = self.graph.probe.logits(self.graph.tensors(self.captures, setting))
        scores = np.array([class_scores(row) for row in logits])
        finite = np.isfinite(scores).all()
        by_class = [float(auc(column, self.truth)) if finite else 0.0 for column in scores.T]
        losses = [
            float(-np.log(np.clip(np.where(self.truth, p, 1.0 - p), 1e-7, 1.0)).mean())
            for p in scores.T
        ]
        live = max(range(len(by_class)), key=lambda c: (round(by_class[c], 6), -losses[c]))
        return Trial(
            *(setting, live, by_class[live], losses[live]),
            *(self._evidence(setting).divergence, self._is_against(setting)),
        )

    def _is_against(self, setting: Setting) -> bool:
        told = self._evidence(setting)
        if told.divergence is None and not told.is_lost:
            return False
        others = [
            (units, self._evidence(replace(setting, units=units))) for units in self._usual_units()
        ]
        return bool(better_units(told, others))

    def _evidence(self, setting: Setting) -> UnitsEvidence:
        if setting not in self.evidences:
            shown = self.captures[:: max(len(self.captures) // _PROBED, 1)][:_PROBED]
            self.evidences[setting] = self.graph.evidence(shown, setting)
        return self.evidences[setting]

    def table(self) -> TrialTable:
        attacks = int((~self.truth).sum())
        trials = ranked(list(self.results.values()))
        best = trials[0]
        near = [
            other
            for other in trials[1:]
            if not other.against
            and best.auc - other.auc <= _NEAR_AUC
            and other.misfit - best.misfit <= _NEAR_MISFIT
        ]
        chosen = best if best.auc > chance_auc(len(self.truth), attacks) else None
        return TrialTable(
            self.development.name, len(self.truth), attacks, tuple(trials), tuple(near), chosen
        )


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials best first: by the weights' own evidence, AUC, and misfit at near ties."""
    rest = sorted(trials, key=lambda t: (t.against, -t.auc, t.misfit))
    if not rest:
        return []
    front = [t for t in rest if t.against == rest[0].against and rest[0].auc - t.auc <= _NEAR_AUC]
    front.sort(key=lambda t: t.misfit)
    return front + [t for t in rest if t not in front]
