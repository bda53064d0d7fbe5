"""Calls of a session on its engine, past the lanes, and what a fault of the engine becomes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import BackendError, FasdkError, PlanError
from fasdk.telemetry import Stage, StageClock, split_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.backends.engine import EngineOutputs
    from fasdk.batching.loaded_bundle import LoadedBundle
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.decision import Decision


@dataclass(frozen=True)
class EngineCalls:
    """Calls on the engine of a loaded bundle, one at a time.

    Attributes:
        loaded: Loaded bundle, kept open by the caller meanwhile.
        require_open: Function that raises ClosedError once the session is closed.
    """

    loaded: LoadedBundle
    require_open: Callable[[], None]

    def score(self, captures: list[Capture], clock: StageClock) -> list[Decision]:
        """Score captures in one call, and refuse alone each that cannot be scored.

        Args:
            captures: Captures to score.
            clock: Receiver of the times of the stages.

        Returns:
            One decision per capture, in order.

        Raises:
            BackendError: The engine takes no batch as large, or failed, or the session is closed.
        """
        scorer = self.loaded.scorer
        with clock.stage(Stage.GATES):
            refusals = {i: scorer.refuse(capture) for i, capture in enumerate(captures)}
        answers = {i: refusal for i, refusal in refusals.items() if refusal is not None}
        fit = [index for index in range(len(captures)) if index not in answers]
        if fit:
            with clock.stage(Stage.PREPROCESS):
                batch = scorer.batch([captures[i] for i in fit])
            outputs = self.run(batch, clock)
            with clock.stage(Stage.DECISION):
                for row, index in enumerate(fit):
                    answers[index] = scorer.score(captures[index], outputs, row)
        return [answers[index] for index in range(len(captures))]

    def run(self, batch: Mapping[str, NDArray[np.float32]], clock: StageClock) -> EngineOutputs:
        """Run a batch and return its outputs, checked against the manifest.

        Args:
            batch: Input name to float32 [rows, ...].
            clock: Receiver of the times of the call.

        Raises:
            BackendError: The engine takes no batch as large, or failed, or the session is closed.
        """
        size = min(len(rows) for rows in batch.values())
        limit = self.loaded.engine.max_batch
        if limit is not None and size > limit:
            raise BackendError(
                f"{size} captures in one call, this engine takes {limit}: split them"
            )
        # Waiting for the lock is not engine time, so it counts as OTHER.
        with self.loaded.turn:
            self.require_open()
            started_ns = time.perf_counter_ns()
            device = None
            try:
                outputs = self.loaded.engine.run(batch)
                device = outputs.device
            finally:
                clock.add_all(split_call(started_ns, time.perf_counter_ns(), device))
        return self.loaded.scorer.require_outputs(outputs, size)


@contextmanager
def faults_as_plan_errors(bundle: Bundle) -> Iterator[None]:
    """Raise what an engine should never raise as a PlanError; in a thread of the session's own.

    There, SystemExit and the like come from the engine as well.
    """
    try:
        yield
    except FasdkError:
        raise
    except BaseException as error:
        raise PlanError(
            f"{bundle.path}: its engine does not answer as an engine must: {unexpected(error)}"
        ) from error


def unexpected(error: BaseException) -> str:
    """Return the words of an error message for an exception that is no FasdkError."""
    return f"unexpected {type(error).__name__}: {error}"
