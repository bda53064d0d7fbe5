"""Import of an ONNX file's graph, with the names, outputs and checks of an exported one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk.bundle.graph import MAX_BATCH_KEY
from fasdk.errors import BackendError, ExportError, ParityError
from fasdk_engines.graph.editing import copy_of, rename
from fasdk_engines.graph.export import clean
from fasdk_engines.graph.lint import lint_operators, lint_tensorrt
from fasdk_engines.graph.types import parse_graph
from fasdk_engines.onnx_import.batch import BatchReading, free_batch, state_squeezed_axes
from fasdk_engines.onnx_import.branches import fold_known_values, take_known_branches
from fasdk_engines.onnx_import.equivalence import (
    extreme_captures,
    file_answers,
    independent_logits,
    input_types,
    mixes_batch,
    open_file,
    require_same_answers,
    require_same_scores,
)
from fasdk_engines.onnx_import.front import declare_sizes, fix_inputs, join_modalities, open_batch
from fasdk_engines.onnx_import.guard import run_guarded
from fasdk_engines.onnx_import.inputs import bind_inputs
from fasdk_engines.onnx_import.interpretation import (
    Interpretation,
    OutputInterpretation,
    opset_of,
    read_signature,
)
from fasdk_engines.onnx_import.outputs import (
    FLOAT,
    LOGITS,
    SCORE_OUTPUT,
    append_reduction,
    keep_first_row,
    read_score_map,
    select_outputs,
    shape_outputs,
)
from fasdk_engines.onnx_import.scores import (
    SCORE_NODES,
    append_logits,
    require_kind_of_graph,
    require_kind_of_values,
)
from fasdk_engines.onnx_import.standard_form import refuse_quantized, simplify, to_known_opset

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.models.base import Family
    from fasdk_engines.onnx_import.description import ImportDescription
    from fasdk_engines.onnx_import.inputs import FileInputs
    from fasdk_engines.onnx_import.onnx_file import OnnxFile
    from fasdk_engines.onnx_import.outputs import ScoreMap

PROOF_CAPTURES = 16


@dataclass(frozen=True)
class ImportedGraph:
    """Graph of an imported file, in the form of an exported one.

    Attributes:
        family: Model family of the description, with the float32 islands of added operators.
        graph: Self-contained ONNX, inputs named after modalities, outputs `logits` and, where the
            description names one, `certainty`.
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


@dataclass(frozen=True, eq=False)
class _Original:
    """The file as given, and what it answers on the captures of the proof.

    Attributes:
        inputs: Its inputs.
        outputs: Names in the imported graph by the file's.
        scores: Place of the scores in its output.
        captures: float32 [B, ...] by imported input name.
        answers: [B, ...], its output for each.
        found: float64 [B, columns], the scores in it.
        half: Whether it computes in half precision.
        mixes_batch: Whether it takes several captures at once and answers otherwise for them.
    """

    inputs: FileInputs
    outputs: Mapping[str, str]
    scores: ScoreMap
    captures: Mapping[str, NDArray[np.float32]]
    answers: NDArray[np.generic]
    found: NDArray[np.float64]
    half: bool
    mixes_batch: bool


def import_graph(file: OnnxFile, description: ImportDescription) -> ImportedGraph:
    """Return a file's graph with fasdk's input and output names, having checked it for deployment.

    The file is converted to the opset and types of every later step and held against itself as
    given, on `PROOF_CAPTURES` inputs. Its inputs are then fed from one float32 tensor
    [batch, 3, H, W] a modality, its batch is freed where it is fixed, and its scores are made
    logits; the result is held against the file as given again.

    Refused: quantized files, random and training nodes, loops and branches of unknown condition,
    custom operators and what the oldest supported TensorRT would not take; inputs and outputs that
    are not as described; scores that depend on batch-mates or on the pixels of an absent modality.

    Raises:
        ExportError: The graph is not as described; it names the node, input or output.
        ParityError: Its scores depend on the batch or on absent pixels, or the import changed them.
        BackendError: The file as given cannot be run.
    """

    def imported() -> ImportedGraph:
        try:
            return _import(file, description)
        except (BackendError, ExportError, ParityError) as error:
            raise type(error)(f"{file.path}: {error}") from error

    return run_guarded(imported, str(file.path), file.model.ByteSize())


