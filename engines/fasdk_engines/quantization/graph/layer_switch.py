"""One session of a whole graph in which each layer computes in eight bits or not, as told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import BackendError, PrecisionError
from fasdk_engines.quantization.graph.graph_rewriter import (
    Branch,
    Rewriter,
    make_choice,
    make_node,
    mapped_bystander,
    shaped_weight,
)
from fasdk_engines.quantization.graph.partition import SKIPPED, cut_in_stages, known
from fasdk_engines.quantization.graph.qdq_reference import plain_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.quantization.calibration.recipe import LayerRecipe, SiteRecipe

_SWITCHES, _TWO_TERM = "fasdk:quantized", "fasdk:two-term"


class Probe:
    """A float32 graph with a switch a layer; Q/DQ is executed as written.

    After a call with every layer in floating point, calls on the same arrays compute only from the
    first layer in eight bits on. Leave those arrays alone meanwhile.

    Attributes:
        layers: Names of the layers that can be switched, in graph order.

    Args:
        model: Float32 graph.
        recipes: What was decided about it.
        two_term: Layers that multiply twice unless told otherwise.
        threads: CPU threads; 0 takes one per core.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """

    layers: tuple[str, ...]

    def __init__(
        self,
        model: onnx.ModelProto,
        recipes: Sequence[SiteRecipe],
        two_term: frozenset[str] = frozenset(),
        *,
        threads: int = 0,
    ) -> None:
        import onnx

        self._two_term = two_term

        self.layers = tuple(x.node.layer.name for recipe in recipes for x in recipe.layers)
        rewriter = Rewriter(model)
        number = 0
        for recipe in recipes:
            _switch_site(rewriter, recipe, number)
            number += len(recipe.layers)
        switched = rewriter.finish()
        switches = (_SWITCHES, _TWO_TERM)
        for name in switches:
            switched.graph.input.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, [len(self.layers)])
            )
        self._stages = cut_in_stages(switched, self.layers, switches)
        results = [name for stage in self._stages for name in stage.results]
        self._known = _Known({}, dict.fromkeys(results, np.zeros(0, np.float32)))
        self._session = plain_session(switched.SerializeToString(), threads)

    def logits(
        self,
        batch: Mapping[str, NDArray[np.float32]],
        keep_float: frozenset[str] = frozenset(),
        two_term: frozenset[str] | None = None,
    ) -> NDArray[np.float32]:
        """Return float32 [B, classes] with all layers in eight bits but those named.

        Args:
            batch: float32 [B, ...] by input name.
            keep_float: Layers in floating point.
            two_term: Layers whose activation is held in two terms; None takes those it
                was made with.

        Raises:
            PrecisionError: A name is no layer's that can be switched.
            BackendError: ONNX Runtime fails.
        """
        two_term = self._two_term if two_term is None else two_term
        unknown = (keep_float | two_term).difference(self.layers)
        if unknown:
            raise PrecisionError(f"{min(unknown)!r} is no layer that computes in eight bits")
        switches = np.array([name not in keep_float for name in self.layers])
        twice = np.array([name in two_term for name in self.layers])
        feeds = {**batch, _SWITCHES: switches, _TWO_TERM: twice}
        wanted = ["logits"]
        if self._stages:
            first = self._first_changed(keep_float) if self._known.is_of(batch) else 0
            feeds[SKIPPED] = np.arange(len(self._stages)) < first
            feeds |= {known(name): result for name, result in self._known.results.items()}
            if not switches.any():
                wanted = list(self._known.results)
        try:
            found = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on the probe: {error}") from error
        if self._stages and not switches.any():
            self._known = _Known(dict(batch), found)
        return np.asarray(found["logits"], np.float32)

    def _first_changed(self, keep_float: frozenset[str]) -> int:
        """Return the first stage that holds a layer in eight bits; where none does, the first."""
        changed = (not keep_float.issuperset(stage.layers) for stage in self._stages)
        return next((number for number, is_so in enumerate(changed) if is_so), 0)


@dataclass(frozen=True, eq=False)
class _Known:
    """What every stage makes of a batch with all layers in floating point."""

    batch: Mapping[str, NDArray[np.float32]]
    results: Mapping[str, NDArray[np.float32]]

    def is_of(self, batch: Mapping[str, NDArray[np.float32]]) -> bool:
        """Return whether these are the very captures."""
        return batch.keys() == self.batch.keys() and all(
            array is self.batch[name] for name, array in batch.items()
        )


def _switch_site(rewriter: Rewriter, recipe: SiteRecipe, number: int) -> None:
    site, affine = recipe.site, recipe.affine
    first = recipe.layers[0].node.layer.name
    value = site.value
    if recipe.is_folded:
        rewriter.fold_norm(recipe)
        for node in site.bystanders:
            weight = {node.weight: rewriter.weight(node.weight)}
            rewriter.rewrite(node, value, *mapped_bystander(node, recipe, weight), is_padded=False)
    else:
        value = rewriter.map_activation(recipe, first)
    terms = _Terms(
        value,
        scale=rewriter.constant(f"{value}:scale", np.array(affine.scale)),
        wide_scale=rewriter.constant(f"{value}:wide_scale", np.array(affine.wide_scale)),
        fine_scale=rewriter.constant(f"{value}:fine_scale", np.array(affine.fine_scale)),
        zero=rewriter.constant(f"{value}:zero", np.array(0, np.int8)),
    )
    is_padded = not recipe.is_folded and affine.is_shifted
    for offset, layer in enumerate(recipe.layers):
        _switch_layer(rewriter, layer, terms, number + offset, is_padded=is_padded)


@dataclass(frozen=True)
class _Terms:
    """Names of a site's activation and of what rounds it to one int8 term or to two."""

    value: str
    scale: str
    wide_scale: str
    fine_scale: str
    zero: str

    def one(self, stem: str) -> list[onnx.NodeProto]:
        """Return the nodes that hold it in one term."""
        return _rounded(self.value, self.scale, self.zero, f"{stem}:one")

    def two(self, stem: str) -> list[onnx.NodeProto]:
        """Return the nodes that hold it in two: a coarse one, and what that leaves."""
        wide = _rounded(self.value, self.wide_scale, self.zero, f"{stem}:two_wide")
        coarse, left = wide[-1].output[0], f"{stem}:two_left"
        fine = _rounded(left, self.fine_scale, self.zero, f"{stem}:two_fine")
        return [
            *wide,
            make_node("Sub", [self.value, coarse], [left], left),
            *fine,
            make_node("Add", [coarse, fine[-1].output[0]], [f"{stem}:two"], f"{stem}:two"),
        ]


