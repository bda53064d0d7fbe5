"""Proof of a plan by the bundle's golden captures, before it answers anything.

A plan can be right for one capture and wrong in a batch, since TensorRT picks kernels by shape, and
right when enqueued and wrong as a CUDA graph, which replays addresses. So it is run both ways, in
batches, with each golden capture in every row between rows of something else. Where the device
makes the tensors of captures, they must be the host's to the bit, and are run that way too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.engine import EngineOutputs
from fasdk.backends.tensorrt.capture_lane import CaptureTensorRtLane
from fasdk.errors import PlanError
from fasdk.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.backends.tensorrt.lane import TensorRtLane
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture

# Up to here every batch size of a new plan is proved, beyond it powers of two and the largest.
_EVERY_SIZE_TO = 8


def prove(bundle: Bundle, engine: TensorRtEngine, *, is_new: bool) -> None:
    """Replay the golden captures on lanes of `engine`.

    Args:
        bundle: Bundle with the captures, tolerance and operating points.
        engine: The engine; its lanes of the proof are closed again.
        is_new: Whether this plan was never proved on this machine. If it was, only single captures
            and the largest batch are run.

    Raises:
        PlanError: A score drifts by more than the bundle's tolerance or a verdict differs.
        BackendError: The device failed.
    """
    scorer = Scorer(bundle, "standard")  # a replay compares the verdicts of every level
    largest = engine.max_batch or 1
    for graphs in (False, True) if engine.graphs else (False,):
        lane = engine.open_lane(largest, graphs=graphs)
        try:
            if graphs and not lane.uses_graphs:
                continue  # a capture was refused, so no lane replays anything
            for size in batch_sizes(largest) if is_new else sorted({1, largest}):
                _prove_at(scorer, engine, lane, size)
        finally:
            lane.close()


def _prove_at(scorer: Scorer, engine: TensorRtEngine, lane: TensorRtLane, size: int) -> None:
    try:
        scorer.replay_golden(lambda capture: _run_among(lane, size, capture))
        if isinstance(lane, CaptureTensorRtLane):
            taking = lane
            scorer.replay_golden_captures(
                lambda capture: _run_captures_among(scorer, taking, size, capture)
            )
    except PlanError as error:
        way = "as a CUDA graph" if lane.uses_graphs else "enqueued"
        raise PlanError(
            f"the {engine.plan_source.value} plan of {engine.backend.value} {engine.version} does "
            f"not reproduce the bundle and is not used (batch of {size}, {way}): {error}"
        ) from error


def batch_sizes(largest: int) -> list[int]:
    """Return the batch sizes a new plan is proved at."""
    sizes = set(range(1, min(largest, _EVERY_SIZE_TO) + 1)) | {largest}
    power = 2 * _EVERY_SIZE_TO
    while power < largest:
        sizes.add(power)
        power *= 2
    return sorted(sizes)


def _run_among(
    lane: TensorRtLane, size: int, capture: Mapping[str, NDArray[np.float32]]
) -> EngineOutputs:
    """Run one capture in each row of a batch of `size` and return every row's outputs.

    Args:
        lane: Lane to run the batch on.
        size: Captures in the batch.
        capture: float32 [1, ...] by input name.
    """
    answers = []
    for first in range(min(size, 2)):
        for name, row in capture.items():
            rows = lane.inputs[name][:size]
            rows[...] = row[..., ::-1]
            rows[first::2] = row
        outputs = lane.run(size)
        answers.append(outputs.rows(first, 2))
    return _joined(answers)


def _run_captures_among(
    scorer: Scorer, lane: CaptureTensorRtLane, size: int, capture: Capture
) -> EngineOutputs:
    """Run one capture in each row of a batch of `size`, preprocessed by the device.

    Raises:
        PlanError: A tensor the device makes differs from the host's.
    """
    turned: dict[str, Any] = {
        m.value: np.ascontiguousarray(capture.frame(m)[::-1]) for m in capture.present
    }
    other = replace(capture, **turned)
    expected = scorer.batch([capture])
    answers = []
    for first in range(min(size, 2)):
        chosen = [capture if row % 2 == first else other for row in range(size)]
        for row, each in enumerate(chosen):
            lane.put(each, row)
        for name, tensors in lane.tensors(size).items():
            wanted = expected[name].tobytes()
            if not all(row.tobytes() == wanted for row in tensors[first::2]):
                raise PlanError(
                    f"the device preprocesses {name} otherwise than the host: open with "
                    "preprocess='host'"
                )
        for row, each in enumerate(chosen):
            lane.put(each, row)
        answers.append(lane.run_captures(size).rows(first, 2))
    return _joined(answers)


def _joined(answers: list[EngineOutputs]) -> EngineOutputs:
    reliabilities = [a.reliability for a in answers if a.reliability is not None]
    certainties = [a.certainty for a in answers if a.certainty is not None]
    return EngineOutputs(
        np.concatenate([a.logits for a in answers]),
        np.concatenate(reliabilities) if reliabilities else None,
        certainty=np.concatenate(certainties) if certainties else None,
    )
