"""Outputs of an ONNX file: which holds the scores, and their reduction to one row a capture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk_engines.graph.editing import Additions, replace_nodes
from fasdk_engines.graph.export import BATCH
from fasdk_engines.graph.types import infer_types
from fasdk_engines.onnx_import.description import Reduction
from fasdk_engines.onnx_import.interpretation import element_name, opset_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.models.base import Family
    from fasdk_engines.onnx_import.description import ImportDescription

LOGITS, CERTAINTY = "logits", "certainty"
SCORE_OUTPUT = "fasdk_answer"  # name of the described output until logits are made of it
FLOAT = 1  # onnx.TensorProto.FLOAT, a fixed part of the file format
_MOST_LABELS = 32  # more columns than these are features
_AXES_INPUT_OPSET = 18  # from here on reductions read their axes from an input


@dataclass(frozen=True)
class ScoreMap:
    """Place of the scores in one capture's part of an output.

    Attributes:
        extents: Extents of one capture's part.
        classes: Axis of the classes, counted without the batch; None for one score.
        positions: Axes of the map, counted without the batch; empty where there is none.
        reduction: Reduction over these axes, or None where there are none.
        columns: Number of scores per capture.
    """

    extents: tuple[int, ...]
    classes: int | None
    positions: tuple[int, ...]
    reduction: Reduction | None
    columns: int

    def reduce(self, rows: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return float64 [N, columns] of a file's output [N, ...], apart from any graph."""
        values = rows.astype(np.float64).reshape(len(rows), *self.extents)
        axes = tuple(axis + 1 for axis in self.positions)
        if self.reduction is Reduction.MEAN:
            values = values.mean(axis=axes, keepdims=True)
        elif self.reduction is Reduction.MAX:
            values = values.max(axis=axes, keepdims=True)
        elif self.reduction is Reduction.CENTER:
            for axis in axes:
                values = values.take([values.shape[axis] // 2], axis=axis)
        return values.reshape(len(values), self.columns)


def select_outputs(model: onnx.ModelProto, description: ImportDescription) -> dict[str, str]:
    """Keep only the described outputs, scores first; return new names by the file's.

    Raises:
        ExportError: An output is absent, or it is not clear which one holds the scores.
    """
    graph, described = model.graph, description.output
    outputs = [value.name for value in graph.output]
    held = ", ".join(map(repr, outputs))
    others = [name for name in outputs if name != described.certainty]
    if described.name is None and len(others) != 1:
        example = f", as name = {others[0]!r} under [output]" if others else ""
        raise ExportError(f"the graph has outputs {held}: say which one in output.name{example}")
    answer = described.name or others[0]
    for field, name in (("name", answer), ("certainty", described.certainty)):
        if name is not None and name not in outputs:
            raise ExportError(
                f"the graph has no output {name!r}, only {held}: correct output.{field} in the "
                "description"
            )
        if name is not None and name in {value.name for value in graph.input}:
            raise ExportError(f"output {name!r} is an input, so nothing is computed")
    if answer == described.certainty:
        raise ExportError(f"output {answer!r} cannot be both the scores and the certainty")
    names = {answer: SCORE_OUTPUT}
    if described.certainty is not None:
        names[described.certainty] = CERTAINTY
    kept = {value.name: value for value in graph.output if value.name in names}
    values = [type(kept[name]).FromString(kept[name].SerializeToString()) for name in names]
    for value in values:
        value.type.tensor_type.ClearField("shape")  # inferred again, from the described shapes
    del graph.output[:]
    graph.output.extend(values)
    del graph.value_info[:]
    return names


def read_score_map(
    name: str, answers: NDArray[np.generic], batch: int, description: ImportDescription
) -> ScoreMap:
    """Return where the scores are in one capture's part of an output.

    Args:
        name: Name of the output in the file.
        answers: [N, ...], the output for each of N captures run alone.
        batch: Extent of a batch axis there.
        description: Description of the file.

    Raises:
        ExportError: They are not where the description says; the message has the line to write.
    """
    if answers.dtype.kind != "f":
        raise ExportError(
            f"output {name!r} is {answers.dtype}, which are no scores: name an output of scores in "
            "output.name, or export one"
        )
    extents = answers.shape[1:]
    if extents[:1] in ((batch,), (1,)):
        extents = extents[1:]
    kind, reduction = description.output.kind, description.output.reduction
    count = len(description.labels)
    found = f"output {name!r} is [{', '.join(['batch', *map(str, extents)])}]"
    total = int(np.prod(extents, dtype=np.int64))
    classes: int | None = None
    if not kind.is_one_score:
        axes = [axis for axis, extent in enumerate(extents) if extent == count]
        if len(axes) > 1:
            raise ExportError(
                f"{found}, of which two axes may be the {count} labels: export the scores as "
                f"[batch, {count}]"
            )
        if total == 1:
            raise ExportError(
                f'{found}, one score a capture: write kind = "logit" (or "probability") under '
                "[output]"
            )
        if not axes:
            raise ExportError(f"{found}, which {_expected(description, extents)}")
        classes = axes[0]
    positions = tuple(
        axis for axis, extent in enumerate(extents) if axis != classes and extent != 1
    )
    if positions and reduction is None:
        if kind.is_one_score and extents == (count,):
            plural = {"logit": "logits", "probability": "probabilities"}[kind.value]
            raise ExportError(
                f"{found}, one column a label: write kind = {_quoted(plural)} instead of "
                f"kind = {_quoted(kind.value)}"
            )
        raise ExportError(
            f'{found}, a map of scores for kind {kind.value!r}: write reduction = "mean" (or '
            '"center" or "max") under [output]'
        )
    if not positions and reduction is not None:
        raise ExportError(
            f"{found}, no map of scores: remove reduction = {_quoted(reduction.value)}"
        )
    return ScoreMap(extents, classes, positions, reduction, 1 if classes is None else count)


def _expected(description: ImportDescription, extents: Sequence[int]) -> str:
    count = len(description.labels)
    columns = [extent for extent in extents if extent != 1]
    if len(columns) == 1 and columns[0] <= _MOST_LABELS:
        return (
            f"has {columns[0]} columns, but labels names {count}: give labels {columns[0]} names "
            "in the order of the columns"
        )
    return (
        f"holds no axis of {count}, one column a label: correct labels, or for a map of one score "
        'write kind = "logit" (or "probability") and reduction = "mean" (or "center" or "max")'
    )


def _quoted(word: str) -> str:
    return f'"{word}"'


def append_reduction(model: onnx.ModelProto, scores: ScoreMap, *, batch: int | None = None) -> None:
    """Make `SCORE_OUTPUT` one row of scores a capture, in place.

    Args:
        model: Model whose first output is `SCORE_OUTPUT`.
        scores: Place of the scores in it.
        batch: Batch inside the graph, or None for any.

    Raises:
        ExportError: The output's shape cannot be inferred.
    """
    graph = model.graph
    shape = infer_types(model, _sizes_of_one(model, batch))[SCORE_OUTPUT].shape
    if shape is None:
        raise ExportError(
            "the shape of the score output cannot be inferred: export with fixed sizes"
        )
    shift = len(shape) - len(scores.extents)
    if (
        not scores.positions
        and shift == 1
        and len(shape) <= 2
        and (scores.columns > 1 or len(shape) == 1 or shape[1] == 1)
    ):
        return
    added = Additions(graph, "output")
    value = f"{SCORE_OUTPUT}_in_file"
    for node in graph.node:
        for group in (node.input, node.output):
            for index, name in enumerate(group):
                group[index] = value if name == SCORE_OUTPUT else name
    axes = [axis + shift for axis in scores.positions]
    if scores.reduction is Reduction.CENTER:
        for axis in axes:
            extent = shape[axis]
            assert extent is not None  # noqa: S101 - only the batch is open
            middle = added.constant("center", [extent // 2])
            value = added.node("Gather", [value, middle], "at_center", axis=axis)
    elif scores.reduction is not None:
        operator = {Reduction.MEAN: "ReduceMean", Reduction.MAX: "ReduceMax"}[scores.reduction]
        if opset_of(model) >= _AXES_INPUT_OPSET:
            inputs = [value, added.constant("map_axes", axes)]
            value = added.node(operator, inputs, "reduced", keepdims=1)
        else:
            value = added.node(operator, [value], "reduced", keepdims=1, axes=axes)
    target = added.constant("rows", [-1, scores.columns])
    added.node("Reshape", [value, target], "as_rows")
    added.nodes[-1].output[0] = SCORE_OUTPUT
    replace_nodes(graph, [*graph.node, *added.nodes])


def _sizes_of_one(model: onnx.ModelProto, batch: int | None) -> dict[str, tuple[int, ...]] | None:
    """Return the inputs' extents for one capture, or None where the batch is open."""
    if batch is None:
        return None
    return {value.name: (1,) for value in model.graph.input}


def keep_first_row(graph: onnx.GraphProto) -> None:
    """Leave the first row of every output of a graph whose rows are all of one capture."""
    added = Additions(graph, "row")
    for output in graph.output:
        value = f"{output.name}_of_batch"
        for node in graph.node:
            for group in (node.input, node.output):
                for index, name in enumerate(group):
                    group[index] = value if name == output.name else name
        bounds = [
            added.constant(name, [number])
            for name, number in (("first", 0), ("end", 1), ("axis", 0))
        ]
        added.node("Slice", [value, *bounds], "first_row")
        added.nodes[-1].output[0] = output.name
    replace_nodes(graph, [*graph.node, *added.nodes])


def shape_outputs(model: onnx.ModelProto, family: Family, *, batch: int | None) -> None:
    """Declare the outputs' shapes as inferred, with a symbolic batch.

    Args:
        model: Imported model.
        family: Model family of the description.
        batch: Batch inside the graph, which then takes one capture; None for any.

    Raises:
        ExportError: An output is not float32 [batch, columns].
    """
    import onnx

    types = infer_types(model, _sizes_of_one(model, batch))
    columns = (len(family.labels), len(family.modalities))
    for value, count in zip(model.graph.output, columns, strict=False):
        found = types[value.name]
        if found.shape is None or found.element != FLOAT or found.shape[1:] != (count,):
            raise ExportError(
                f"output {value.name!r} is not float32 [batch, {count}] but "
                f"{element_name(found.element)} {found.shape}"
            )
        if batch is None and found.shape[0] is not None:
            raise ExportError(f"the graph fixes the batch of {value.name!r} at {found.shape[0]}")
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, FLOAT, [BATCH, count]))
