"""Sensitivity of a graph's decisions to each layer in INT8."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.progress import Progress
    from fasdk_engines.quantization.graph.layers import Layer
    from fasdk_engines.quantization.mixed_precision.evaluator import BudgetEvaluator
    from fasdk_engines.quantization.work_folder import Section

SENSITIVITY_SECONDS = 100.0
_MAX_CAPTURES = 64


class LayerSwitch(Protocol):
    """A graph in which each layer can be switched to INT8; see `SwitchableGraph`."""

    def logits(
        self,
        batch: Mapping[str, NDArray[np.float32]],
        float_layers: frozenset[str] = frozenset(),
        residual_layers: frozenset[str] | None = None,
    ) -> NDArray[np.float32]:
        """Return logits, float32 [B, classes]."""
        ...


@dataclass(frozen=True)
class LayerSensitivity:
    """Error of the log-odds caused by one layer in INT8, every other layer in floating point.

    It is measured alone, because beside the error of all other layers it would be lost in the
    noise of a few captures.

    Attributes:
        name: Name of the layer's node.
        macs: Multiply-accumulates for one capture.
        error: Mean squared change of the log-odds of bona fide, its activation held in one INT8
            term; infinity where that is not a number.
        residual_error: Error with its activation held in two INT8 terms; equal to `error` where two
            are not allowed.
    """

    name: str
    macs: int
    error: float
    residual_error: float


def measure_sensitivity(
    open_graph: Callable[[], LayerSwitch],
    layers: Sequence[Layer],
    evaluator: BudgetEvaluator,
    section: Section,
    progress: Progress,
    *,
    allow_residual: bool = True,
    seconds: float = SENSITIVITY_SECONDS,
) -> tuple[LayerSensitivity, ...]:
    """Return the sensitivity of every layer that can compute in INT8, in graph order.

    Measured on the development captures nearest to the threshold, as many as the time allows.

    Args:
        open_graph: Loads the graph with layer switches; not called where all results are stored.
        layers: Every Linear and Conv layer.
        evaluator: Evaluator that holds the development captures.
        section: Stores results, so that a killed build does not measure them again.
        progress: Receives the layers measured, of how many.
        allow_residual: Whether activations may be held in two INT8 terms.
        seconds: Approximate time to spend, by `working_seconds`.

    Raises:
        BackendError: The graph cannot be run.
    """
    tried = [layer for layer in layers if layer.quantized]
    names = frozenset(layer.name for layer in tried)
    record = section.load_record("sensitivity")
    errors: dict[str, list[float]] = dict(record.get("errors", {}))
    if not names <= errors.keys():
        graph = open_graph()
        size = record.get("captures") or _measured_size(graph, evaluator, names, seconds)
        batch = evaluator.batch(evaluator.order[:size])
        plain = evaluator.log_odds(graph.logits(batch, names))
        for layer in tried:
            if layer.name not in errors:
                others, this = names - {layer.name}, frozenset([layer.name])
                choices = (frozenset[str](), this) if allow_residual else (frozenset[str](),)
                found = [
                    mean_square(evaluator.log_odds(graph.logits(batch, others, residual)) - plain)
                    for residual in choices
                ]
                errors[layer.name] = [found[0], found[-1]]
                section.save_record("sensitivity", {"captures": size, "errors": errors})
            progress.update("layer sensitivity", len(errors), len(tried))
    return tuple(LayerSensitivity(y.name, y.macs, *map(float, errors[y.name])) for y in tried)


def sample_size(seconds_per_capture: float, layers: int, available: int, seconds: float) -> int:
    """Return the number of captures to measure every layer on: a power of two.

    At least one even where that takes longer, because a ranking from one capture is better than
    none.

    Args:
        seconds_per_capture: Time of one run on one capture.
        layers: Number of runs a capture.
        available: Number of development captures.
        seconds: Time to spend.
    """
    affordable = seconds / max(seconds_per_capture * max(1, layers), 1e-9)
    size = 1
    while 2 * size <= min(affordable, available, _MAX_CAPTURES):
        size *= 2
    return size


def mean_square(differences: NDArray[np.float64]) -> float:
    """Return the mean square; infinity where one is not a number, so that its layer is first."""
    return float(np.square(differences).mean()) if np.isfinite(differences).all() else float("inf")


def _measured_size(
    graph: LayerSwitch, evaluator: BudgetEvaluator, names: frozenset[str], seconds: float
) -> int:
    """Time one run and return the number of captures that fit into `seconds`."""
    one = evaluator.batch(evaluator.order[:1])
    graph.logits(one, names)  # the first call allocates
    start = working_seconds()
    graph.logits(one, names)
    calls = 2 * len(names)
    return sample_size(working_seconds() - start, calls, len(evaluator.order), seconds)


def working_seconds() -> float:
    """Return the CPU time of this process divided by the number of cores, in seconds.

    Other processes do not count, so how far a search gets depends as little as possible on the load
    of the machine.
    """
    return time.process_time() / (os.cpu_count() or 1)
