"""Checks of an imported graph: independence of the batch, and scores equal to the file's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine, open_session
from fasdk.errors import BackendError, ExportError, ParityError
from fasdk.preprocess import PRESENCE
from fasdk_engines.graph.editing import copy_of
from fasdk_engines.graph.parity import BATCH_BUDGET
from fasdk_engines.onnx_import.description import OutputKind
from fasdk_engines.onnx_import.scores import class_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.onnx_import.inputs import FileInputs

# Float32 carries a logit of magnitude 10 to some 1e-6; larger ones as much less precisely.
_ORDINARY_LOGIT = 10.0
# Half precision has 11 bits, and ONNX Runtime rounds to it wherever a file does.
HALF_BUDGET = 2e-3
# How far raw answers may differ, as a share of the largest.
_ANSWER_BUDGET = 1e-4
_ALL_BATCHES = 5  # captures of the batches after the first
_EXTREMES = (8.0, 64.0, 1024.0)  # factors on normalized images


class _Runner(Protocol):
    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]: ...


def without_batch_extents(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that leaves open each first extent that is written as 0 or -1."""
    copy = copy_of(model)
    for value in (*copy.graph.input, *copy.graph.output):
        for dim in value.type.tensor_type.shape.dim[:1]:
            if dim.HasField("dim_value") and dim.dim_value < 1:
                dim.ClearField("dim_value")
    return copy


def open_file(model: onnx.ModelProto) -> _Runner:
    """Return a runner of a file as it is given: ONNX Runtime, or where that refuses it ONNX's own.

    Raises:
        BackendError: Neither takes the file.
    """
    if any(
        dim.dim_value < 0 or (dim.HasField("dim_value") and dim.dim_value == 0)
        for value in model.graph.input
        for dim in value.type.tensor_type.shape.dim[:1]
    ):
        # Some exporters write an open batch so, and ONNX Runtime then takes it for an extent.
        model = without_batch_extents(model)
    try:
        runner: _Runner = open_session(model.SerializeToString(), threads=1, name="the file")
    except BackendError as refusal:
        from onnx.reference import ReferenceEvaluator

        try:
            evaluator: Any = ReferenceEvaluator(model)
        except Exception:  # noqa: BLE001 - its exceptions share no narrower base
            raise refusal from None
        runner = evaluator
    return runner


def file_answers(
    runner: _Runner,
    output: str,
    inputs: FileInputs,
    captures: Mapping[str, NDArray[np.float32]],
    *,
    types: Mapping[str, str] | None = None,
) -> NDArray[np.generic]:
    """Return an output of the file for each capture, each run alone.

    Where the file fixes a batch, the capture fills it, and the first row is taken.

    Args:
        runner: Result of `open_file`.
        output: Name of the output.
        inputs: Inputs of the file.
        captures: float32 [B, ...] by imported input name.
        types: NumPy type of each input, where the model's own are not the file's.

    Returns:
        [B, ...], one row a capture.

    Raises:
        BackendError: The runner fails.
    """
    rows = []
    for index in range(len(next(iter(captures.values())))):
        repeats = inputs.fixed_batch or 1
        one = {name: values[[index] * repeats] for name, values in captures.items()}
        feeds = inputs.feeds(one, types)
        try:
            found = np.asarray(runner.run([output], feeds)[0])
        except Exception as error:
            first = " ".join((str(error).splitlines() or [""])[0].split())
            raise BackendError(f"the file as given fails on an image: {first}") from error
        if repeats > 1 and found.shape[:1] == (repeats,):
            found = found[:1]
        rows.append(found)
    return np.stack(rows)


def mixes_batch(
    runner: _Runner,
    output: str,
    inputs: FileInputs,
    captures: Mapping[str, NDArray[np.float32]],
    answers: NDArray[np.generic],
) -> bool:
    """Whether the file takes several captures at once and answers otherwise for them.

    Args:
        runner: Result of `open_file`.
        output: Name of the output.
        inputs: Inputs of the file, none of a fixed batch.
        captures: float32 [B, ...] by imported input name.
        answers: [B, ...], the output for each capture run alone.
    """
    few = {name: values[:_ALL_BATCHES] for name, values in captures.items()}
    try:
        found = np.asarray(runner.run([output], inputs.feeds(few))[0])
    except Exception:  # noqa: BLE001 - a file of one capture at a time
        return False
    alone = answers[:_ALL_BATCHES]
    if found.size != alone.size:
        return False
    drift = np.abs(found.reshape(alone.shape).astype(np.float64) - alone.astype(np.float64)).max()
    return bool(drift > HALF_BUDGET * max(1.0, float(np.abs(alone).max())))


