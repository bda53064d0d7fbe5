"""From a float32 graph and calibration captures to a graph that computes in eight bits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk.bundle.manifest import Precision
from fasdk.errors import PrecisionError
from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.graph.fp16 import convert, islands_matching
from fasdk_engines.quantization.calibration.recipe import Options, SiteRecipe, make_site_recipe
from fasdk_engines.quantization.calibration.residual import choose_two_term
from fasdk_engines.quantization.calibration.statistics import gather
from fasdk_engines.quantization.graph.activation_groups import find_sites
from fasdk_engines.quantization.graph.layer_switch import Probe
from fasdk_engines.quantization.graph.layers import Layer, find_layers
from fasdk_engines.quantization.graph.normalize import prepare_graph
from fasdk_engines.quantization.graph.opset import raise_opset
from fasdk_engines.quantization.graph.qdq_insertion import author

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec

    Progress = Callable[[str, int, int], None]

_MACS_AT_ONCE = 4_000_000_000  # how much work, and so memory, one call on captures may be
_MOST_AT_ONCE = 32


@dataclass(frozen=True)
class ActivationRange:
    """What was decided about one activation.

    Attributes:
        activation: Its name.
        layers: Names of the layers that read it in eight bits.
        scale: Step of its int8 tensor, after the map.
        form: "levels": 8-bit pixels as they are; "folded": mapped by the norm in front of it;
            "mapped": by operators of its own; "plain": as it is.
        expected_noise: Expected noise power over signal power at its layers, summed; 0 for levels,
            whose rounding is exact.
    """

    activation: str
    layers: tuple[str, ...]
    scale: float
    form: str
    expected_noise: float


class Quantizer:
    """A graph with all that calibration decided about it; `write` makes the quantized graph.

    Attributes:
        layers: Every Linear and Conv, in graph order.
        ranges: What was chosen, by activation, in graph order.
    """

    layers: tuple[Layer, ...]
    ranges: tuple[ActivationRange, ...]

    def __init__(
        self,
        model: onnx.ModelProto,
        layers: tuple[Layer, ...],
        recipes: tuple[SiteRecipe, ...],
        precision: Precision,
        islands: tuple[str, ...],
    ) -> None:
        self._model = model
        self._recipes = recipes
        self._precision = precision
        self._islands = islands
        self._two_term: frozenset[str] = frozenset()
        self.layers = layers
        self.ranges = tuple(_describe(recipe) for recipe in recipes)

    @classmethod
    def prepare(
        cls,
        graph: bytes,
        batches: Sequence[Mapping[str, NDArray[np.float32]]],
        specs: Mapping[Modality, PreprocessSpec],
        *,
        precision: Precision,
        method: RangeMethod = RangeMethod.MSE,
        float32_islands: Sequence[str] = (),
        cache: Path | None = None,
        progress: Progress | None = None,
        options: Options | None = None,
    ) -> Quantizer:
        """Calibrate a graph.

        Args:
            graph: ONNX file, float32 throughout.
            batches: Calibration captures as `to_batch` makes them, float32 [B, ...] by input name.
            specs: Preprocessing by modality; it says which inputs are 8-bit pixels.
            precision: INT8 or INT8_FP32.
            method: How activations' ranges are chosen.
            float32_islands: Regular expressions found in the names of nodes that stay float32.
            cache: Folder for what was seen of the activations; None keeps nothing.
            progress: Hears (what, done, of).
            options: What may be used, in place of `method` and what suits the precision.

        Raises:
            PrecisionError: Another precision, no captures, an activation that is not finite, an
                island that names nothing, or no layer that could compute in eight bits.
            ExportError: The graph cannot be read or its types do not fit together.
            BackendError: ONNX Runtime refuses or fails to run it.
        """
        if precision not in (Precision.INT8, Precision.INT8_FP32):
            raise PrecisionError(f"precision {precision.value!r} is not quantized: give int8")
        model = prepare_graph(graph)
        if not sum(len(next(iter(batch.values()))) for batch in batches):
            raise PrecisionError("INT8 cannot be calibrated on no capture: give a calibration list")
        islands = islands_matching(graph, float32_islands).nodes
        shapes = {name: (1, *array.shape[1:]) for name, array in batches[0].items()}
        layers = find_layers(model, shapes, islands)
        if not any(x.layer.quantized for x in layers):
            raise PrecisionError(
                f"none of the {len(layers)} Linear and Conv layers can compute in eight bits: "
                "build with --precision fp16"
            )
        sites = find_sites(model, layers, specs)
        at_once = _MACS_AT_ONCE // max(1, sum(x.layer.macs for x in layers))
        statistics = gather(
            model,
            sites,
            batches,
            cache=cache,
            captures_at_once=max(1, min(_MOST_AT_ONCE, at_once)),
            progress=progress,
        )
        import onnx

        read = {member.weight for site in sites for member in site.members}
        weights = {
            t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in read
        }
        options = options or default_options(precision, method)
        recipes = []
        for number, (site, seen) in enumerate(zip(sites, statistics, strict=True)):
            recipes.append(make_site_recipe(site, seen, weights, options))
            if progress is not None:
                progress("weights", number + 1, len(sites))
        told = tuple(x.layer for x in layers)
        quantizer = cls(model, told, tuple(recipes), precision, tuple(float32_islands))
        if options.two_term_share > 0.0:
            chosen = choose_two_term(
                quantizer.probe(),
                told,
                batches,
                share=options.two_term_share,
                target=options.target_noise,
                progress=progress,
            )
            quantizer.multiply_twice(chosen)
        return quantizer

    def multiply_twice(self, names: frozenset[str]) -> None:
        """Hold the activations of the layers named, and of no others, in two int8 terms.

        Raises:
            PrecisionError: A name is no quantized layer's.
        """
        self._require_quantized(names)
        self._two_term = names
        self.layers = tuple(replace(x, two_terms=x.name in names) for x in self.layers)

    def write(self, keep_float: frozenset[str] = frozenset()) -> bytes:
        """Return the typed graph, inputs and outputs float32; equal arguments give equal bytes.

        INT8 holds its Q/DQ in float16, INT8_FP32 in float32.

        Args:
            keep_float: Names of layers that are to stay in floating point.

        Raises:
            PrecisionError: A name is no quantized layer's, or a weight does not fit float16.
            ExportError: The graph holds an operator that cannot be converted.
        """
        self._require_quantized(keep_float)
        on_cpu = self._precision is Precision.INT8_FP32
        written = author(self._model, self._recipes, keep_float, self._two_term, own_pairs=on_cpu)
        if on_cpu:
            return bytes(written.SerializeToString(deterministic=True))
        raise_opset(written)
        graph = bytes(written.SerializeToString(deterministic=True))
        return convert(graph, Precision.FP16, islands_matching(graph, self._islands))

    def layers_without(self, keep_float: frozenset[str]) -> tuple[Layer, ...]:
        """Return `layers` as they are once some are given back to floating point."""
        return tuple(
            replace(x, quantized=False, two_terms=False, reason="given back for accuracy")
            if x.name in keep_float
            else x
            for x in self.layers
        )

    def probe(self, *, threads: int = 0) -> Probe:
        """Return the whole graph in one session in which each layer can be switched.

        Raises:
            BackendError: ONNX Runtime refuses it.
        """
        return Probe(self._model, self._recipes, self._two_term, threads=threads)

    def _require_quantized(self, names: frozenset[str]) -> None:
        known = {layer.name for layer in self.layers if layer.quantized}
        if not names <= known:
            raise PrecisionError(
                f"{min(names - known)!r} is no layer that computes in eight bits: "
                "name one of `Quantizer.layers`"
            )


def share_of_macs(layers: Sequence[Layer]) -> float:
    """Return the share of multiply-accumulates of all Linear and Conv layers that is in int8."""
    return sum(x.macs for x in layers if x.quantized) / max(1, sum(x.macs for x in layers))


def default_options(precision: Precision, method: RangeMethod) -> Options:
    """Return what suits a precision.

    On a CPU weights no pair of which saturates without VNNI, and each product once: there a second
    one costs more than it does where eight bits are twice as fast as sixteen.
    """
    if precision is Precision.INT8_FP32:
        return Options(method, pairs=True, two_term_share=0.0)
    return Options(method)


def _describe(recipe: SiteRecipe) -> ActivationRange:
    mapped = recipe.affine.is_shifted or recipe.affine.is_scaled
    form = "mapped" if mapped else "plain"
    if recipe.is_levels:
        form = "levels"
    elif recipe.is_folded and mapped:
        form = "folded"
    return ActivationRange(
        recipe.site.value,
        tuple(x.node.layer.name for x in recipe.layers),
        recipe.affine.scale,
        form,
        recipe.affine.expected,
    )
