"""A graph in one session in which each layer computes in INT8 or in floating point, on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import Optimization, open_session
from fasdk.errors import BackendError, PrecisionError
from fasdk_engines.quantization.graph.graph_rewriter import (
    Branch,
    GraphRewriter,
    float_consumer_weights,
    make_if,
    make_node,
    shaped_weight,
)
from fasdk_engines.quantization.graph.partition import SKIPPED, cached_input, partition_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.quantization.graph.recipe import GroupRecipe, LayerRecipe

_SWITCHES, _RESIDUAL = "fasdk:quantized", "fasdk:residual"


class SwitchableGraph:
    """A float32 graph with one INT8 switch a layer; no Q/DQ pair is fused.

    After a call with every layer in floating point, calls on the same arrays compute only from the
    first layer in INT8 on. The caller must not modify those arrays in between.

    Attributes:
        layers: Names of the layers that can be switched, in graph order.

    Args:
        model: Float32 graph.
        recipes: Quantization parameters of its activation groups.
        residual_layers: Names of layers whose activation is held in two INT8 terms by default.
        threads: CPU threads; 0 takes one per core.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """

    layers: tuple[str, ...]

    def __init__(
        self,
        model: onnx.ModelProto,
        recipes: Sequence[GroupRecipe],
        residual_layers: frozenset[str] = frozenset(),
        *,
        threads: int = 0,
    ) -> None:
        import onnx

        self._residual_layers = residual_layers

        self.layers = tuple(x.node.layer.name for recipe in recipes for x in recipe.layers)
        rewriter = GraphRewriter(model)
        number = 0
        for recipe in recipes:
            _switch_group(rewriter, recipe, number)
            number += len(recipe.layers)
        switched = rewriter.finish()
        switches = (_SWITCHES, _RESIDUAL)
        for name in switches:
            switched.graph.input.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, [len(self.layers)])
            )
        self._partitions = partition_graph(switched, self.layers, switches)
        results = [name for partition in self._partitions for name in partition.results]
        self._cached = _CachedResults({}, dict.fromkeys(results, np.zeros(0, np.float32)))
        self._session = open_session(
            switched.SerializeToString(),
            threads=threads,
            optimization=Optimization.NONE,
            prepack=False,
            name="the Q/DQ graph",
        )

    def logits(
        self,
        batch: Mapping[str, NDArray[np.float32]],
        float_layers: frozenset[str] = frozenset(),
        residual_layers: frozenset[str] | None = None,
    ) -> NDArray[np.float32]:
        """Return logits, float32 [B, classes], with all layers in INT8 but those named.

        Args:
            batch: float32 [B, ...] by input name.
            float_layers: Names of layers in floating point.
            residual_layers: Names of layers whose activation is held in two INT8 terms; None takes
                those given to the constructor.

        Raises:
            PrecisionError: A name belongs to no layer that can be switched.
            BackendError: ONNX Runtime fails.
        """
        residual_layers = self._residual_layers if residual_layers is None else residual_layers
        unknown = (float_layers | residual_layers).difference(self.layers)
        if unknown:
            raise PrecisionError(
                f"{min(unknown)!r} is no layer that can compute in INT8: name one of "
                "`SwitchableGraph.layers`"
            )
        switches = np.array([name not in float_layers for name in self.layers])
        residual = np.array([name in residual_layers for name in self.layers])
        feeds = {**batch, _SWITCHES: switches, _RESIDUAL: residual}
        wanted = ["logits"]
        if self._partitions:
            first = self._first_changed(float_layers) if self._cached.are_of(batch) else 0
            feeds[SKIPPED] = np.arange(len(self._partitions)) < first
            feeds |= {cached_input(name): value for name, value in self._cached.results.items()}
            if not switches.any():
                wanted = list(self._cached.results)
        try:
            found = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime failed on the graph with layer switches: {error}"
            ) from error
        if self._partitions and not switches.any():
            self._cached = _CachedResults(dict(batch), found)
        return np.asarray(found["logits"], np.float32)

    def _first_changed(self, float_layers: frozenset[str]) -> int:
        """Return the first partition that holds a layer in INT8; where none does, the first."""
        changed = (not float_layers.issuperset(part.layers) for part in self._partitions)
        return next((number for number, is_so in enumerate(changed) if is_so), 0)


@dataclass(frozen=True, eq=False)
class _CachedResults:
    """Results of every partition on one batch, with all layers in floating point."""

    batch: Mapping[str, NDArray[np.float32]]
    results: Mapping[str, NDArray[np.float32]]

    def are_of(self, batch: Mapping[str, NDArray[np.float32]]) -> bool:
        """Return whether these are the same array objects, not only equal values."""
        return batch.keys() == self.batch.keys() and all(
            array is self.batch[name] for name, array in batch.items()
        )


def _switch_group(rewriter: GraphRewriter, recipe: GroupRecipe, number: int) -> None:
    group, smoothing = recipe.group, recipe.smoothing
    first = recipe.layers[0].node.layer.name
    value = group.activation
    if recipe.is_folded:
        rewriter.fold_norm(recipe)
        for node in group.float_consumers:
            weights = {node.weight: rewriter.weight(node.weight)}
            weight, bias = float_consumer_weights(node, recipe, weights)
            rewriter.rewrite(node, value, weight, bias, is_padded=False)
    else:
        value = rewriter.smooth_activation(recipe, first)
    terms = _Int8Terms(
        value,
        scale=rewriter.constant(f"{value}:scale", np.array(smoothing.scale)),
        coarse_scale=rewriter.constant(f"{value}:coarse_scale", np.array(smoothing.coarse_scale)),
        residual_scale=rewriter.constant(
            f"{value}:residual_scale", np.array(smoothing.residual_scale)
        ),
        zero=rewriter.constant(f"{value}:zero", np.array(0, np.int8)),
    )
    is_padded = not recipe.is_folded and smoothing.is_shifted
    for offset, layer in enumerate(recipe.layers):
        _switch_layer(rewriter, layer, terms, number + offset, is_padded=is_padded)


@dataclass(frozen=True)
class _Int8Terms:
    """Names of an activation and of the constants that quantize it to one INT8 term or two."""

    value: str
    scale: str
    coarse_scale: str
    residual_scale: str
    zero: str

    def single(self, stem: str) -> list[onnx.NodeProto]:
        """Return the nodes that quantize it to one term."""
        return _quantized(self.value, self.scale, self.zero, f"{stem}:single")

    def double(self, stem: str) -> list[onnx.NodeProto]:
        """Return the nodes that quantize it to two terms: a coarse one and its residual."""
        coarse_nodes = _quantized(self.value, self.coarse_scale, self.zero, f"{stem}:coarse")
        coarse, difference = coarse_nodes[-1].output[0], f"{stem}:difference"
        residual_nodes = _quantized(difference, self.residual_scale, self.zero, f"{stem}:residual")
        residual = residual_nodes[-1].output[0]
        return [
            *coarse_nodes,
            make_node("Sub", [self.value, coarse], [difference], difference),
            *residual_nodes,
            make_node("Add", [coarse, residual], [f"{stem}:double"], f"{stem}:double"),
        ]


def _quantized(value: str, scale: str, zero: str, stem: str) -> list[onnx.NodeProto]:
    codes = f"{stem}_codes"
    return [
        make_node("QuantizeLinear", [value, scale, zero], [codes], codes),
        make_node("DequantizeLinear", [codes, scale, zero], [stem], stem),
    ]


def _switch_layer(
    rewriter: GraphRewriter, layer: LayerRecipe, terms: _Int8Terms, number: int, *, is_padded: bool
) -> None:
    """Put a layer behind its switches; the form that is not selected is not computed."""
    name = layer.node.layer.name
    index = rewriter.constant(f"{name}:index", np.array([number], np.int64))
    flag = rewriter.insert(name, "Gather", [_SWITCHES, index], f"{name}:flag")
    is_residual = rewriter.insert(name, "Gather", [_RESIDUAL, index], f"{name}:is_residual")

    def either(quantized: Branch, plain: str, stem: str) -> str:
        output = f"{name}:{stem}"
        return rewriter.place(
            name, make_if(flag, quantized, Branch.same([plain], output), [output])
        )

    stem = f"{name}:terms"
    double, single = Branch.of(*terms.double(stem)), Branch.of(*terms.single(stem))
    terms_node = make_if(is_residual, double, single, [stem])
    value = either(Branch.of(terms_node), terms.value, "value")
    # INT8 codes take a quarter of the memory that a second float32 weight would.
    codes = shaped_weight(layer.node, layer.quantized.codes.astype(np.float64)).astype(np.int8)
    scales = layer.quantized.scales
    if layer.node.window is not None:
        scales = scales[:, None, None, None]
    wide, dequantized = f"{name}:wide", f"{name}:dequantized"
    made = Branch.of(
        make_node("Cast", [rewriter.constant(f"{name}:codes", codes)], [wide], wide, to=1),
        make_node(
            "Mul",
            [wide, rewriter.constant(f"{name}:scales", scales)],
            [dequantized],
            dequantized,
        ),
    )
    plain = rewriter.constant(f"{name}:float", shaped_weight(layer.node, layer.float_weight))
    weight = either(made, plain, "weight")
    biases = [
        rewriter.constant(f"{name}:{stem}", values)
        for stem, values in (
            ("residual_bias", layer.residual_bias),
            ("bias", layer.bias),
            ("float_bias", layer.float_bias),
        )
    ]
    own = rewriter.insert(name, "Where", [is_residual, *biases[:2]], f"{name}:int8_bias")
    bias = rewriter.insert(name, "Where", [flag, own, biases[2]], f"{name}:switched_bias")
    rewriter.rewrite(layer.node, value, weight, bias, is_padded=is_padded)
