"""Import of an ONNX file's graph, with the names, outputs and checks of an exported one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import BackendError, ExportError, ParityError
from fasdk_engines.graph.export import clean
from fasdk_engines.graph.lint import lint_operators, lint_tensorrt
from fasdk_engines.graph.parity import BATCH_BUDGET
from fasdk_engines.onnx_import.description import Layout
from fasdk_engines.onnx_import.equivalence import independent_scores, original_scores
from fasdk_engines.onnx_import.interpretation import (
    InputInterpretation,
    Interpretation,
    OutputInterpretation,
    read_signature,
)
from fasdk_engines.onnx_import.names import (
    FLOAT,
    SCORE_OUTPUT,
    bind_inputs,
    check_score_output,
    rename,
    select_outputs,
    shape_outputs,
)
from fasdk_engines.onnx_import.scores import ADDED, append_logits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk_engines.models.base import Family
    from fasdk_engines.onnx_import.description import ImportDescription
    from fasdk_engines.onnx_import.onnx_file import OnnxFile

_BATCH = 3


@dataclass(frozen=True)
class ImportedGraph:
    """Graph of an imported file, in the form of an exported one.

    Attributes:
        family: Model family of the description, with the float32 islands of added operators.
        graph: Self-contained ONNX, inputs named after modalities, outputs `logits` and, where the
            description names one, `reliability`.
        parameters: Number of floating-point weights in the graph.
        parity: Largest score difference between the file as given and this graph, in [0, 1].
        interpretation: What the file was taken to be.
        notes: Plain lines, each on one thing that was converted, read from the file or assumed.
    """

    family: Family
    graph: bytes
    parameters: int
    parity: float
    interpretation: Interpretation
    notes: tuple[str, ...]


def import_graph(file: OnnxFile, description: ImportDescription) -> ImportedGraph:
    """Return a file's graph with fasdk's input and output names, having checked it for deployment.

    Refused: random and training nodes, control flow, custom operators and whatever else the oldest
    supported TensorRT would not take; a fixed batch; inputs that are not float32 [batch, 3, H, W]
    of the described size (a `presence` input is [batch, modalities]); outputs that are not scores
    by capture; scores that depend on batch-mates or on the pixels of an absent modality.

    Raises:
        ExportError: The graph is not as described; it names the node, input or output.
        ParityError: Its scores depend on the batch or on absent pixels, or the import changed them.
    """
    family = description.family()
    model = type(file.model)()
    model.CopyFrom(file.model)
    try:
        lint_operators(model)
        shapes = family.input_shapes(description)
        inputs_by_file = bind_inputs(model, description, shapes)
        outputs_by_file = select_outputs(model, description)
        rename(model.graph, {**inputs_by_file, **outputs_by_file})
        check_score_output(model, description)
        added = append_logits(model.graph, description.output.kind)
        clean(model)
        shape_outputs(model, family)
        graph = bytes(model.SerializeToString(deterministic=True))
        lint_tensorrt(graph)
    except ExportError as error:
        raise ExportError(f"{file.path}: {error}") from error
    if added:
        family = replace(family, float32_islands=(*family.float32_islands, f"^{ADDED}/"))
    inputs = {
        name: tensor.numpy()
        for name, tensor in zip(
            family.input_names, family.example_inputs(description, _BATCH, seed=1), strict=True
        )
    }
    try:
        scores = independent_scores(graph, inputs)
        given = original_scores(file.model, inputs_by_file, outputs_by_file, inputs, description)
    except (BackendError, ExportError, ParityError) as error:
        raise type(error)(f"{file.path}: {error}") from error
    parity = float(np.abs(given - scores).max())
    if not parity <= BATCH_BUDGET:
        raise ParityError(
            f"{file.path}: the imported graph's scores differ by {parity:.3g} from those of the "
            f"file as given, more than {BATCH_BUDGET:.3g}: do not deploy"
        )
    parameters = sum(
        int(np.prod(t.dims, dtype=np.int64))
        for t in model.graph.initializer
        if t.data_type == FLOAT
    )
    interpretation = _interpretation(file, description, outputs_by_file)
    return ImportedGraph(family, graph, parameters, parity, interpretation, ())


def _interpretation(
    file: OnnxFile, description: ImportDescription, outputs_by_file: Mapping[str, str]
) -> Interpretation:
    signature = read_signature(file.model)
    inputs = {value.name: value for value in signature.inputs}
    answer = next(name for name, new in outputs_by_file.items() if new == SCORE_OUTPUT)
    return Interpretation(
        inputs=tuple(
            InputInterpretation(m, inputs[d.graph_input or m.value], Layout.NCHW, 3, 0)
            for m, d in ((m, description.inputs[m]) for m in description.modalities)
        ),
        constants={},
        output=OutputInterpretation(
            next(value for value in signature.outputs if value.name == answer),
            description.output.kind,
            description.output.reduction,
        ),
        opset=signature.opset,
        graph_opset=signature.opset,
        fixed_batch=None,
        max_batch=None,
    )
