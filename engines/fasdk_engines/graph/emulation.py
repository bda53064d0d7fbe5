"""FP16 emulation on a CPU: every operator's output rounded to float16.

ONNX Runtime's CPU kernels compute a float16 graph in float32 between casts, so its scores do not
show what FP16 does. Here the graph is rewritten in float32 with a rounding to float16 behind every
operator that declares a float16 output. Inside an operator everything is float32. For a fused
LayerNormalization that is what TensorRT does (its parser takes the computing type of
INormalizationLayer from `stash_type`, float32 by default): only its output is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import Optimization, open_session
from fasdk.decision import class_scores
from fasdk.errors import BackendError, PrecisionError
from fasdk_engines.graph.types import infer_types, parse_graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

MAX_ACTIVATION = 16384.0
MAX_DRIFT_RATIO = 0.01
_CAPTURES_AT_ONCE = 1
# onnx.TensorProto.DataType, a fixed part of the file format
_FLOAT, _FLOAT16, _INT64 = 1, 10, 7
# They copy the values they are given, so a second rounding would change nothing.
_EXACT = frozenset(
    [
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ]
)


@dataclass(frozen=True, eq=False)
class Fp16Report:
    """Effect of half precision on a graph, measured on captures.

    Attributes:
        finite: Whether every half-precision tensor, and every logit, is finite.
        max_activation: Largest magnitude of any half-precision tensor; infinity or NaN where one
            overflowed.
        worst_tensor: Name of the first tensor, in graph order, that is not finite, else of the one
            with the largest magnitude.
        logit_drift: Largest absolute difference of any logit; infinity where one is not finite.
        drift_ratio: `logit_drift` over the standard deviation of the reference logits.
        offending: Names of the half-precision tensors that are not finite or exceed
            `MAX_ACTIVATION`, in graph order.
        logits: float32 [N, classes], with every operator's output rounded.
        reference_logits: float32 [N, classes], of the float32 graph.
    """

    finite: bool
    max_activation: float
    worst_tensor: str
    logit_drift: float
    drift_ratio: float
    offending: tuple[str, ...]
    logits: NDArray[np.float32]
    reference_logits: NDArray[np.float32]

    @property
    def score_drift(self) -> float:
        """Largest difference of any class score in [0, 1]; infinity where one is not finite."""
        return largest_score_drift(self.logits, self.reference_logits)


def largest_score_drift(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the largest difference of any class score, in [0, 1]; infinity where not finite.

    Args:
        logits: float32 [N, classes].
        reference: float32 [N, classes], logits they are compared with.
    """
    if not np.isfinite(logits).all():
        return float("inf")
    pairs = zip(logits, reference, strict=True)
    return max(float(np.abs(class_scores(a) - class_scores(b)).max()) for a, b in pairs)


def emulate_fp16(
    graph_fp16: bytes,
    inputs: Sequence[Mapping[str, NDArray[np.float32]]],
    reference_logits: NDArray[np.float32],
    *,
    threads: int = 0,
) -> Fp16Report:
    """Run a half-precision graph with every operator's output rounded to float16.

    Args:
        graph_fp16: Typed graph as `fp16.convert` writes it, with an output `logits`.
        inputs: Batches, each float32 [B, 3, H, W] by input name.
        reference_logits: float32 [N, classes] of the float32 graph on the same captures, in order.
        threads: CPU threads; 0 takes one per core.

    Raises:
        PrecisionError: The graph holds no float16 tensor, or the reference logits do not match the
            captures.
        BackendError: ONNX Runtime refuses or fails to run the rewritten graph.
    """
    rounded = _EmulatedGraph.of(graph_fp16)
    rounded.watch()
    watched, data = rounded.watched, rounded.model.SerializeToString()
    del rounded  # a full model's weights fit in memory a few times, not many
    # An optimizer may fuse across the roundings, which is what must not happen.
    session = open_session(
        data,
        threads=threads,
        optimization=Optimization.NONE,
        prepack=False,
        name="the rounded graph",
    )
    del data
    magnitudes = np.zeros(len(watched))
    sums = np.zeros(len(watched))
    rows = []
    names = [output.name for output in session.get_outputs()]
    for batch in _small_batches(inputs):
        try:
            outputs = dict(zip(names, session.run(names, batch), strict=True))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on the rounded graph: {error}") from error
        rows.append(np.asarray(outputs["logits"], np.float32))
        magnitudes = np.maximum(magnitudes, outputs[_MAGNITUDES])
        sums = sums + outputs[_SUMS]
    return _report(watched, magnitudes, sums, np.concatenate(rows), reference_logits)


def emulated_model(graph_fp16: bytes) -> onnx.ModelProto:
    """Return a float32 model whose values are those of a half-precision one, rounding included.

    Values keep their names. Weights hold the float32 form of their float16 values.

    Raises:
        PrecisionError: The graph holds no float16 tensor.
    """
    return _EmulatedGraph.of(graph_fp16).model


def require_fp16_accuracy(report: Fp16Report, *, check_drift: bool = True) -> None:
    """Check a report against the limits: finite, |activation| <= 16,384, drift ratio <= 1 %.

    Args:
        report: Result of `emulate_fp16`.
        check_drift: Whether the captures vary as real ones do; on others the logits' standard
            deviation, and so the ratio, means nothing.

    Raises:
        PrecisionError: A limit is exceeded; the error names the tensor and the figure.
    """
    fix = "build with --precision fp32"
    if not report.finite:
        raise PrecisionError(
            f"half precision overflows: tensor {report.worst_tensor!r} is not finite: {fix}"
        )
    if not report.max_activation <= MAX_ACTIVATION:
        raise PrecisionError(
            f"tensor {report.worst_tensor!r} reaches {report.max_activation:.0f} in half "
            f"precision, above {MAX_ACTIVATION:.0f}: {fix}"
        )
    if check_drift and not report.drift_ratio <= MAX_DRIFT_RATIO:
        raise PrecisionError(
            f"half precision moves a logit by {report.logit_drift:.3g}, "
            f"{report.drift_ratio:.2%} of the logits' standard deviation, above "
            f"{MAX_DRIFT_RATIO:.0%}: {fix}"
        )


