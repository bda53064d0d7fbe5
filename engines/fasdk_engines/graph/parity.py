"""Parity of a model's published form, its deployed form and its exported graph.

Where a model selects experts by rank, the second form is made to use the experts the first one
selected: the outputs are then held to the same budget, and the experts of the first form may score
only `TIE_BUDGET` worse in the second, so that two forms differ in them only at near ties.

Budgets of logits are relative to their spread: float32 keeps seven digits, of logits that reach 400
as of those that reach 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fasdk.backends.onnxruntime import OnnxRuntimeEngine, open_session
from fasdk.errors import ParityError
from fasdk_engines.models.expert_selection import (
    SELECTION_NODE,
    expert_selections,
    forced_experts,
    recorded_experts,
    recording,
)

# Two orders of summation of one float32 network, twelve blocks deep, differ by a few 1e-6 of the
# logits' spread; a wrong fold differs by far more. The last is how far a score may depend on its
# batch-mates.
TORCH_BUDGET = 1e-4
GRAPH_BUDGET = 1e-4
BATCH_BUDGET = 1e-5
# Largest difference of a softmax, whatever the spread.
SCORE_BUDGET = 1e-3
# How much worse a selection of experts may score than the best, in standard deviations of the
# scores: reordered sums were seen to cost 3e-7.
TIE_BUDGET = 1e-4
_BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class Parity:
    """Largest differences between two forms of a model.

    Attributes:
        logits: Of any logit or certainty.
        scores: Of any softmax of the logits.
        spread: Largest difference between two logits of one capture, at least 1; budgets of logits
            are multiplied by it.
    """

    logits: float
    scores: float
    spread: float


def torch_parity(
    published: nn.Module,
    deployed: nn.Module,
    inputs: Sequence[Tensor],
    budget: float = TORCH_BUDGET,
) -> Parity:
    """Return the largest differences of the outputs, published form against deployed form.

    Args:
        published: Published form, weights loaded.
        deployed: Deployed form of the same weights.
        inputs: float32 [B, 3, H, W] per modality.
        budget: Largest logit difference that passes, as a share of the logits' spread.

    Raises:
        ParityError: They differ by more, a softmax by more than `SCORE_BUDGET`, or an output is not
            finite.
    """
    if not expert_selections(deployed):
        expected, found = _one_by_one(published, inputs), _one_by_one(deployed, inputs)
        return _compare("the deployed form in torch", found, expected, budget)
    picks = []
    rows = []
    for capture in _captures(inputs):
        with recording(published) as layers:
            rows.append(_one_by_one(published, capture))
            picks.append(recorded_experts(layers))
    expected = [np.concatenate(column) for column in zip(*rows, strict=True)]
    found = _with_experts(deployed, inputs, picks)
    return _compare("the deployed form in torch", found, expected, budget)


def graph_parity(
    graph: bytes,
    module: nn.Module,
    inputs: Sequence[Tensor],
    budget: float = GRAPH_BUDGET,
    threads: int = 2,
) -> Parity:
    """Return the largest differences of the outputs, module against its graph in ONNX Runtime.

    The graph is run on one capture and on three, the module on each alone; the first capture's
    outputs must not depend on who else is in the batch.

    Args:
        graph: A serialized ONNX model.
        module: Deployed module that the graph was exported from.
        inputs: float32 [B, 3, H, W] per graph input, in graph order, B at least 3.
        budget: Largest logit difference that passes, as a share of the logits' spread.
        threads: CPU threads for ONNX Runtime.

    Raises:
        ParityError: They differ by more, a softmax by more than `SCORE_BUDGET`, an output is not
            finite, or a score depends on its batch.
        BackendError: ONNX Runtime refuses the graph.
    """
    if expert_selections(module):
        expected = _with_experts(module, inputs, _picks_of_graph(graph, module, inputs, threads))
    else:
        expected = _one_by_one(module, inputs)
    engine = OnnxRuntimeEngine(graph, threads=threads)
    try:
        measured: list[Parity] = []
        alone: list[NDArray[np.float32]] = []
        for size in _BATCH_SIZES:
            part = [tensor[:size] for tensor in inputs]
            if part[0].shape[0] != size:
                raise ParityError(f"parity needs {size} captures, got {part[0].shape[0]}")
            named = {
                name: np.ascontiguousarray(tensor.numpy())
                for name, tensor in zip(engine.input_names, part, strict=True)
            }
            outputs = engine.run(named)
            found = [outputs.logits]
            if outputs.certainty is not None:
                found.append(outputs.certainty)
            alone = alone or found
            first = [output[:1] for output in found]
            _compare("a capture among others", first, alone, BATCH_BUDGET)
            rows = [output[:size] for output in expected]
            measured.append(_compare(f"the graph at batch {size}", found, rows, budget))
    finally:
        engine.close()
    return Parity(
        logits=max(parity.logits for parity in measured),
        scores=max(parity.scores for parity in measured),
        spread=max(parity.spread for parity in measured),
    )


def _one_by_one(module: nn.Module, inputs: Sequence[Tensor]) -> list[NDArray[np.float32]]:
    """Return a module's outputs, each capture run alone.

    Nothing can leak between captures that way, and a full-size model runs several times faster
    than in one batch, whose activations torch would map and unmap at every operation.
    """
    with torch.no_grad():
        rows = [
            [output.numpy() for output in module.eval()(*(tensor[i : i + 1] for tensor in inputs))]
            for i in range(len(inputs[0]))
        ]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _captures(inputs: Sequence[Tensor]) -> list[list[Tensor]]:
    return [[tensor[i : i + 1] for tensor in inputs] for i in range(len(inputs[0]))]


def _with_experts(
    module: nn.Module, inputs: Sequence[Tensor], picks: Sequence[Sequence[Tensor]]
) -> list[NDArray[np.float32]]:
    """Return a module's outputs, each capture run alone with the experts given for it.

    Raises:
        ParityError: The given experts score worse than `TIE_BUDGET` allows.
    """
    rows = []
    for capture, picked in zip(_captures(inputs), picks, strict=True):
        with forced_experts(module, picked) as layers:
            rows.append(_one_by_one(module, capture))
        for number, layer in enumerate(layers):
            if not layer.score_deficit <= TIE_BUDGET:
                raise ParityError(
                    f"the experts selected in adapter {number} score {layer.score_deficit:.3g} "
                    f"standard deviations worse than the best, more than {TIE_BUDGET:.3g}: "
                    "do not deploy"
                )
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _picks_of_graph(
    graph: bytes, module: nn.Module, inputs: Sequence[Tensor], threads: int
) -> list[list[Tensor]]:
    """Return the experts a graph selects for each capture alone, one int64 tensor per layer."""
    session, names = selection_session(graph, threads)
    if len(names) != len(expert_selections(module)):
        raise ParityError(
            f"the graph selects experts {len(names)} times, "
            f"the model it was exported from {len(expert_selections(module))} times"
        )
    inputs_of = [value.name for value in session.get_inputs()]
    picks = []
    for capture in _captures(inputs):
        values = (np.ascontiguousarray(tensor.numpy()) for tensor in capture)
        found = session.run(names, dict(zip(inputs_of, values, strict=True)))
        picks.append([torch.from_numpy(chosen) for chosen in found])
    return picks


def selection_session(graph: bytes, threads: int = 0) -> tuple[Any, list[str]]:
    """Return an ONNX Runtime session, default optimizer, that also returns the selected experts.

    Returns:
        The session, and the names of its int64 outputs [Q, heads, count] in the order of the
        layers.
    """
    import onnx

    model = onnx.load_from_string(graph)
    nodes = [node for node in model.graph.node if node.name.endswith(SELECTION_NODE)]
    names = [node.output[0] for node in nodes]
    for name in names:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None)
        model.graph.output.append(value)
    data = model.SerializeToString()
    del model
    return open_session(data, threads=threads), names


def _compare(
    what: str,
    found: Sequence[NDArray[np.float32]],
    expected: Sequence[NDArray[np.float32]],
    budget: float,
) -> Parity:
    differences = []
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        name = ("logits", "certainty")[index]
        if a.shape != b.shape:
            raise ParityError(f"{what}: {name} is {list(a.shape)}, expected {list(b.shape)}")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ParityError(f"{what}: {name} is not finite: the weights overflow float32")
        differences.append(float(np.abs(a - b).max(initial=0.0)))
    spread = max(1.0, float(np.ptp(expected[0], axis=-1).max(initial=0.0)))
    scores = float(np.abs(_softmax(found[0]) - _softmax(expected[0])).max(initial=0.0))
    parity = Parity(max(differences), scores, spread)
    # Certainty, where there is one, lies in [0, 1] whatever the logits are.
    if differences[0] > budget * spread or any(other > budget for other in differences[1:]):
        raise ParityError(
            f"{what} differs by {parity.logits:.3g}, more than {budget:.3g}"
            f"{f' of the logits spread {spread:.3g}' if spread > 1.0 else ''} (softmax by "
            f"{scores:.3g}): do not deploy"
        )
    if scores > SCORE_BUDGET:
        raise ParityError(
            f"{what} differs by {scores:.3g} in softmax, more than {SCORE_BUDGET:.3g} (logits by "
            f"{parity.logits:.3g}, which spread over {spread:.3g}): do not deploy"
        )
    return parity


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponents = np.exp(shifted)
    result: NDArray[np.float64] = exponents / exponents.sum(axis=-1, keepdims=True)
    return result