def with_sizes(file: OnnxFile, description: ImportDescription) -> ImportDescription:
    """Return a description with the image sizes that the file fixes filled in.

    Raises:
        ExportError: The file is quantized, or its inputs are not as described.
    """

    def bound() -> ImportDescription:
        try:
            refuse_quantized(file.model)
            return bind_inputs(file.model, description).description
        except ExportError as error:
            raise ExportError(f"{file.path}: {error}") from error

    return run_guarded(bound, str(file.path), file.model.ByteSize())


def _import(file: OnnxFile, description: ImportDescription) -> ImportedGraph:
    refuse_quantized(file.model)
    inputs = bind_inputs(file.model, description)
    description = inputs.description
    converted, notes = _in_standard_form(file.model, inputs)
    outputs = select_outputs(converted, description)
    answer = next(name for name, new in outputs.items() if new == SCORE_OUTPUT)
    original = _run_original(file.model, converted, inputs, outputs, answer)
    what = f"the conversion ({'; '.join(notes)})" if notes else "reading the file"
    if notes:
        _hold_conversion(converted, original, answer, what)
    rename(converted.graph, outputs, reserved=[LOGITS])
    family = description.family()
    graph, parity, how = _deployable(converted, original, family)
    any_batch = not how.single
    model = parse_graph(graph)
    added = any(node.name.startswith(f"{SCORE_NODES}/log") for node in model.graph.node)
    if added:
        islands = (*family.float32_islands, f"^{SCORE_NODES}/")
        family = replace(family, float32_islands=islands)
    signature = read_signature(file.model)
    interpretation = Interpretation(
        inputs=inputs.interpretations(),
        constants={
            constant.name: str(description.constants[constant.name])
            for constant in inputs.constants
        },
        output=OutputInterpretation(
            next(value for value in signature.outputs if value.name == answer),
            description.output.kind,
            description.output.reduction,
        ),
        opset=signature.opset,
        graph_opset=opset_of(model),
        fixed_batch=inputs.fixed_batch,
        max_batch=None if any_batch else 1,
    )
    parameters = sum(
        int(np.prod(t.dims, dtype=np.int64))
        for t in model.graph.initializer
        if t.data_type == FLOAT
    )
    return ImportedGraph(
        family, graph, parameters, parity, interpretation, (*notes, *how.notes(inputs))
    )


