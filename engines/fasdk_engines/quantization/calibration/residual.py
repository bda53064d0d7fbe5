"""Choice of the layers whose activation is held in two INT8 terms.

One INT8 term leaves a signal-to-noise ratio of about 46 dB. A second term that encodes the residual
of the first leaves the 60 dB of the weights, at twice the multiply-accumulates, still in INT8.
The layers that get it are those where it removes most noise from the logits for each
multiply-accumulate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.progress import Progress
    from fasdk_engines.quantization.graph.layer_switch import SwitchableGraph
    from fasdk_engines.quantization.graph.layers import Layer

_MAX_MACS = 5_000_000_000_000  # multiply-accumulates the choice may take
_MAX_CAPTURES = 64


def choose_residual_layers(
    graph: SwitchableGraph,
    layers: Sequence[Layer],
    batches: Sequence[Mapping[str, NDArray[np.float32]]],
    *,
    share: float,
    target: float,
    progress: Progress | None = None,
) -> frozenset[str]:
    """Return the names of the layers whose activation is to be held in two INT8 terms.

    Args:
        graph: The graph with one INT8 switch a layer.
        layers: All its Linear and Conv layers.
        batches: Calibration captures, float32 [B, ...] by input name.
        share: Largest share of all multiply-accumulates, in [0, 1], that may be done twice.
        target: Noise power over signal power of the logits to stop at.
        progress: Receives the layers measured, of how many.
    """
    total = sum(layer.macs for layer in layers)
    macs = {layer.name: layer.macs for layer in layers if layer.name in set(graph.layers)}
    count = int(_MAX_MACS / max(1, total * len(macs)))
    captures = _spread(batches, max(1, min(_MAX_CAPTURES, count)))
    everything = frozenset(macs)
    exact = graph.logits(captures, everything)
    signal = _contrasts(exact)
    power = float(np.mean(np.abs(signal - signal.mean(axis=0) * (len(signal) > 1)))) ** 2
    noise = {}
    for number, name in enumerate(macs):
        found = graph.logits(captures, everything - {name})
        # The squared mean magnitude adds up like a power, and one capture for which a gate picks
        # another expert does not dominate it.
        noise[name] = float(np.mean(np.abs(_contrasts(found) - signal))) ** 2 / max(power, 1e-30)
        if progress is not None:
            progress.update("layer noise", number + 1, len(macs))
    chosen: set[str] = set()
    left, spent = sum(noise.values()), 0
    for name in sorted(macs, key=lambda n: -noise[n] / macs[n]):
        if left <= target:
            break
        if spent + macs[name] <= share * total:
            chosen.add(name)
            spent += macs[name]
            left -= noise[name]
    return frozenset(chosen)


def _contrasts(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logits less their mean over classes, which does not affect the score."""
    wide = logits.astype(np.float64)
    contrasts: NDArray[np.float64] = wide - wide.mean(axis=1, keepdims=True)
    return contrasts


def _spread(
    batches: Sequence[Mapping[str, NDArray[np.float32]]], count: int
) -> dict[str, NDArray[np.float32]]:
    """Return `count` captures spread evenly over all batches."""
    sizes = [len(next(iter(batch.values()))) for batch in batches]
    total = sum(sizes)
    picks = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    starts = np.cumsum([0, *sizes])
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in batches[0]}
    for index, batch in enumerate(batches):
        rows = picks[(picks >= starts[index]) & (picks < starts[index + 1])] - starts[index]
        for name, array in batch.items():
            parts[name].append(array[rows])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
