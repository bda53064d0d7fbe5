"""Plausibility of a build: units of the input, and scores that move with the captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import ModelError
from fasdk.preprocess import to_batch
from fasdk.preprocess.units import UNITS, units_of
from fasdk_engines.graph.captures import spread
from fasdk_engines.graph.input_units import UnitsProbe, better_units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fasdk.capture import Capture, Modality
    from fasdk.preprocess import PreprocessSpec
    from fasdk.preprocess.units import InputUnits
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.resolved import ResolvedModel
    from fasdk_engines.graph.input_units import UnitsEvidence

_PROBED = 8
# Logits that move less than this over captures move a score by less than 3e-5.
_CONSTANT = 1e-4
_USUAL_RANGE = (-4.0, 4.0)


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
    shown = spread(captures.emulation, _PROBED)
    probe = UnitsProbe(graph)

    def evidence(specs: Mapping[Modality, PreprocessSpec]) -> UnitsEvidence:
        return probe.evidence(to_batch(shown, specs, model.family.presence_order))

    told = evidence(model.specs)
    what = _captures_text(shown, captures)
    better = []
    if described:
        better = better_units(
            told,
            [
                (units, evidence({m: units.applied(spec) for m, spec in model.specs.items()}))
                for units in UNITS
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
    if better:
        line = f"units {names} as described, against the weights, which speak for {better[0].name}"
        return Plausibility((line,), (line,))
    if told.divergence is not None:
        return Plausibility((f"units {names}: its first batch norm agrees, on {what}",), ())
    low, high = told.first_range or (0.0, 0.0)
    if low < _USUAL_RANGE[0] or high > _USUAL_RANGE[1]:
        line = (
            f"units {names} as described: {low:.4g} to {high:.4g} enter the first layer, and "
            "nothing in the file says that it was trained on such numbers: compare with its "
            "training code, or see `fasdk describe --reference`"
        )
        return Plausibility((line,), (line,))
    return Plausibility((f"units {names} as described: the file does not tell them",), ())


def _captures_text(shown: Sequence[Capture], captures: BuildCaptures) -> str:
    if captures.development is None:
        return f"{len(shown)} generated images"
    return f"{len(shown)} captures of {captures.development.name}"


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