def _in_standard_form(
    model: onnx.ModelProto, inputs: FileInputs
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    simple, notes = simplify(model)
    declare_sizes(simple, inputs)
    taken = take_known_branches(simple)
    if inputs.fixed_batch is None and any(node.op_type == "If" for node in simple.graph.node):
        # Exporters write a branch on the batch for a squeeze; every proof is of one capture.
        declare_sizes(simple, inputs, batch=1)
        taken += take_known_branches(simple)
        declare_sizes(simple, inputs)
    if taken:
        notes = (*notes, f"{taken} branches whose condition is known were resolved")
    converted, more = to_known_opset(simple)
    fold_known_values(converted)
    lint_operators(converted)
    clean(converted)
    return converted, (*notes, *more)


def _run_original(
    model: onnx.ModelProto,
    converted: onnx.ModelProto,
    inputs: FileInputs,
    outputs: Mapping[str, str],
    answer: str,
) -> _Original:
    """Run the file as given, and read where its scores are and whether they are as described."""
    description = inputs.description
    captures = _proof_captures(inputs)
    runner = open_file(model)
    answers = file_answers(runner, answer, inputs, captures)
    by_class = len(description.labels) in answers.shape[1:]
    require_kind_of_graph(converted, answer, description.output.kind, by_class=by_class)
    scores = read_score_map(answer, answers, inputs.fixed_batch or 1, description)
    found = scores.reduce(answers)
    extreme = _extreme_answers(converted, inputs, answer, captures)
    require_kind_of_values(description.output.kind, found, scores.reduce(extreme))
    half = (
        answers.dtype == np.float16
        or any(tensor.data_type in _HALF_TYPES for tensor in model.graph.initializer)
        or any(image.declared.element in ("float16", "bfloat16") for image in inputs.images)
    )
    return _Original(
        inputs,
        outputs,
        scores,
        captures,
        answers,
        found,
        half,
        inputs.fixed_batch is None and mixes_batch(runner, answer, inputs, captures, answers),
    )


def _extreme_answers(
    converted: onnx.ModelProto,
    inputs: FileInputs,
    answer: str,
    captures: Mapping[str, NDArray[np.float32]],
) -> NDArray[np.generic]:
    """Return the output far outside the range of images, of the graph that takes such inputs."""
    model = copy_of(converted)
    fix_inputs(model, inputs, inputs.fixed_batch or 1)
    extreme = extreme_captures(inputs, captures)
    return file_answers(open_file(model), answer, inputs, extreme, types=input_types(model))


_HALF_TYPES = (10, 16)  # onnx.TensorProto.FLOAT16 and BFLOAT16, fixed parts of the file format


def _proof_captures(inputs: FileInputs) -> dict[str, NDArray[np.float32]]:
    """Return seeded images by imported input name, exact in the types of the file's inputs."""
    description = inputs.description
    family = description.family()
    tensors = family.example_inputs(description, PROOF_CAPTURES, seed=1)
    captures = {
        name: np.ascontiguousarray(tensor.numpy())
        for name, tensor in zip(family.input_names, tensors, strict=True)
    }
    for image in inputs.images:
        for modality in image.modalities:
            if image.is_integer:
                captures[modality.value] = np.rint(captures[modality.value])
            elif image.declared.element == "float16":
                half = captures[modality.value].astype(np.float16)
                captures[modality.value] = half.astype(np.float32)
    return captures


def _hold_conversion(
    converted: onnx.ModelProto, original: _Original, answer: str, what: str
) -> None:
    types = input_types(converted)
    runner = open_file(converted)
    found = file_answers(runner, answer, original.inputs, original.captures, types=types)
    require_same_answers(found, original.answers, half=original.half, what=what)


@dataclass(frozen=True)
class _Batch:
    """How the graph came to take its batch.

    Attributes:
        changed: Number of nodes changed to free the batch.
        single: Whether it takes one capture at a time.
        reason: Reason for that, or an empty text.
    """

    changed: int
    single: bool
    reason: str = ""

    def notes(self, inputs: FileInputs) -> tuple[str, ...]:
        if self.single:
            return (f"the bundle takes one capture at a time: {self.reason}",)
        if inputs.fixed_batch is not None:
            return (f"the batch, fixed at {inputs.fixed_batch} in the file, was freed",)
        if self.changed:
            return (f"the batch, fixed by {self.changed} nodes of the file, was freed",)
        return ()


def _deployable(
    converted: onnx.ModelProto, original: _Original, family: Family
) -> tuple[bytes, float, _Batch]:
    """Return the graph with fasdk's inputs and outputs, its parity, and how it takes batches.

    A freed batch has to prove itself by running. Where none does, the graph takes one capture.
    """
    inputs = original.inputs
    batch = inputs.fixed_batch or 1
    reason: Exception | None = None
    batched = all(image.batched for image in inputs.images)
    for reading in BatchReading if batched else ():
        model = copy_of(converted)
        fix_inputs(model, inputs, batch)
        try:
            changed = free_batch(model, batch, reading)
            open_batch(model)
            finished = _finished(model, original, family, batch=None)
        except (BackendError, ExportError, ParityError) as error:
            reason = reason or error
        else:
            return (*finished, _Batch(changed, False))
    if batched and inputs.fixed_batch is None and original.mixes_batch:
        raise ParityError(
            "a capture's score moves with its batch-mates: export in eval mode, without "
            "normalization over the batch"
        )
    model = copy_of(converted)
    fix_inputs(model, inputs, batch)
    state_squeezed_axes(model)
    finished = _finished(model, original, family, batch=batch)
    why = "the file's input has no batch axis" if reason is None else str(reason)
    return (*finished, _Batch(0, True, why))


def _finished(
    model: onnx.ModelProto, original: _Original, family: Family, batch: int | None
) -> tuple[bytes, float]:
    """Return the graph with fasdk's inputs and outputs, and its parity with the file as given.

    Args:
        model: Model whose inputs are fixed; it is changed.
        original: The file as given.
        family: Model family of the description.
        batch: Batch inside the graph, or None for any.
    """
    description = original.inputs.description
    join_modalities(model, original.inputs, family.input_shapes(description), batch or 0)
    append_reduction(model, original.scores, batch=batch)
    if batch is not None and batch > 1:
        keep_first_row(model.graph)
    append_logits(model, description.output.kind)
    clean(model)
    shape_outputs(model, family, batch=batch)
    if batch is not None:
        model.metadata_props.add(key=MAX_BATCH_KEY, value="1")
    graph = bytes(model.SerializeToString(deterministic=True))
    lint_tensorrt(graph)
    logits = independent_logits(graph, original.captures, any_batch=batch is None)
    kind = description.output.kind
    return graph, require_same_scores(logits, original.found, kind, half=original.half)
