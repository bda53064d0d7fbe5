"""Scenarios of closing: no memory freed in use, none leaked, no endless wait."""

from __future__ import annotations

import threading

import numpy as np

from support.cuda_sim.simulated_cuda import CudaResult
from support.planted.stage import WAIT_S, Stage, fault_expected, on_a_thread, until, watched


def close_during_a_call(stage: Stage) -> None:
    """Closing waits for the call under way, which gets its answer."""
    driver = watched()
    lane = stage.open(driver).open_lane(2)
    driver.waits.clear()
    with stage.hanging():
        answer = on_a_thread(lambda: stage.run(lane, 2, 7))
        assert driver.waits.wait(WAIT_S)
        closing = threading.Event()
        closed = on_a_thread(lambda: (closing.set(), lane.close()))
        assert closing.wait(WAIT_S)
        until(lambda: not lane.inputs, seconds=1.0)  # never, unless it closes under the call
    np.testing.assert_array_equal(answer.result(WAIT_S), stage.right(2, 7))
    closed.result(WAIT_S)


def close_on_a_hanging_device(stage: Stage) -> None:
    """A device that hangs holds nobody who closes up for ever, and frees nothing under its work."""
    from fasdk.backends.tensorrt.close_timeout import CloseTimeout

    driver = watched()
    engine = stage.open(driver)
    lane = engine.open_lane(2)
    driver.waits.clear()
    CloseTimeout.CLOSE_S, before = 0.5, CloseTimeout.CLOSE_S
    try:
        with stage.hanging():
            answer = on_a_thread(lambda: stage.run(lane, 2, 7))
            assert driver.waits.wait(WAIT_S)
            on_a_thread(engine.close).result(8.0)
            with fault_expected():
                engine.open_lane(1)
            assert stage.simulator.report().live.device > 0
    finally:
        CloseTimeout.CLOSE_S = before
    np.testing.assert_array_equal(answer.result(WAIT_S), stage.right(2, 7))
    with fault_expected():
        lane.run(1)
    engine.close()
    stage.require_nothing_live()


def close_after_a_fault(stage: Stage) -> None:
    """Memory is not freed under work that a failed call left behind."""
    lane = stage.open().open_lane(2)
    stage.simulator.fail_call("cuEventRecord", CudaResult.LAUNCH_FAILED)
    stage.simulator.fail_call("cuStreamSynchronize", CudaResult.LAUNCH_FAILED)
    with fault_expected():
        stage.run(lane, 2, 1)
    lane.close()


def close_while_opening(stage: Stage) -> None:
    """An engine closed while a lane opens leaves nothing behind."""
    driver = watched()
    engine = stage.open(driver)
    with stage.hanging():
        opened = on_a_thread(lambda: engine.open_lane(2))
        assert driver.waits.wait(WAIT_S)
        closing = threading.Event()
        closed = on_a_thread(lambda: (closing.set(), engine.close()))
        assert closing.wait(WAIT_S)
        until(closed.done, seconds=1.0)  # never, unless it does not wait for the lane
    lane = opened.result(WAIT_S)
    closed.result(WAIT_S)
    assert lane.inputs == {}, "a lane is open on a closed engine"
    stage.require_nothing_live()


def nothing_left(stage: Stage) -> None:
    """Closing gives back every buffer, stream, event and graph."""
    engine = stage.open()
    lanes = [engine.open_lane(size) for size in (1, 2, 4)]
    for lane in lanes:
        stage.require(lane, 1, 1)
    lanes[0].close()
    engine.run(stage.inputs(3, 3))
    engine.close()
    stage.require_nothing_live()


def view_after_close(stage: Stage) -> None:
    """Page-locked memory lives as long as someone looks at it."""
    engine = stage.open(graphs=False)
    lane = engine.open_lane(2)
    view = lane.inputs["rgb"][1:]
    engine.close()
    assert stage.simulator.report().live.pinned == 1
    view.fill(1.0)
    with stage.driver.current():
        del view
    stage.require_nothing_live()


SCENARIOS = (
    close_during_a_call,
    close_on_a_hanging_device,
    close_after_a_fault,
    close_while_opening,
    nothing_left,
    view_after_close,
)
