"""Engine that scores a capture by its own pixels, and captures of many shades."""

from __future__ import annotations

import numpy as np

from fasdk.backends.engine import EngineOutputs

from support import tiny_bundle
from support.scripted_engine import FakeEngine, live

GOOD = tiny_bundle.capture(200)


class Brightness(FakeEngine):
    """Scores a row by its own pixels, so that an answer given to the wrong capture shows."""

    def __init__(self, before=None) -> None:
        super().__init__(live)
        self.before = before

    def run(self, inputs):
        if self.before is not None:
            self.before(inputs)
        self.batches.append({name: rows.copy() for name, rows in inputs.items()})
        return brightness(inputs)


def brightness(inputs: dict[str, np.ndarray]) -> EngineOutputs:
    """Return outputs whose scores grow with the brightness of each row's own pixels."""
    means = inputs["rgb"].mean((1, 2, 3), dtype=np.float64)
    logits = np.stack([np.zeros(len(means)), 4 * means], axis=1).astype(np.float32)
    return EngineOutputs(logits, live(len(means)).reliability)


SHADES = [tiny_bundle.capture(level) for level in range(40, 240, 10)]


def nan(size: int) -> EngineOutputs:
    """Return outputs whose logits are no numbers."""
    return EngineOutputs(np.full((size, 2), np.nan, np.float32), live(size).reliability)
