"""Choose which layers multiply twice, on activations held in two int8 terms.

One int8 activation leaves about 46 dB; two leave the weights' own 60 dB, at twice the
multiply-accumulates, still in eight bits. They are spent where they take most noise from the
logits per multiply-accumulate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk_engines.quantization.graph.layer_switch import Probe
    from fasdk_engines.quantization.graph.layers import Layer

    Progress = Callable[[str, int, int], None]

_WORK = 5_000_000_000_000  # multiply-accumulates the choice may cost
_MOST_CAPTURES = 64


def choose_two_term(
    probe: Probe,
    layers: Sequence[Layer],
    batches: Sequence[Mapping[str, NDArray[np.float32]]],
    *,
    share: float,
    target: float,
    progress: Progress | None = None,
) -> frozenset[str]:
    """Return the names of the layers that are to multiply twice.

    Args:
        probe: The graph with a switch a layer.
        layers: All its Linear and Conv layers.
        batches: Calibration captures, float32 [B, ...] by input name.
        share: Largest share of all multiply-accumulates that may be done twice.
        target: Noise power over signal power of the logits to stop at.
        progress: Hears (what, done, of).
    """
    total = sum(layer.macs for layer in layers)
    macs = {layer.name: layer.macs for layer in layers if layer.name in set(probe.layers)}
    count = int(_WORK / max(1, total * len(macs)))
    captures = _spread(batches, max(1, min(_MOST_CAPTURES, count)))
    everything = frozenset(macs)
    exact = probe.logits(captures, everything)
    signal = _contrasts(exact)
    power = float(np.mean(np.abs(signal - signal.mean(axis=0) * (len(signal) > 1)))) ** 2
    noise = {}
    for number, name in enumerate(macs):
        found = probe.logits(captures, everything - {name})
        # The mean magnitude, squared, adds up like a power; one capture that an expert's choice
        # throws far off does not decide it.
        noise[name] = float(np.mean(np.abs(_contrasts(found) - signal))) ** 2 / max(power, 1e-30)
        if progress is not None:
            progress("layers' noise", number + 1, len(macs))
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
    """Return the logits without what is common to a capture's classes, which no score sees."""
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
