"""Choice of the golden captures of an INT8 graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.bundle.manifest import Precision
from fasdk.decision import class_scores
from fasdk.errors import PrecisionError
from fasdk.preprocess import to_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk_engines.build.resolved import ResolvedModel

# A device differs from the workstation by rounding alone; a plan may move a score by this much.
GOLDEN_TOLERANCE = 0.01


def choose_golden(
    graph: bytes,
    candidates: Sequence[Capture],
    logits: NDArray[np.float32],
    model: ResolvedModel,
    count: int,
    rounded: NDArray[np.float32] | None = None,
    instead: Callable[[], Precision] = lambda: Precision.FP32,
) -> tuple[int, ...]:
    """Return the captures of an INT8 graph whose scores FP16 rounding moves least.

    A value that a rounding to float16 carries over the border of two INT8 levels moves a score by
    more than float16 alone does, and on a device other values cross than here. A golden capture's
    score must not depend on that.

    Args:
        graph: Serialized INT8 graph.
        candidates: Captures to choose from.
        logits: float32 [N, classes] of the candidates, nothing rounded to float16.
        model: Model of the graph.
        count: Number of captures to choose.
        rounded: float32 [N, classes] with every operator's output rounded, or None to compute it.
        instead: Returns the float precision that an error advises: one that works for this graph.

    Returns:
        Indices into `candidates`, ascending.

    Raises:
        PrecisionError: Fewer than `count` candidates keep their score within the tolerance when
            every operator's output is rounded.
    """
    if rounded is None:
        from fasdk_engines.quantization import QdqReferenceRunner

        runner = QdqReferenceRunner(graph)
        order = model.family.presence_order
        rounded = np.concatenate(
            [runner.logits(to_batch([one], model.specs, order)) for one in candidates]
        )
    drifts = score_drift(rounded, logits, model.family.live_index)
    by_drift = np.argsort(drifts, kind="stable")  # NaN last
    chosen = sorted(int(index) for index in by_drift[:count])
    worst = drifts[chosen].max()
    if not worst <= GOLDEN_TOLERANCE:
        raise PrecisionError(
            f"rounding to float16 moves the score of a golden capture by {worst:.4f}, more than "
            f"{GOLDEN_TOLERANCE}: a device would refuse the bundle, build with --precision "
            f"{instead().value}"
        )
    return tuple(chosen)


def score_drift(
    found: NDArray[np.float32], expected: NDArray[np.float32], live_index: int
) -> NDArray[np.float64]:
    """Return the absolute difference of each capture's liveness score, float64 [N] in [0, 1].

    Args:
        found: float32 [N, classes], logits.
        expected: float32 [N, classes], logits they are compared with.
        live_index: Index of the bona fide class.
    """
    differences = [
        abs(float(class_scores(one)[live_index] - class_scores(other)[live_index]))
        for one, other in zip(found, expected, strict=True)
    ]
    return np.array(differences, np.float64)
