"""Checks of an imported graph: independence of the batch, and scores equal to the file's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine, open_session
from fasdk.errors import BackendError, ExportError, ParityError
from fasdk.preprocess import PRESENCE
from fasdk_engines.graph.parity import BATCH_BUDGET
from fasdk_engines.onnx_import.description import OutputKind
from fasdk_engines.onnx_import.names import SCORE_OUTPUT
from fasdk_engines.onnx_import.scores import class_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.onnx_import.description import ImportDescription


def independent_scores(
    graph: bytes, inputs: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Return each capture's class scores, having checked that they depend on that capture alone.

    Args:
        graph: Imported graph, a serialized ONNX model.
        inputs: float32 [B, ...] by input name.

    Returns:
        float64 [B, classes].

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
                f"it fails on a batch of {len(rows)}: {first}; export with a dynamic batch"
            ) from error
        if len(logits) != len(rows):
            raise ExportError(f"it gives {len(logits)} rows for a batch of {len(rows)}")
        if not np.isfinite(logits).all():
            raise ParityError("it gives logits that are not finite on 8-bit images")
        return class_scores(logits, OutputKind.LOGITS)

    everyone = list(range(len(next(iter(inputs.values())))))
    alone = np.concatenate([scores([i], inputs) for i in everyone])
    for order in (everyone, everyone[::-1], everyone[1:]):
        drift = float(np.abs(scores(order, inputs) - alone[order]).max())
        if not drift <= BATCH_BUDGET:
            raise ParityError(
                f"a capture's score moves by {drift:.3g} with its batch-mates, more than "
                f"{BATCH_BUDGET:.3g}: export in eval mode, without normalization over the batch"
            )
    if PRESENCE in inputs:
        hidden = dict(inputs)
        for column, name in enumerate(n for n in inputs if n != PRESENCE):
            absent = inputs[PRESENCE][:, column] == 0.0
            hidden[name] = np.where(absent[:, None, None, None], np.float32(0.5), inputs[name])
        drift = float(np.abs(scores(everyone, hidden) - alone).max())
        if not drift <= BATCH_BUDGET:
            raise ParityError(
                f"an absent modality's pixels move a score by {drift:.3g}: mask them in "
                "the graph, or leave presence out and give missing_value"
            )
    return alone


def original_scores(
    model: onnx.ModelProto,
    inputs_by_file: Mapping[str, str],
    outputs_by_file: Mapping[str, str],
    inputs: Mapping[str, NDArray[np.float32]],
    description: ImportDescription,
) -> NDArray[np.float64]:
    """Return the class scores of the file as it was given, one capture at a time.

    Args:
        model: Model of the file.
        inputs_by_file: Imported input name by the file's.
        outputs_by_file: Imported output name by the file's.
        inputs: float32 [B, ...] by imported input name.
        description: Description of the file.

    Returns:
        float64 [B, classes].

    Raises:
        BackendError: ONNX Runtime refuses the file or fails on it.
    """
    answer = next(name for name, new in outputs_by_file.items() if new == SCORE_OUTPUT)
    session = open_session(model.SerializeToString(), name="the file")
    try:
        rows = [
            session.run([answer], {n: inputs[new][i : i + 1] for n, new in inputs_by_file.items()})
            for i in range(len(next(iter(inputs.values()))))
        ]
    except Exception as error:
        raise BackendError(f"ONNX Runtime failed on the file: {error}") from error
    answers = np.concatenate([row[0].reshape(1, -1) for row in rows])
    return class_scores(answers, description.output.kind)
