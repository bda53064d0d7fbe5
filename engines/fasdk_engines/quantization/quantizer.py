"""Post-training quantization of a float32 graph: calibration, and the typed Q/DQ graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from fasdk.bundle.manifest import Precision
from fasdk.errors import PrecisionError
from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.quantization.calibration.group_recipe import make_group_recipe
from fasdk_engines.quantization.calibration.options import QuantizerOptions
from fasdk_engines.quantization.calibration.residual import choose_residual_layers
from fasdk_engines.quantization.calibration.statistics import gather_statistics
from fasdk_engines.quantization.graph.activation_groups import find_activation_groups
from fasdk_engines.quantization.graph.layer_switch import SwitchableGraph
from fasdk_engines.quantization.graph.layers import ExclusionReason, Layer, find_layers
from fasdk_engines.quantization.graph.normalize import prepare_graph
from fasdk_engines.quantization.graph.opset import raise_opset
from fasdk_engines.quantization.graph.qdq_insertion import insert_qdq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec
    from fasdk.progress import Progress
    from fasdk_engines.quantization.graph.recipe import GroupRecipe

_MACS_PER_RUN = 4_000_000_000  # bounds the time and memory of one run on captures
_MAX_CAPTURES_PER_RUN = 32


class NoInt8LayerError(PrecisionError):
    """No layer of a graph can compute in INT8."""


class ActivationForm(str, Enum):
    """Form in which an activation is quantized.

    PIXELS holds 8-bit pixel values exactly; FOLDED is smoothed by the LayerNormalization in front
    of it; SMOOTHED by operators of its own; PLAIN is not smoothed.
    """

    PIXELS = "pixels"
    FOLDED = "folded"
    SMOOTHED = "smoothed"
    PLAIN = "plain"


@dataclass(frozen=True)
class ActivationRange:
    """Quantization of one activation, as calibration.json records it.

    Attributes:
        activation: Name of the activation.
        layers: Names of the layers that read it in INT8.
        scale: Quantization step of its INT8 tensor, after smoothing.
        form: Form in which it is quantized: as pixels, folded, smoothed or plain.
        expected_noise: Expected noise power over signal power at its layers' outputs, summed; 0 for
            pixels, whose rounding is exact.
    """

    activation: str
    layers: tuple[str, ...]
    scale: float
    form: ActivationForm
    expected_noise: float


class Quantizer:
    """A calibrated graph; `write` makes the quantized graph.

    Attributes:
        layers: Every Linear and Conv layer, in graph order.
        ranges: Quantization of each activation, in graph order.
    """

    layers: tuple[Layer, ...]
    ranges: tuple[ActivationRange, ...]

    def __init__(
        self,
        model: onnx.ModelProto,
        layers: tuple[Layer, ...],
        recipes: tuple[GroupRecipe, ...],
        precision: Precision,
        islands: tuple[str, ...],
    ) -> None:
        self._model = model
        self._recipes = recipes
        self._precision = precision
        self._islands = islands
        self._residual_layers: frozenset[str] = frozenset()
        self.layers = layers
        self.ranges = tuple(_range_of(recipe) for recipe in recipes)

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
        options: QuantizerOptions | None = None,
    ) -> Quantizer:
        """Calibrate a graph.

        Args:
            graph: ONNX file, float32 throughout.
            batches: Calibration captures as `to_batch` makes them, float32 [B, ...] by input name.
            specs: Preprocessing by modality; it defines which inputs are 8-bit pixels.
            precision: INT8 or INT8_FP32.
            method: Range method of the activations.
            float32_islands: Regular expressions of the names of nodes that stay float32.
            cache: Folder to keep activation statistics in; None keeps none.
            progress: Receives the progress of each part of the calibration.
            options: Options of the quantizer; None takes those that suit the precision, with
                `method`.

        Raises:
            PrecisionError: Another precision, no captures, an activation that is not finite, an
                island that matches no node.
            NoInt8LayerError: No layer can compute in INT8.
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
        nodes = find_layers(model, shapes, islands)
        if not any(node.layer.quantized for node in nodes):
            raise NoInt8LayerError(
                f"none of the {len(nodes)} Linear and Conv layers can compute in INT8"
            )
        groups = find_activation_groups(model, nodes, specs)
        per_run = _MACS_PER_RUN // max(1, sum(node.layer.macs for node in nodes))
        statistics = gather_statistics(
            model,
            groups,
            batches,
            cache=cache,
            captures_at_once=max(1, min(_MAX_CAPTURES_PER_RUN, per_run)),
            progress=progress,
        )
        import onnx

        read = {node.weight for group in groups for node in group.quantized_layers}
        weights = {
            t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in read
        }
        options = options or default_options(precision, method)
        recipes = []
        for number, (group, observed) in enumerate(zip(groups, statistics, strict=True)):
            recipes.append(make_group_recipe(group, observed, weights, options))
            if progress is not None:
                progress.update("weights", number + 1, len(groups))
        layers = tuple(node.layer for node in nodes)
        quantizer = cls(model, layers, tuple(recipes), precision, tuple(float32_islands))
        if options.residual_share > 0.0:
            chosen = choose_residual_layers(
                quantizer.switchable_graph(),
                layers,
                batches,
                share=options.residual_share,
                target=options.target_noise,
                progress=progress,
            )
            quantizer.set_residual_layers(chosen)
        return quantizer

    def set_residual_layers(self, names: frozenset[str]) -> None:
        """Hold the activations of these layers, and of no others, in two INT8 terms.

        Args:
            names: Names of quantized layers.

        Raises:
            PrecisionError: A name belongs to no quantized layer.
        """
        self._require_quantized(names)
        self._residual_layers = names
        self.layers = tuple(replace(x, is_residual=x.name in names) for x in self.layers)

    def write(self, float_layers: frozenset[str] = frozenset()) -> bytes:
        """Return the typed graph, inputs and outputs float32; equal arguments give equal bytes.

        The operands of Q/DQ are float16 in INT8 and float32 in INT8_FP32.

        Args:
            float_layers: Names of quantized layers that are to stay in floating point.

        Raises:
            PrecisionError: A name belongs to no quantized layer, or a weight does not fit float16.
            ExportError: The graph holds an operator that cannot be converted.
        """
        self._require_quantized(float_layers)
        for_cpu = self._precision is Precision.INT8_FP32
        quantized = insert_qdq(
            self._model,
            self._recipes,
            float_layers,
            self._residual_layers,
            dedicated_pairs=for_cpu,
        )
        if for_cpu:
            return bytes(quantized.SerializeToString(deterministic=True))
        raise_opset(quantized)
        graph = bytes(quantized.SerializeToString(deterministic=True))
        return convert(graph, Precision.FP16, islands_matching(graph, self._islands))

    def reverted_layers(self, names: frozenset[str]) -> tuple[Layer, ...]:
        """Return `layers` with those named reverted to float."""
        return tuple(
            replace(x, reason=ExclusionReason.REVERTED, is_residual=False) if x.name in names else x
            for x in self.layers
        )

    def switchable_graph(self, *, threads: int = 0) -> SwitchableGraph:
        """Return the graph in one session in which each layer can be switched to INT8.

        Args:
            threads: CPU threads; 0 takes one per core.

        Raises:
            BackendError: ONNX Runtime refuses it.
        """
        return SwitchableGraph(self._model, self._recipes, self._residual_layers, threads=threads)

    def _require_quantized(self, names: frozenset[str]) -> None:
        known = {layer.name for layer in self.layers if layer.quantized}
        if not names <= known:
            raise PrecisionError(
                f"{min(names - known)!r} is no layer that computes in INT8: "
                "name one of `Quantizer.layers`"
            )


def default_options(precision: Precision, method: RangeMethod) -> QuantizerOptions:
    """Return the options that suit a precision.

    On a CPU (INT8_FP32) adjacent weights are limited, so that their products do not saturate
    without VNNI, and no activation gets two INT8 terms: there a second product costs more than on a
    GPU, where INT8 is twice as fast as float16.
    """
    if precision is Precision.INT8_FP32:
        return QuantizerOptions(method, limit_pairs=True, residual_share=0.0)
    return QuantizerOptions(method)


def _range_of(recipe: GroupRecipe) -> ActivationRange:
    is_smoothed = recipe.smoothing.is_shifted or recipe.smoothing.is_scaled
    form = ActivationForm.SMOOTHED if is_smoothed else ActivationForm.PLAIN
    if recipe.is_pixels:
        form = ActivationForm.PIXELS
    elif recipe.is_folded and is_smoothed:
        form = ActivationForm.FOLDED
    return ActivationRange(
        recipe.group.activation,
        tuple(x.node.layer.name for x in recipe.layers),
        recipe.smoothing.scale,
        form,
        recipe.smoothing.expected_noise,
    )
