"""Bring a ready ONNX graph under our names and hold it to what every built graph promises."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.errors import BackendError, ExportError, ParityError
from fasdk.preprocess import PRESENCE
from fasdk_engines.export import BATCH, clean
from fasdk_engines.lint import lint_operators, lint_tensorrt
from fasdk_engines.parity import BATCH_BUDGET
from fasdk_engines.ready.description import OutputKind
from fasdk_engines.tensor_types import infer_types

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.models import Family
    from fasdk_engines.ready.description import Description
    from fasdk_engines.ready.file import ReadyFile

LOGITS, RELIABILITY = "logits", "reliability"
_ADDED = "fasdk_score"  # first part of the names of nodes added here
_FLOAT = 1  # onnx.TensorProto.FLOAT, a fixed part of the file format
# Log-odds of a probability nearer to 0 or 1 than this are cut off there.
_CERTAIN = 1e-6
_SUM_SLACK = 1e-3
_ANSWER = f"{_ADDED}/answer"
_BATCH = 3


@dataclass(frozen=True)
class ReadyGraph:
    """A ready file's graph in the form a build gives every graph.

    Attributes:
        family: The model as the rest of the build sees it.
        graph: Self-contained ONNX, inputs named after modalities, outputs `logits` and, where the
            description names one, `reliability`.
        parameters: Floating-point weights in it.
        parity: Largest score difference between the file as given and this graph.
    """

    family: Family
    graph: bytes
    parameters: int
    parity: float


def adopt(file: ReadyFile, description: Description) -> ReadyGraph:
    """Return a ready file's graph under our names, once it is shown to be fit for deployment.

    Refused: random and training nodes, control flow, custom operators and whatever else TensorRT
    10.3 would not take; a fixed batch; inputs that are not float32 [batch, 3, H, W] of the
    described size (a `presence` input is [batch, modalities]); outputs that are not scores by
    capture; scores that depend on batch-mates or on the pixels of an absent modality.

    Raises:
        ExportError: The graph is not as described; it names the node, input or output.
        ParityError: Its scores depend on the batch, on absent pixels, or changed on the way.
    """
    family = description.family()
    model = type(file.model)()
    model.CopyFrom(file.model)
    try:
        lint_operators(model)
        shapes = family.input_shapes(description)
        inputs_by_file = _claim_inputs(model, description, shapes)
        outputs_by_file = _claim_outputs(model, description)
        _rename(model.graph, {**inputs_by_file, **outputs_by_file})
        _require_answer(model, description)
        added = _append_logits(model.graph, description.output.kind)
        clean(model)
        _shape_outputs(model, family)
        graph = bytes(model.SerializeToString(deterministic=True))
        lint_tensorrt(graph)
    except ExportError as error:
        raise ExportError(f"{file.path}: {error}") from error
    if added:
        family = replace(family, float32_islands=(*family.float32_islands, f"^{_ADDED}/"))
    inputs = {
        name: tensor.numpy()
        for name, tensor in zip(
            family.input_names, family.example_inputs(description, _BATCH, seed=1), strict=True
        )
    }
    scores = _require_independence(file.path, graph, inputs)
    given = _given_scores(file, description, inputs_by_file, outputs_by_file, inputs)
    parity = float(np.abs(given - scores).max())
    if not parity <= BATCH_BUDGET:
        raise ParityError(
            f"{file.path}: the graph under our names scores {parity:.3g} apart from the file as "
            f"given, more than {BATCH_BUDGET:.3g}: do not deploy"
        )
    parameters = sum(
        int(np.prod(t.dims, dtype=np.int64))
        for t in model.graph.initializer
        if t.data_type == _FLOAT
    )
    return ReadyGraph(family, graph, parameters, parity)


def _claim_inputs(
    model: onnx.ModelProto, description: Description, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Give every input its described shape with a symbolic batch; return our names by the file's.

    Raises:
        ExportError: An input is absent, left over, of another type or shape, or of a fixed batch.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    for index in reversed(range(len(graph.input))):  # older files list weights as inputs, too
        if graph.input[index].name in weights:
            del graph.input[index]
    inputs = {value.name: value for value in graph.input}
    wanted = {
        (description.inputs[m].graph_input or m.value): m.value for m in description.modalities
    }
    if description.presence is not None:
        wanted[description.presence] = PRESENCE
    if len(wanted) != len(shapes):
        raise ExportError("the description feeds one graph input twice: name each once")
    for name, ours in wanted.items():
        if name not in inputs:
            where = "presence" if ours == PRESENCE else f"inputs.{ours}.graph_input"
            raise ExportError(
                f"the graph has no input {name!r}, only {', '.join(map(repr, inputs))}: "
                f"mend {where} in the description"
            )
        _claim_input(inputs[name], shapes[ours])
    left = [name for name in inputs if name not in wanted]
    if left:
        raise ExportError(
            f"nothing is described for graph input {left[0]!r}: every input needs a modality"
        )
    ordered = [type(inputs[name]).FromString(inputs[name].SerializeToString()) for name in wanted]
    del graph.input[:]
    graph.input.extend(ordered)
    return wanted


def _claim_input(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != _FLOAT:
        found = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ExportError(
            f"input {value.name!r} is {found}, expected FLOAT: export the float32 model"
        )
    extents = list(tensor.shape.dim)
    expected = f"[batch, {', '.join(map(str, shape))}]"
    fits = len(extents) == len(shape) + 1 and all(
        not found.HasField("dim_value") or found.dim_value == extent
        for found, extent in zip(extents[1:], shape, strict=True)
    )
    if not fits:
        found = ", ".join(str(e.dim_value) if e.HasField("dim_value") else "?" for e in extents)
        raise ExportError(
            f"input {value.name!r} is [{found}], expected {expected}: "
            "mend the description's sizes, or export with that layout"
        )
    if extents[0].HasField("dim_value"):
        raise ExportError(
            f"input {value.name!r} fixes the batch at {extents[0].dim_value}: export with a "
            f"dynamic first axis, in torch dynamic_axes={{{value.name!r}: {{0: 'batch'}}}}"
        )
    extents[0].dim_param = BATCH
    for axis, extent in zip(extents[1:], shape, strict=True):
        axis.dim_value = extent


def _claim_outputs(model: onnx.ModelProto, description: Description) -> dict[str, str]:
    """Keep the described outputs alone, answer first; return our names by the file's.

    Raises:
        ExportError: An output is absent, or it is not clear which one holds the answer.
    """
    graph, described = model.graph, description.output
    outputs = [value.name for value in graph.output]
    held = ", ".join(map(repr, outputs))
    others = [name for name in outputs if name != described.reliability]
    if described.name is None and len(others) != 1:
        raise ExportError(f"the graph has outputs {held}: say which one in output.name")
    answer = described.name or others[0]
    for field, name in (("name", answer), ("reliability", described.reliability)):
        if name is not None and name not in outputs:
            raise ExportError(
                f"the graph has no output {name!r}, only {held}: mend output.{field} in the "
                "description"
            )
        if name is not None and name in {value.name for value in graph.input}:
            raise ExportError(f"output {name!r} is an input, so nothing is computed")
    if answer == described.reliability:
        raise ExportError(f"output {answer!r} cannot be both the answer and the reliability")
    names = {answer: _ANSWER}
    if described.reliability is not None:
        names[described.reliability] = RELIABILITY
    kept = {value.name: value for value in graph.output if value.name in names}
    values = [type(kept[name]).FromString(kept[name].SerializeToString()) for name in names]
    for value in values:
        value.type.tensor_type.ClearField("shape")  # inferred again, from our inputs' shapes
    del graph.output[:]
    graph.output.extend(values)
    del graph.value_info[:]
    return names


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values; one that happens to bear one of our names makes way."""
    reserved = {*names.values(), LOGITS}
    values = {n for node in graph.node for n in (*node.input, *node.output)}
    values |= {tensor.name for tensor in graph.initializer} | {v.name for v in graph.output}
    moved = {name: f"{name}_in_file" for name in values & reserved if name not in names}
    while set(moved.values()) & (values | reserved):
        moved = {name: f"{new}_" for name, new in moved.items()}
    renamed = {**moved, **names}
    for node in graph.node:
        for group in (node.input, node.output):
            for index, name in enumerate(group):
                group[index] = renamed.get(name, name)
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = renamed.get(named.name, named.name)


