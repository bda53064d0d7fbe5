"""What each layer in eight bits costs, so that the costliest can be given back first."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk_engines.quantization import Layer
    from fasdk_engines.quantization.mixed_precision.evaluator import Judge
    from fasdk_engines.quantization.mixed_precision.work_folder import Section

PROBING_SECONDS = 100.0
_MOST_CAPTURES = 64


class LayerSwitch(Protocol):
    """A graph in which each layer computes in eight bits or not, as told; see `Probe`."""

    def logits(
        self,
        batch: Mapping[str, NDArray[np.float32]],
        keep_float: frozenset[str] = frozenset(),
        two_term: frozenset[str] | None = None,
    ) -> NDArray[np.float32]:
        """Return float32 [B, classes]."""
        ...


@dataclass(frozen=True)
class LayerCost:
    """What one layer in eight bits costs, measured with every other layer in floating point.

    Alone, because what it adds to all others' error is lost in that error on a few captures.

    Attributes:
        name: Its node's name.
        macs: Multiply-accumulates for one capture.
        error: Mean square of what it moves the log-odds of bona fide by, its activation in one
            int8 term; infinity where that is no number.
        fine_error: The same with its activation in two terms; equal to `error` where it cannot be.
    """

    name: str
    macs: int
    error: float
    fine_error: float


def measure_costs(
    open_probe: Callable[[], LayerSwitch],
    layers: Sequence[Layer],
    judge: Judge,
    section: Section,
    progress: Callable[[int, int], None],
    *,
    two_terms: bool = True,
    seconds: float = PROBING_SECONDS,
) -> tuple[LayerCost, ...]:
    """Return the cost of every layer that can compute in eight bits, in graph order.

    Measured on the development captures nearest to the threshold, as many as the time allows.

    Args:
        open_probe: Loads the graph; not called where all costs are stored.
        layers: Every Linear and Conv.
        judge: Holds the captures.
        section: Keeps costs, so that a killed build does not measure them again.
        progress: Hears layers done, of how many.
        two_terms: Whether activations may be held in two int8 terms.
        seconds: About how long it may take, by `working_seconds`.

    Raises:
        BackendError: The graph cannot be run.
    """
    tried = [layer for layer in layers if layer.quantized]
    names = frozenset(layer.name for layer in tried)
    record = section.load_record("costs")
    errors: dict[str, list[float]] = dict(record.get("errors", {}))
    if not names <= errors.keys():
        probe = open_probe()
        size = record.get("captures") or _size(probe, judge, names, seconds)
        batch = judge.batch(judge.order[:size])
        plain = judge.odds(probe.logits(batch, names))
        for layer in tried:
            if layer.name not in errors:
                alone, this = names - {layer.name}, frozenset([layer.name])
                found = [
                    mean_square(judge.odds(probe.logits(batch, alone, two_term)) - plain)
                    for two_term in ((frozenset(), this) if two_terms else (frozenset(),))
                ]
                errors[layer.name] = [found[0], found[-1]]
                section.save_record("costs", {"captures": size, "errors": errors})
            progress(len(errors), len(tried))
    return tuple(LayerCost(y.name, y.macs, *map(float, errors[y.name])) for y in tried)


def probing_size(seconds_per_capture: float, layers: int, available: int, seconds: float) -> int:
    """Return how many captures every layer is probed on: a power of two that fits into `seconds`.

    At least one, whatever it takes: an order from one capture beats none.
    """
    affordable = seconds / max(seconds_per_capture * max(1, layers), 1e-9)
    size = 1
    while 2 * size <= min(affordable, available, _MOST_CAPTURES):
        size *= 2
    return size


def mean_square(moved: NDArray[np.float64]) -> float:
    """Return the mean square; infinity where one is not a number, so that its layer goes first."""
    return float(np.square(moved).mean()) if np.isfinite(moved).all() else float("inf")


def _size(probe: LayerSwitch, judge: Judge, names: frozenset[str], seconds: float) -> int:
    one = judge.batch(judge.order[:1])
    probe.logits(one, names)  # the first call allocates
    start = working_seconds()
    probe.logits(one, names)
    calls = 2 * len(names)
    return probing_size(working_seconds() - start, calls, len(judge.order), seconds)


def working_seconds() -> float:
    """Return the time this process has worked, as if on every core: other processes cost none.

    So how far a search gets hangs as little as may be on what else the machine does.
    """
    return time.process_time() / (os.cpu_count() or 1)
