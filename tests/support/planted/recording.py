"""Scenarios of stream capture: other threads, garbage collection and faults."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from support.cuda_sim.simulated_cuda import CudaResult
from support.planted.stage import LARGEST, WAIT_S, Stage, fault_expected, on_a_thread

if TYPE_CHECKING:
    from fasdk.backends.tensorrt.lane import TensorRtLane


def recorded(stage: Stage) -> None:
    """Every batch size is recorded."""
    lane = stage.open().open_lane(LARGEST)
    assert lane.uses_graphs
    for size in range(1, LARGEST + 1):
        stage.require(lane, size, size)


def _opened_while(
    stage: Stage, disturb: Callable[[], None], *, on_another_thread: bool = True
) -> TensorRtLane:
    """Open a lane and let something happen while its graphs are recorded."""
    from fasdk.backends.cuda import PyCudaDriver

    class Disturbed(PyCudaDriver):
        def capture(self, stream: Any, work: Callable[[], None]) -> Any:
            def disturbed() -> None:
                work()
                if on_another_thread:
                    on_a_thread(disturb).result(WAIT_S)
                else:
                    disturb()

            return super().capture(stream, disturbed)

    return stage.open(Disturbed()).open_lane(2)


def legacy_stream(stage: Stage) -> None:
    """Another library's work on the default stream spoils no capture."""
    import pycuda.driver

    def disturb() -> None:
        with stage.driver.current():
            pycuda.driver.memcpy_htod(int(memory.address), np.zeros(4, np.float32))

    with stage.driver.current():
        memory = stage.driver.device_buffer(16)
    lane = _opened_while(stage, disturb)
    assert lane.uses_graphs
    stage.require(lane, 2, 1)


def allocate_while_capturing(stage: Stage) -> None:
    """Another thread may allocate while a graph is recorded."""

    def disturb() -> None:
        with stage.driver.current():
            stage.driver.device_buffer(16).free()

    lane = _opened_while(stage, disturb)
    assert lane.uses_graphs
    stage.require(lane, 2, 1)


def garbage_while_capturing(stage: Stage) -> None:
    """Device memory that became garbage is not freed in the middle of a capture."""

    import pycuda.driver

    def disturb() -> None:
        litter: list[Any] = [others.pop()]
        litter.append(litter)
        del litter
        _ = [[] for _ in range(10_000)]  # so many that a collection is due

    with stage.driver.current():
        others = [pycuda.driver.mem_alloc(16) for _ in range(2)]  # another library's
    lane = _opened_while(stage, disturb, on_another_thread=False)
    assert lane.uses_graphs
    stage.require(lane, 2, 1)


def refused_capture(stage: Stage) -> None:
    """A refused capture leaves the stream fit to enqueue on."""
    from fasdk.backends.cuda import PyCudaDriver

    class Refused(PyCudaDriver):
        def capture(self, stream: Any, work: Callable[[], None]) -> Any:
            with stage.refusing():
                return super().capture(stream, work)

    lane = stage.open(Refused()).open_lane(2)
    assert not lane.uses_graphs
    stage.require(lane, 2, 1)


def two_captures(stage: Stage) -> None:
    """One capture's end does not let garbage be collected in the middle of another."""
    import pycuda.driver

    from fasdk.backends.cuda import PyCudaDriver

    first_began, second_began, first_ended = (threading.Event() for _ in range(3))

    def litter() -> None:
        pile: list[Any] = [others.pop()]
        pile.append(pile)
        del pile
        _ = [[] for _ in range(10_000)]

    class First(PyCudaDriver):
        def capture(self, stream: Any, work: Callable[[], None]) -> Any:
            def slowly() -> None:
                work()
                first_began.set()
                second_began.wait(1.0)  # in vain, unless two may capture at once

            try:
                return super().capture(stream, slowly)
            finally:
                first_ended.set()

    class Second(PyCudaDriver):
        def capture(self, stream: Any, work: Callable[[], None]) -> Any:
            def littering() -> None:
                second_began.set()
                assert first_ended.wait(WAIT_S)
                litter()
                work()

            assert first_began.wait(WAIT_S)
            return super().capture(stream, littering)

    with stage.driver.current():
        others = [pycuda.driver.mem_alloc(16)]  # another library's
    engines = stage.open(First()), stage.open(Second())
    opened = [on_a_thread(lambda e=engine: e.open_lane(1)) for engine in engines]
    assert all(future.result(WAIT_S).uses_graphs for future in opened)


def lost_while_recording(stage: Stage) -> None:
    """A device that faults during a capture is no mere refusal."""
    from fasdk.backends.cuda import PyCudaDriver
    from fasdk.errors import BackendError

    class Faulting(PyCudaDriver):
        def capture(self, stream: Any, work: Callable[[], None]) -> Any:
            stage.simulator.fail_operation(CudaResult.LAUNCH_FAILED)
            work()  # enqueued, and so found out only by who waits for it
            raise BackendError(f"a capture on {stream.handle} was refused")

    engine = stage.open(Faulting())
    with fault_expected():
        engine.open_lane(2)


SCENARIOS = (
    recorded,
    legacy_stream,
    allocate_while_capturing,
    garbage_while_capturing,
    two_captures,
    refused_capture,
    lost_while_recording,
)