def _require_answer(model: onnx.ModelProto, description: Description) -> None:
    """Check that the answer is one float32 row a capture.

    Raises:
        ExportError: It is of another type or shape.
    """
    import onnx

    found = infer_types(model).get(_ANSWER)
    given = description.output.name or "output"
    kind = description.output.kind
    if found is None or found.shape is None:
        raise ExportError(f"the shape of {given!r} cannot be inferred: export with fixed sizes")
    if found.element != _FLOAT:
        raise ExportError(
            f"output {given!r} is {onnx.TensorProto.DataType.Name(found.element)}, expected FLOAT"
        )
    if kind.is_one_score:
        fits, expected = found.shape[1:] in ((), (1,)), "[batch] or [batch, 1]"
    else:
        fits = found.shape[1:] == (len(description.labels),)
        expected = f"[batch, {len(description.labels)}], one column a label"
    if not fits or found.shape[:1] == ():
        extents = ", ".join("?" if e is None else str(e) for e in found.shape)
        raise ExportError(
            f"output {given!r} is [{extents}], expected {expected}, for kind {kind.value!r}: mend "
            "the description, or reduce a map to scores in the graph"
        )


def _append_logits(graph: onnx.GraphProto, kind: OutputKind) -> bool:
    """Turn the answer into logits in class order; return whether a logarithm had to be taken.

    A softmax or sigmoid at the end is taken off rather than undone. One score z of the second class
    becomes (0, z), whose softmax is its sigmoid.
    """
    if kind is OutputKind.LOGITS:
        _rename(graph, {_ANSWER: LOGITS})
        return False
    from onnx import TensorProto, helper, numpy_helper

    def weight(name: str, values: object, dtype: type[np.generic] = np.float32) -> str:
        tensor = numpy_helper.from_array(np.array(values, dtype), f"{_ADDED}/{name}")
        graph.initializer.append(tensor)
        return str(tensor.name)

    def add(operator: str, *inputs: str, name: str, output: str | None = None) -> str:
        result = output or f"{_ADDED}/{name}_out"
        graph.node.append(helper.make_node(operator, inputs, [result], f"{_ADDED}/{name}"))
        return result

    last = "Softmax" if kind is OutputKind.PROBABILITIES else "Sigmoid"
    before = _operand_of_last(graph, last)
    is_probability = kind is not OutputKind.LOGIT and before is None
    graph.output[0].CopyFrom(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, None))
    if kind is OutputKind.PROBABILITIES and before is not None:
        _rename(graph, {before: LOGITS})
        return False
    if kind is OutputKind.LOGIT or before is None:
        before = _ANSWER
    value = before
    if kind.is_one_score:
        column = add("Reshape", value, weight("column", [-1, 1], np.int64), name="as_column")
        spread = add(
            *("MatMul", column, weight("spread", [[-1.0 if is_probability else 0.0, 1.0]])),
            name="spread",
            output=None if is_probability else LOGITS,
        )
        if not is_probability:
            return False
        value = add("Add", spread, weight("complement", [1.0, 0.0]), name="both")
    bounds = weight("least", _CERTAIN), weight("most", 1.0 - _CERTAIN)
    clipped = add("Clip", value, *bounds, name="clip")
    add("Log", clipped, name="log", output=LOGITS)
    return True