def _rounded(value: str, scale: str, zero: str, stem: str) -> list[onnx.NodeProto]:
    coded = f"{stem}_coded"
    return [
        make_node("QuantizeLinear", [value, scale, zero], [coded], coded),
        make_node("DequantizeLinear", [coded, scale, zero], [stem], stem),
    ]


def _switch_layer(
    rewriter: Rewriter, layer: LayerRecipe, terms: _Terms, number: int, *, is_padded: bool
) -> None:
    """Let a layer read what its switches say; what they do not ask for is not computed."""
    name = layer.node.layer.name
    index = rewriter.constant(f"{name}:index", np.array([number], np.int64))
    flag = rewriter.insert(name, "Gather", [_SWITCHES, index], f"{name}:flag")
    twice = rewriter.insert(name, "Gather", [_TWO_TERM, index], f"{name}:twice")

    def either(rounded: Branch, plain: str, stem: str) -> str:
        output = f"{name}:{stem}"
        return rewriter.place(
            name, make_choice(flag, rounded, Branch.same([plain], output), [output])
        )

    stem = f"{name}:terms"
    two, one = Branch.of(*terms.two(stem)), Branch.of(*terms.one(stem))
    value = either(Branch.of(make_choice(twice, two, one, [stem])), terms.value, "value")
    # A weight in eight bits is a third of the memory the same in float32 would take beside it.
    levels = shaped_weight(layer.node, layer.rounded.levels.astype(np.float64)).astype(np.int8)
    scales = layer.rounded.scales if layer.node.window is None else layer.rounded.scales[:, None]
    if layer.node.window is not None:
        scales = scales[:, :, None, None]
    wide, coarse = f"{name}:wide", f"{name}:coarse"
    made = Branch.of(
        make_node("Cast", [rewriter.constant(f"{name}:levels", levels)], [wide], wide, to=1),
        make_node("Mul", [wide, rewriter.constant(f"{name}:scales", scales)], [coarse], coarse),
    )
    plain = rewriter.constant(f"{name}:plain", shaped_weight(layer.node, layer.plain))
    weight = either(made, plain, "weight")
    biases = [
        rewriter.constant(f"{name}:{stem}", values)
        for stem, values in (
            ("fine_bias", layer.fine_bias),
            ("bias", layer.bias),
            ("plain_bias", layer.plain_bias),
        )
    ]
    own = rewriter.insert(name, "Where", [twice, *biases[:2]], f"{name}:any_bias")
    bias = rewriter.insert(name, "Where", [flag, own, biases[2]], f"{name}:switched_bias")
    rewriter.rewrite(layer.node, value, weight, bias, is_padded=is_padded)
