"""One session of a whole graph in which each layer computes in eight bits or not, as told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import BackendError, PrecisionError
from fasdk_engines.quantisation.rewriting import Rewriter, mapped_bystander, shaped_weight
from fasdk_engines.quantisation.written import plain_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.quantisation.recipe import LayerRecipe, SiteRecipe

_SWITCHES, _TWO_TERM = "fasdk:quantised", "fasdk:two-term"


class Probe:
    """A float32 graph with a switch a layer; Q/DQ is executed as written.

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
        for name in (_SWITCHES, _TWO_TERM):
            switched.graph.input.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, [len(self.layers)])
            )
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
        try:
            (found,) = self._session.run(["logits"], feeds)
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on the probe: {error}") from error
        return np.asarray(found, np.float32)


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
    scale = rewriter.constant(f"{value}:scale", np.array(affine.scale))
    zero = rewriter.constant(f"{value}:zero", np.array(0, np.int8))
    coded = rewriter.insert(first, "QuantizeLinear", [value, scale, zero], f"{value}:coded")
    rounded = rewriter.insert(first, "DequantizeLinear", [coded, scale, zero], f"{value}:rounded")
    step = rewriter.constant(f"{value}:wide_scale", np.array(affine.wide_scale))
    coded = rewriter.insert(first, "QuantizeLinear", [value, step, zero], f"{value}:wide_coded")
    wide = rewriter.insert(first, "DequantizeLinear", [coded, step, zero], f"{value}:wide")
    rest = rewriter.insert(first, "Sub", [value, wide], f"{value}:rest")
    step = rewriter.constant(f"{value}:fine_scale", np.array(affine.fine_scale))
    coded = rewriter.insert(first, "QuantizeLinear", [rest, step, zero], f"{value}:fine_coded")
    rest = rewriter.insert(first, "DequantizeLinear", [coded, step, zero], f"{value}:fine_rest")
    both = rewriter.insert(first, "Add", [wide, rest], f"{value}:both")
    is_padded = not recipe.is_folded and affine.is_shifted
    for offset, layer in enumerate(recipe.layers):
        _switch_layer(rewriter, layer, (value, rounded, both), number + offset, is_padded=is_padded)


def _switch_layer(
    rewriter: Rewriter,
    layer: LayerRecipe,
    values: tuple[str, str, str],
    number: int,
    *,
    is_padded: bool,
) -> None:
    name = layer.node.layer.name
    index = rewriter.constant(f"{name}:index", np.array([number], np.int64))
    flag = rewriter.insert(name, "Gather", [_SWITCHES, index], f"{name}:flag")

    def either(quantised: str, plain: str, stem: str) -> str:
        return rewriter.insert(name, "Where", [flag, quantised, plain], f"{name}:{stem}")

    exact, rounded, both = values
    twice = rewriter.insert(name, "Gather", [_TWO_TERM, index], f"{name}:twice")
    terms = rewriter.insert(name, "Where", [twice, both, rounded], f"{name}:terms")
    value = either(terms, exact, "value")
    # A weight in eight bits is a third of the memory the same in float32 would take beside it.
    levels = shaped_weight(layer.node, layer.rounded.levels.astype(np.float64)).astype(np.int8)
    scales = layer.rounded.scales if layer.node.window is None else layer.rounded.scales[:, None]
    if layer.node.window is not None:
        scales = scales[:, :, None, None]
    wide = rewriter.insert(
        name, "Cast", [rewriter.constant(f"{name}:levels", levels)], f"{name}:wide", to=1
    )
    coarse = rewriter.insert(
        name, "Mul", [wide, rewriter.constant(f"{name}:scales", scales)], f"{name}:coarse"
    )
    fine = rewriter.constant(f"{name}:plain", shaped_weight(layer.node, layer.plain))
    weight = either(coarse, fine, "weight")
    fine_bias = rewriter.constant(f"{name}:fine_bias", layer.fine_bias)
    coarse_bias = rewriter.constant(f"{name}:bias", layer.bias)
    bias = either(
        rewriter.insert(name, "Where", [twice, fine_bias, coarse_bias], f"{name}:any_bias"),
        rewriter.constant(f"{name}:plain_bias", layer.plain_bias),
        "bias",
    )
    rewriter.rewrite(layer.node, value, weight, bias, is_padded=is_padded)