def _operand_of_last(graph: onnx.GraphProto, operator: str) -> str | None:
    """Return what the node that gives the answer reads, if it is that operator over classes."""
    for node in graph.node:
        if _ANSWER in node.output:
            over_classes = all(a.name == "axis" and a.i in (-1, 1) for a in node.attribute)
            computed = any(node.input[0] in other.output for other in graph.node)
            is_it = node.op_type == operator and over_classes and computed
            return str(node.input[0]) if is_it else None
    return None


def _shape_outputs(model: onnx.ModelProto, family: Family) -> None:
    """Declare the outputs' shapes as inferred.

    Raises:
        ExportError: An output is not float32 [batch, columns].
    """
    import onnx

    types = infer_types(model)
    columns = (len(family.labels), len(family.modalities))
    for value, count in zip(model.graph.output, columns, strict=False):
        found = types[value.name]
        if found.shape is None or found.element != _FLOAT or found.shape[1:] != (count,):
            raise ExportError(
                f"output {value.name!r} is not float32 [batch, {count}] but "
                f"{onnx.TensorProto.DataType.Name(found.element)} {found.shape}"
            )
        if found.shape[0] is not None:
            raise ExportError(
                f"the graph fixes the batch of {value.name!r} at {found.shape[0]}: export with a "
                "dynamic first axis and no reshape to a fixed batch"
            )
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, _FLOAT, [BATCH, count]))