_MAGNITUDES, _SUMS = "fasdk:magnitudes", "fasdk:sums"


@dataclass
class _EmulatedGraph:
    """A half-precision graph rewritten in float32.

    Attributes:
        model: The rewritten graph.
        watched: Values that are float16 in the original, in graph order.
    """

    model: onnx.ModelProto
    watched: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, graph_fp16: bytes) -> _EmulatedGraph:
        """Rewrite a graph."""
        import onnx

        model = parse_graph(graph_fp16)
        types = infer_types(model)
        halves = {name for name, t in types.items() if t.element == _FLOAT16}
        if not halves:
            raise PrecisionError(
                "the graph holds no float16 tensor: convert it with precision fp16"
            )
        rounded = cls(model)
        for tensor in model.graph.initializer:
            if tensor.data_type == _FLOAT16:
                wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
        nodes: list[onnx.NodeProto] = []
        for original in model.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            nodes.append(node)
            rounded.watched += [name for name in node.output if name in halves]
            _widen_attributes(node)
            if node.op_type in _EXACT or node.op_type == "Constant":
                continue
            for slot, name in enumerate(node.output):
                if name in halves:
                    node.output[slot] = f"{name}:exact"
                    nodes += _rounding(f"{name}:exact", name)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        del model.graph.value_info[:]
        for value in (*model.graph.input, *model.graph.output):
            if value.type.tensor_type.elem_type == _FLOAT16:
                value.type.tensor_type.elem_type = _FLOAT
        return rounded

    def watch(self) -> None:
        """Add two outputs, float32 [watched]: the largest magnitude and the sum of magnitudes.

        The sum is there for NaN, which a maximum may pass over.
        """
        from onnx import helper

        graph = self.model.graph
        parts: dict[str, list[str]] = {_MAGNITUDES: [], _SUMS: []}
        graph.initializer.append(helper.make_tensor("fasdk:one", _INT64, [1], [1]))
        for name in self.watched:
            flat = [f"{name}:abs", f"{name}:max", f"{name}:sum"]
            graph.node.append(helper.make_node("Abs", [name], [flat[0]]))
            graph.node.append(helper.make_node("ReduceMax", [flat[0]], [flat[1]], keepdims=0))
            graph.node.append(helper.make_node("ReduceSum", [flat[0]], [flat[2]], keepdims=0))
            for output, value in ((_MAGNITUDES, flat[1]), (_SUMS, flat[2])):
                graph.node.append(helper.make_node("Reshape", [value, "fasdk:one"], [f"{value}:1"]))
                parts[output].append(f"{value}:1")
        for output, values in parts.items():
            graph.node.append(helper.make_node("Concat", values, [output], axis=0))
            graph.output.append(helper.make_tensor_value_info(output, _FLOAT, [len(values)]))


def _widen_attributes(node: onnx.NodeProto) -> None:
    """Turn float16 that a node's attributes ask for into float32."""
    import onnx

    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT16:
            attribute.i = _FLOAT
        if attribute.HasField("t") and attribute.t.data_type == _FLOAT16:
            wide = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(wide))


def _rounding(source: str, target: str) -> list[onnx.NodeProto]:
    from onnx import helper

    half = f"{target}:half"
    return [
        helper.make_node("Cast", [source], [half], to=_FLOAT16),
        helper.make_node("Cast", [half], [target], to=_FLOAT),
    ]


def _small_batches(
    inputs: Sequence[Mapping[str, NDArray[np.float32]]],
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield one capture at a time: every watched value of a call lives until its end."""
    for batch in inputs:
        count = len(next(iter(batch.values())))
        for start in range(0, count, _CAPTURES_AT_ONCE):
            yield {name: array[start : start + _CAPTURES_AT_ONCE] for name, array in batch.items()}


def _report(
    watched: Sequence[str],
    magnitudes: NDArray[np.float64],
    sums: NDArray[np.float64],
    logits: NDArray[np.float32],
    reference: NDArray[np.float32],
) -> Fp16Report:
    if logits.shape != np.shape(reference):
        raise PrecisionError(
            f"reference logits have shape {np.shape(reference)}, the captures gave {logits.shape}: "
            "run the float32 graph on the same captures"
        )
    spread = float(np.std(reference))
    if not (np.isfinite(reference).all() and spread > 0.0):
        raise PrecisionError(
            f"reference logits have standard deviation {spread}: give captures that differ"
        )
    broken = np.flatnonzero(~(np.isfinite(magnitudes) & np.isfinite(sums)))
    worst = int(broken[0]) if broken.size else int(np.argmax(magnitudes))
    with np.errstate(invalid="ignore"):
        over = ~(np.isfinite(sums) & (magnitudes <= MAX_ACTIVATION))
    finite = not broken.size and bool(np.isfinite(logits).all())
    drift = float(np.abs(logits - reference).max()) if np.isfinite(logits).all() else float("inf")
    return Fp16Report(
        finite=finite,
        max_activation=float(magnitudes[worst] if np.isfinite(sums[worst]) else sums[worst]),
        worst_tensor=watched[worst],
        logit_drift=drift,
        drift_ratio=drift / spread,
        offending=tuple(watched[int(index)] for index in np.flatnonzero(over)),
        logits=logits,
        reference_logits=np.asarray(reference, np.float32),
    )