def extreme_captures(
    inputs: FileInputs, captures: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Return inputs far outside the range of images."""
    count = min(4, len(next(iter(captures.values()))))
    whole = {m.value for image in inputs.images if image.is_integer for m in image.modalities}
    extreme = {}
    for name, values in captures.items():
        factors = [sign * factor for factor in _EXTREMES for sign in (1.0, -1.0)]
        if name == PRESENCE:
            factors = [1.0] * len(factors)
        parts = np.concatenate([values[:count] * np.float32(factor) for factor in factors])
        extreme[name] = np.rint(parts) if name in whole else parts
    return extreme


def input_types(model: onnx.ModelProto) -> dict[str, str]:
    """Return the NumPy type of each input of a model."""
    from onnx import helper

    return {
        value.name: np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
        for value in model.graph.input
    }


def independent_logits(
    graph: bytes, inputs: Mapping[str, NDArray[np.float32]], *, any_batch: bool = True
) -> NDArray[np.float32]:
    """Return each capture's logits, having checked that its scores depend on it alone.

    Args:
        graph: Imported graph, a serialized ONNX model.
        inputs: float32 [B, ...] by input name.
        any_batch: Whether the graph is to take batches; otherwise it is run on single captures.

    Returns:
        float32 [B, classes], the logits of each capture run alone.

    Raises:
        ExportError: The graph runs at one batch size alone.
        ParityError: A score depends on batch-mates or on the pixels of an absent modality.
    """
    engine = OnnxRuntimeEngine(graph, threads=1)

    def logits(
        rows: Sequence[int], values: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        try:
            found = engine.run({n: np.ascontiguousarray(v[rows]) for n, v in values.items()}).logits
        except BackendError as error:
            first = str(error).splitlines()[0]
            raise ExportError(
                f"it fails on a batch of {len(rows)}: {first}; export with a dynamic batch"
            ) from error
        if len(found) != len(rows):
            raise ExportError(f"it gives {len(found)} rows for a batch of {len(rows)}")
        if not np.isfinite(found).all():
            raise ParityError("it gives logits that are not finite on 8-bit images")
        return found

    def each(values: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate([logits([i], values) for i in everyone])

    everyone = list(range(len(next(iter(inputs.values())))))
    raw = each(inputs)
    alone = class_scores(raw, OutputKind.LOGITS)
    budget = score_budget(raw)
    few = everyone[:_ALL_BATCHES]
    for order in (everyone, few[::-1], few[1:]) if any_batch else ():
        found = class_scores(logits(order, inputs), OutputKind.LOGITS)
        drift = float(np.abs(found - alone[order]).max())
        if not drift <= budget:
            raise ParityError(
                f"a capture's score moves by {drift:.3g} with its batch-mates, more than "
                f"{budget:.3g}: export in eval mode, without normalization over the batch"
            )
    if PRESENCE in inputs:
        hidden = dict(inputs)
        for column, name in enumerate(n for n in inputs if n != PRESENCE):
            absent = inputs[PRESENCE][:, column] == 0.0
            hidden[name] = np.where(absent[:, None, None, None], np.float32(0.5), inputs[name])
        drift = float(np.abs(class_scores(each(hidden), OutputKind.LOGITS) - alone).max())
        if not drift <= budget:
            raise ParityError(
                f"an absent modality's pixels move a score by {drift:.3g}: mask them in "
                "the graph, or leave presence out and give missing_value"
            )
    return raw


def score_budget(logits: NDArray[np.floating]) -> float:
    """Return how far two float32 computations of the same scores may differ, in [0, 1].

    Args:
        logits: [N, classes], logits of the scores.
    """
    return BATCH_BUDGET * max(1.0, float(np.abs(logits).max()) / _ORDINARY_LOGIT)


def require_same_scores(
    logits: NDArray[np.float32], original: NDArray[np.float64], kind: OutputKind, *, half: bool
) -> float:
    """Hold an imported graph against the file as given, and return the score difference.

    Where the file gives logits, these are compared too: saturated scores would hide a difference.

    Args:
        logits: float32 [B, classes], logits of the imported graph.
        original: float64 [B, columns], scores as the file gives them.
        kind: What these are.
        half: Whether the file computes in half precision.

    Raises:
        ParityError: They differ by more than rounding.
    """
    expected = class_scores(original, kind)
    parity = float(np.abs(class_scores(logits, OutputKind.LOGITS) - expected).max())
    budget = HALF_BUDGET if half else score_budget(logits)
    if not parity <= budget:
        raise ParityError(
            f"the imported graph's scores differ by {parity:.3g} from those of the file as given, "
            f"more than {budget:.3g}: do not deploy"
        )
    if kind in (OutputKind.LOGITS, OutputKind.LOGIT):
        found = logits.astype(np.float64)
        if kind is OutputKind.LOGIT:
            found = found[:, 1:] - found[:, :1]
        drift, budget = _answer_drift(found, original), _answer_budget(half=half)
        if not drift <= budget:
            raise ParityError(
                f"the imported graph's logits differ by {drift:.3g} of their size from those of "
                f"the file as given, more than {budget:.3g}: do not deploy"
            )
    return parity


def require_same_answers(
    found: NDArray[np.generic], given: NDArray[np.generic], *, half: bool, what: str
) -> None:
    """Hold the converted file's answers against those of the file as given.

    Args:
        found: [B, ...], answers of the converted file.
        given: [B, ...], answers of the file.
        half: Whether the file computes in half precision.
        what: Description of the conversion in the error.

    Raises:
        ParityError: They differ by more than rounding.
    """
    if found.shape != given.shape:
        raise ParityError(
            f"{what} made the output {list(found.shape[1:])}, which is {list(given.shape[1:])} in "
            "the file"
        )
    a, b = found.astype(np.float64), given.astype(np.float64)
    if not np.isfinite(b).all():
        raise ParityError("the file as given has answers that are not finite on 8-bit images")
    drift, budget = _answer_drift(a, b), _answer_budget(half=half)
    if not drift <= budget:
        raise ParityError(
            f"{what} changed the output by {drift:.3g} of its size, more than {budget:.3g}: "
            "export again with opset 17 and float32 weights"
        )


def _answer_drift(found: NDArray[np.float64], given: NDArray[np.float64]) -> float:
    """Return the largest difference, as a share of the largest answer given or of 1."""
    return float(np.abs(found - given).max()) / max(1.0, float(np.abs(given).max()))


def _answer_budget(*, half: bool) -> float:
    return 5.0 * HALF_BUDGET if half else _ANSWER_BUDGET