def _require_independence(
    path: Path, graph: bytes, inputs: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Return each capture's class scores, once they depend on nothing but the capture.

    Raises:
        ExportError: The graph runs at one batch size alone.
        ParityError: A score depends on batch-mates or on the pixels of an absent modality.
    """
    engine = OnnxRuntimeEngine(graph, threads=1)

    def scores(
        rows: Sequence[int], values: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        try:
            logits = engine.run(
                {n: np.ascontiguousarray(v[rows]) for n, v in values.items()}
            ).logits
        except BackendError as error:
            first = str(error).splitlines()[0]
            raise ExportError(
                f"{path} fails on a batch of {len(rows)}: {first}; export with a dynamic batch"
            ) from error
        if len(logits) != len(rows):
            raise ExportError(f"{path} gives {len(logits)} rows for a batch of {len(rows)}")
        if not np.isfinite(logits).all():
            raise ParityError(f"{path} gives logits that are not finite on 8-bit images")
        return _softmax(logits)

    everyone = list(range(_BATCH))
    alone = np.concatenate([scores([i], inputs) for i in everyone])
    for order in (everyone, everyone[::-1], everyone[1:]):
        drift = float(np.abs(scores(order, inputs) - alone[order]).max())
        if not drift <= BATCH_BUDGET:
            raise ParityError(
                f"{path}: a capture's score moves by {drift:.3g} with its batch-mates, more than "
                f"{BATCH_BUDGET:.3g}: export in eval mode, without normalisation over the batch"
            )
    if PRESENCE in inputs:
        hidden = dict(inputs)
        for column, name in enumerate(n for n in inputs if n != PRESENCE):
            absent = inputs[PRESENCE][:, column] == 0.0
            hidden[name] = np.where(absent[:, None, None, None], np.float32(0.5), inputs[name])
        drift = float(np.abs(scores(everyone, hidden) - alone).max())
        if not drift <= BATCH_BUDGET:
            raise ParityError(
                f"{path}: an absent modality's pixels move a score by {drift:.3g}: mask them in "
                "the graph, or leave presence out and give missing_value"
            )
    return alone


def _given_scores(
    file: ReadyFile,
    description: Description,
    inputs_by_file: Mapping[str, str],
    outputs_by_file: Mapping[str, str],
    inputs: Mapping[str, NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Return the class scores of the file as it was given, one capture at a time.

    Raises:
        BackendError: ONNX Runtime refuses the file or fails on it.
    """
    import onnxruntime as ort

    answer = next(name for name, ours in outputs_by_file.items() if ours == _ANSWER)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors reach the caller as exceptions, not on stderr
    try:
        session = ort.InferenceSession(
            file.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        rows = [
            session.run(
                [answer], {n: inputs[ours][i : i + 1] for n, ours in inputs_by_file.items()}
            )
            for i in range(_BATCH)
        ]
    except Exception as error:
        raise BackendError(f"{file.path}: ONNX Runtime refuses it: {error}") from error
    found = np.concatenate([row[0].reshape(1, -1) for row in rows]).astype(np.float64)
    kind = description.output.kind
    if kind is OutputKind.LOGITS:
        return _softmax(found)
    if kind is OutputKind.LOGIT:
        found = 1.0 / (1.0 + np.exp(-found))
    elif not ((found >= 0.0) & (found <= 1.0)).all():
        raise ExportError(
            f"{file.path}: output {answer!r} holds {found.min():.3g} to {found.max():.3g}, which "
            "are no probabilities: mend output.kind in the description"
        )
    if kind.is_one_score:
        return np.concatenate([1.0 - found, found], axis=1)
    if np.abs(found.sum(axis=1) - 1.0).max() > _SUM_SLACK:
        raise ExportError(
            f"{file.path}: the probabilities of output {answer!r} sum to "
            f"{found.sum(axis=1)[0]:.3g}, not to 1: export a softmax, or its logits"
        )
    return found


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    total: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return total
