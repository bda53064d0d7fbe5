"""Plausibility of a build: units of the input, and scores that move with the captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Modality
from fasdk.decision import class_scores
from fasdk.errors import ModelError
from fasdk.preprocess import ChannelOrder, to_batch
from fasdk.preprocess.units import UNITS, units_of
from fasdk_calibration.metrics import auc
from fasdk_engines.graph.captures import spread
from fasdk_engines.graph.input_units import UnitsProbe, better_units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fasdk.capture import Capture
    from fasdk.preprocess import PreprocessSpec
    from fasdk.preprocess.units import InputUnits
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.resolved import ResolvedModel
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.graph.input_units import UnitsEvidence

_PROBED = 8
# Logits that move less than this over captures move a score by less than 3e-5.
_CONSTANT = 1e-4
_USUAL_RANGE = (-4.0, 4.0)
_FAR_FACTOR = 20.0
_LABELED = 32
_CLEARLY = 0.8  # share of the log loss below which another order of the planes is clearly better


@dataclass(frozen=True)
class Plausibility:
    """Result of the checks.

    Attributes:
        notes: Plain lines for the summary of the build, each on one thing that was found.
        doubts: Plain lines, each on one thing that could not be told and may be wrong.
    """

    notes: tuple[str, ...]
    doubts: tuple[str, ...]


def check_plausibility(
    graph: bytes,
    model: ResolvedModel,
    captures: BuildCaptures,
    *,
    described: bool,
    accept_units: bool = False,
) -> Plausibility:
    """Check that a network answers captures, and that the units of its input are those told.

    Args:
        graph: FP32 graph of the build.
        model: Model of the build.
        captures: Captures of the build.
        described: Whether the user stated the preprocessing; a registered model's published one is
            not doubted.
        accept_units: Whether units are accepted that the network's weights speak against.

    Raises:
        ModelError: The scores are the same for all captures, or the weights of the network speak
            for other units.
    """
    shown, what, generated = _shown(model, captures)
    probe = UnitsProbe(graph)

    def evidence(specs: Mapping[Modality, PreprocessSpec]) -> UnitsEvidence:
        return probe.evidence(to_batch(shown, specs, model.family.presence_order))

    told = evidence(model.specs)
    better = []
    if described:
        better = better_units(
            told,
            [
                (units, evidence({m: units.applied(spec) for m, spec in model.specs.items()}))
                for units in UNITS
                if not generated or _far_apart(units, model.specs)
            ],
        )
    names = ", ".join(dict.fromkeys(units_of(spec).name for spec in model.specs.values()))
    if better and not accept_units:
        raise ModelError(_wrong_units(names, model.specs, better, told, what))
    if told.logit_spread < _CONSTANT:
        raise ModelError(
            f"the network answers {what} alike: its logits move by {told.logit_spread:.1e}. It was "
            "never trained, its weights are zero, or its input is not what it was trained on: "
            "give the trained weights"
        )
    if not described:
        return Plausibility((), ())
    swapped = _better_swapped(probe, model, captures.development)
    doubts = () if swapped is None else (swapped,)
    low, high = told.first_range or (0.0, 0.0)
    if better:
        line = f"units {names} as described, against the weights, which speak for {better[0].name}"
        doubts = (line, *doubts)
    elif told.divergence is not None:
        line = f"units {names}: its first batch norm agrees, on {what}"
    elif low < _USUAL_RANGE[0] or high > _USUAL_RANGE[1]:
        line = (
            f"units {names} as described: {low:.4g} to {high:.4g} enter the first layer, and "
            "nothing in the file says that it was trained on such numbers: compare with its "
            "training code, or see `fasdk describe --reference`"
        )
        doubts = (line, *doubts)
    else:
        line = f"units {names} as described: the file does not tell them"
    return Plausibility((line,), doubts)


def _better_swapped(
    probe: UnitsProbe, model: ResolvedModel, development: DevelopmentSet | None
) -> str | None:
    """Return a doubt where labeled captures fit better with red and blue swapped, else None."""
    spec = model.specs.get(Modality.RGB)
    if development is None or spec is None:
        return None
    rows = spread(range(len(development.captures)), _LABELED)
    truth = np.array([development.records[row].is_bona_fide for row in rows], bool)
    if truth.all() or not truth.any():
        return None
    told = spec.channel_order
    other = ChannelOrder.BGR if told is ChannelOrder.RGB else ChannelOrder.RGB
    turned = spec.model_copy(
        update={"channel_order": other, "mean": spec.mean[::-1], "std": spec.std[::-1]}
    )
    found = []
    for one in (spec, turned):
        specs = {**model.specs, Modality.RGB: one}
        captures = [development.captures[row] for row in rows]
        logits = probe.logits(to_batch(captures, specs, model.family.presence_order))
        live = np.array([class_scores(row)[model.family.live_index] for row in logits])
        if not np.isfinite(live).all():
            return None
        loss = -np.log(np.clip(np.where(truth, live, 1.0 - live), 1e-7, 1.0)).mean()
        found.append((float(auc(live, truth)), float(loss)))
    (auc_told, loss_told), (auc_other, loss_other) = found
    if auc_other < auc_told or loss_other > _CLEARLY * loss_told:
        return None
    return (
        f"AUC {auc_told:.4f} and log loss {loss_told:.3f} on {len(rows)} captures of "
        f"{development.name} with {told.value} planes, {auc_other:.4f} and {loss_other:.3f} with "
        f'{other.value}: if that is what it was trained on, write channel_order = "{other.value}"'
    )


def _shown(model: ResolvedModel, captures: BuildCaptures) -> tuple[list[Capture], str, bool]:
    """Return captures to look at, what they are, and whether they are generated."""
    if captures.development is not None:
        shown = spread(captures.emulation, _PROBED)
        return shown, f"{len(shown)} captures of {captures.development.name}", False
    if captures.calibration is not None:
        dataset = captures.calibration
        shown = [
            dataset.load(record, model.depth, modalities=model.family.modalities)
            for record in spread(dataset.records, _PROBED)
        ]
        return shown, f"{len(shown)} captures of {dataset.name}", False
    shown = spread(captures.emulation, _PROBED)
    return shown, f"{len(shown)} generated images", True


def _far_apart(units: InputUnits, specs: Mapping[Modality, PreprocessSpec]) -> bool:
    """Whether units differ in scale by so much that generated images tell them from those told.

    They are of another contrast than a sensor's, so they tell nothing finer.
    """
    told = np.mean([spec.std for spec in specs.values()])
    ratio = float(np.mean(units.std) / told)
    return not 1.0 / _FAR_FACTOR < ratio < _FAR_FACTOR


def _wrong_units(
    names: str,
    specs: Mapping[Modality, PreprocessSpec],
    better: Sequence[InputUnits],
    told: UnitsEvidence,
    what: str,
) -> str:
    """Return the error for units that the weights speak against, with the lines to write."""
    spec = next(iter(specs.values()))
    mean, std = (list(values) for values in better[0].values(spec.channel_order))
    others = f", or else {' or '.join(u.name for u in better[1:3])}" if better[1:] else ""
    found = (
        f"its first batch norm lies {told.divergence:.1f} nats from what training recorded"
        if told.divergence is not None and not told.is_lost
        else f"its first layer's output spreads over {told.first_spread:.2g} and its logits over "
        f"{told.logit_spread:.2g}"
    )
    return (
        f"the network was not trained on {names}: on {what} {found}. Write mean = {mean} and "
        f"std = {std} ({better[0].name}{others}), or state --accept-units if its training code "
        f"says {names}"
    )
