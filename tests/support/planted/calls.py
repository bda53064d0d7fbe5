"""Scenarios of calls: separate answers, and faults reported as errors."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from support.cuda_sim.simulated_cuda import CudaResult
from support.planted.stage import (
    LARGEST,
    WAIT_S,
    Stage,
    context_from,
    current_context,
    fault_expected,
    on_a_thread,
)

SIZES = [1, 4, 2, 2, 3, 1, 4]


def _answers(stage: Stage, *, graphs: bool) -> None:
    lane = stage.open(graphs=graphs).open_lane(LARGEST)

    def work() -> None:
        assert current_context() == 0
        for seed, size in enumerate(SIZES):
            stage.require(lane, size, seed)
        assert current_context() == 0, "the thread's context was left behind"

    on_a_thread(work).result(WAIT_S)


def answers(stage: Stage) -> None:
    """Each call of any batch size gets its own answer, on any thread, from replayed graphs."""
    _answers(stage, graphs=True)


def plain_answers(stage: Stage) -> None:
    """The same without graphs."""
    _answers(stage, graphs=False)


def primary_context(stage: Stage) -> None:
    """Work is done in the context that every other CUDA library of the process uses."""
    primary = context_from("cuDevicePrimaryCtxRetain", 0)
    with stage.driver.current():
        assert current_context() == primary


def kept_answers(stage: Stage) -> None:
    """An answer is not changed by the next call."""
    lane = stage.open().open_lane(2)
    first = stage.run(lane, 2, 1)
    stage.run(lane, 2, 2)
    np.testing.assert_array_equal(first, stage.right(2, 1))


def nothing_written(stage: Stage) -> None:
    """An execution that writes nothing leaves NaN, not the last answer."""
    for graphs in (True, False):
        lane = stage.open(graphs=graphs).open_lane(2)
        stage.require(lane, 2, 1)
        stage.behavior.writes = False
        assert np.isnan(stage.run(lane, 2, 2)).all()
        stage.behavior.writes = True
        stage.require(lane, 2, 3)


def nothing_copied(stage: Stage) -> None:
    """Outputs that never arrive are NaN, not the last answer."""
    from fasdk.backends.cuda import PyCudaDriver

    class Deaf(PyCudaDriver):
        is_deaf = False

        def copy_to_host(self, *arguments: Any) -> None:
            if not self.is_deaf:
                super().copy_to_host(*arguments)

    driver = Deaf()
    lane = stage.open(driver, graphs=False).open_lane(2)
    stage.require(lane, 2, 1)
    driver.is_deaf = True
    assert np.isnan(stage.run(lane, 2, 2)).all()


def failed_call(stage: Stage) -> None:
    """After a failed call nothing of it is under way, and the lane works on."""
    for graphs in (True, False):
        lane = stage.open(graphs=graphs).open_lane(2)
        stage.simulator.fail_call("cuEventRecord", CudaResult.LAUNCH_FAILED)
        with fault_expected():
            stage.run(lane, 2, 1)
        with stage.driver.current():
            queue: Any = lane._queue
            assert queue.stream.native.is_done(), "work of a failed call is under way"
        stage.require(lane, 2, 2)


def refused_execution(stage: Stage) -> None:
    """Work that TensorRT does not take is a fault."""
    lane = stage.open(graphs=False).open_lane(2)
    with stage.refusing(), fault_expected():
        stage.run(lane, 2, 1)
    stage.require(lane, 2, 2)


def refused_launch(stage: Stage) -> None:
    """A graph that the driver does not launch is a fault."""
    lane = stage.open().open_lane(2)
    stage.simulator.fail_call("cuGraphLaunch", CudaResult.LAUNCH_FAILED)
    with fault_expected():
        stage.run(lane, 2, 1)
    stage.require(lane, 2, 2)


def lost_device(stage: Stage) -> None:
    """A device lost for good is a fault in every call, and in none an answer or a crash."""
    engine = stage.open()
    lane = engine.open_lane(2)
    stage.require(lane, 2, 1)
    stage.simulator.lose_device(CudaResult.DEVICE_UNAVAILABLE)
    for seed in range(3):
        with fault_expected():
            stage.run(lane, 2, seed)
        with fault_expected():
            engine.run(stage.inputs(1, seed))
    lane.close()
    engine.close()


def _dead_context(stage: Stage, *, graphs: bool) -> None:
    engine = stage.open(graphs=graphs)
    lane = engine.open_lane(2)
    stage.require(lane, 2, 1)
    stage.simulator.fail_operation(CudaResult.ILLEGAL_ADDRESS, nth=3)
    for seed in range(3):
        with fault_expected():
            stage.run(lane, 2, seed)
    engine.close()


def dead_context(stage: Stage) -> None:
    """A replay that kills the context is a fault, and so is every later call."""
    _dead_context(stage, graphs=True)


def plain_dead_context(stage: Stage) -> None:
    """The same without graphs."""
    _dead_context(stage, graphs=False)


def lanes(stage: Stage) -> None:
    """Four lanes on four threads keep their answers apart."""
    engine = stage.open()
    opened = [engine.open_lane(LARGEST) for _ in range(4)]
    start = threading.Barrier(4)

    def work(index: int) -> None:
        start.wait(WAIT_S)
        for seed in range(12):
            stage.require(opened[index], 1 + seed % LARGEST, 100 * index + seed)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def shared_run(stage: Stage) -> None:
    """Calls of one engine from four threads keep their answers apart."""
    engine = stage.open()
    start = threading.Barrier(4)

    def work(index: int) -> None:
        start.wait(WAIT_S)
        for seed in range(12):
            size, seed_here = 1 + seed % LARGEST, 100 * index + seed
            found = engine.run(stage.inputs(size, seed_here)).logits
            np.testing.assert_array_equal(found, stage.right(size, seed_here))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


SCENARIOS = (
    answers,
    plain_answers,
    primary_context,
    kept_answers,
    nothing_written,
    nothing_copied,
    failed_call,
    refused_execution,
    refused_launch,
    lost_device,
    dead_context,
    plain_dead_context,
    lanes,
    shared_run,
)
