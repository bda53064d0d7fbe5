"""What must hold on the simulated driver, as one function a rule; run in a process of its own.

    python scenarios.py SCENARIO... [--plant NAME]
    python scenarios.py all

Exits 0 if every scenario holds, 1 with the reason if one does not. Nothing of fasdk is imported
before a plant is in its place.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[2]
sys.path[:0] = [str(TESTS / "sdk"), str(TESTS / "cuda_sim")]

from plants import PLANTS, plant  # noqa: E402
from simulated_cuda import CudaResult, Simulator, load  # noqa: E402
from tensorrt_standin import Behaviour, Refusal, stand_in  # noqa: E402

if TYPE_CHECKING:
    from fasdk.backends.cuda import PyCudaDriver
    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.backends.tensorrt.lane import TensorRtLane

WAIT_S = 60.0
DEADLOCK_S = 90.0
HOLD_US = 600_000_000
LARGEST = 4


class Stage:
    """The tiny bundle's engine on the simulated driver, and what its graph says elsewhere.

    Attributes:
        simulator: The driver's faults and report.
        behaviour: What the stand-in TensorRT gets wrong.
    """

    def __init__(self, simulator: Simulator, behaviour: Behaviour) -> None:
        from tiny_bundle import graph_bytes

        from fasdk.backends.cuda import PyCudaDriver
        from fasdk.backends.onnxruntime import OnnxRuntimeEngine

        self.simulator = simulator
        self.behaviour = behaviour
        self.graph = graph_bytes()
        self.reference = OnnxRuntimeEngine(self.graph, threads=1)
        self.driver: PyCudaDriver = PyCudaDriver()

    def open(self, driver: PyCudaDriver | None = None, *, graphs: bool = True) -> TensorRtEngine:
        """Return an engine, unproved, so that a scenario alone decides what is run."""
        import tiny_bundle

        from fasdk.backends import Backend
        from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
        from fasdk.backends.tensorrt.layout import TensorLayout
        from fasdk.backends.tensorrt.plan import build_plan

        layout = TensorLayout.of(tiny_bundle.manifest())
        driver = driver or self.driver
        with driver.current():
            plan = build_plan(self.graph, Backend.TENSORRT, shapes=layout.inputs, max_batch=LARGEST)
        return TensorRtEngine(
            plan.data,
            Backend.TENSORRT,
            layout=layout,
            driver=driver,
            plan_source=PlanSource.BUILT,
            graphs=graphs,
        )

    def inputs(self, size: int, seed: int) -> dict[str, np.ndarray]:
        from tiny_bundle import ALL, SIZE

        rng = np.random.default_rng(seed)
        return {m.value: rng.random((size, 3, SIZE, SIZE), np.float32) for m in ALL}

    def right(self, size: int, seed: int) -> np.ndarray:
        return self.reference.run(self.inputs(size, seed)).logits

    def run(self, lane: TensorRtLane, size: int, seed: int) -> np.ndarray:
        for name, rows in self.inputs(size, seed).items():
            lane.inputs[name][:size] = rows
        return lane.run(size).logits

    def require(self, lane: TensorRtLane, size: int, seed: int) -> None:
        np.testing.assert_array_equal(self.run(lane, size, seed), self.right(size, seed))

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Let TensorRT take no work while the block runs."""
        self.behaviour.refuses.add(Refusal.EXECUTE)
        try:
            yield
        finally:
            self.behaviour.refuses.clear()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop the device while the block runs."""
        self.simulator.hang()
        try:
            yield
        finally:
            self.simulator.hang(hangs=False)

    def require_nothing_live(self) -> None:
        gc.collect()
        live = self.simulator.report().live
        assert live.objects == 0, f"left behind: {live}"


@contextmanager
def fault_expected() -> Iterator[None]:
    """Hold the block to raising BackendError."""
    from fasdk.errors import BackendError

    try:
        yield
    except BackendError:
        return
    raise AssertionError("a fault passed for an answer")


def on_a_thread(work: Callable[[], Any]) -> Future[Any]:
    """Run on a new thread, which has no context."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def context_from(name: str, *arguments: int) -> int:
    """Return the context that a call of the driver gives, 0 for none."""
    context = ctypes.c_void_p()
    assert getattr(load().library, name)(ctypes.byref(context), *arguments) == 0
    return context.value or 0


def current_context() -> int:
    """Return this thread's current context, 0 where there is none."""
    return context_from("cuCtxGetCurrent")


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
        stage.behaviour.writes = False
        assert np.isnan(stage.run(lane, 2, 2)).all()
        stage.behaviour.writes = True
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


def watched() -> Any:
    """Return a driver that tells when a lane begins to wait for the device."""
    from fasdk.backends.cuda import PyCudaDriver

    class Watched(PyCudaDriver):
        def __init__(self) -> None:
            super().__init__()
            self.waits = threading.Event()

        def event(self) -> Any:
            inner, waits = super().event(), self.waits

            class Event:
                record = staticmethod(inner.record)
                free = staticmethod(inner.free)

                @staticmethod
                def synchronize() -> None:
                    waits.set()
                    inner.synchronize()

            return Event()

    return Watched()


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
    from fasdk.backends.tensorrt.patience import Patience

    driver = watched()
    engine = stage.open(driver)
    lane = engine.open_lane(2)
    driver.waits.clear()
    Patience.CLOSE_S, before = 0.5, Patience.CLOSE_S
    try:
        with stage.hanging():
            answer = on_a_thread(lambda: stage.run(lane, 2, 7))
            assert driver.waits.wait(WAIT_S)
            on_a_thread(engine.close).result(8.0)
            with fault_expected():
                engine.open_lane(1)
            assert stage.simulator.report().live.device > 0
    finally:
        Patience.CLOSE_S = before
    np.testing.assert_array_equal(answer.result(WAIT_S), stage.right(2, 7))
    with fault_expected():
        lane.run(1)
    engine.close()
    stage.require_nothing_live()


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


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition, at most so long."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


SCENARIOS: dict[str, Callable[[Stage], None]] = {
    scenario.__name__: scenario
    for scenario in (
        answers,
        plain_answers,
        primary_context,
        kept_answers,
        nothing_written,
        nothing_copied,
        failed_call,
        refused_execution,
        refused_launch,
        recorded,
        legacy_stream,
        allocate_while_capturing,
        garbage_while_capturing,
        refused_capture,
        lost_while_recording,
        lost_device,
        dead_context,
        plain_dead_context,
        lanes,
        shared_run,
        close_during_a_call,
        close_on_a_hanging_device,
        two_captures,
        close_after_a_fault,
        close_while_opening,
        nothing_left,
        view_after_close,
    )
}


def run(name: str, simulator: Simulator) -> str | None:
    """Run one scenario and return why it does not hold, or None."""
    behaviour = Behaviour()
    sys.modules["tensorrt"] = stand_in(simulator, behaviour)
    simulator.reset(seed=zlib.crc32(name.encode()))
    # What nobody waits for does not happen, however busy this machine is.
    simulator.set_hold(HOLD_US)
    try:
        SCENARIOS[name](Stage(simulator, behaviour))
    except Exception as error:  # noqa: BLE001 - whatever it is, the scenario does not hold
        return f"{type(error).__name__}: {str(error).strip()}"
    violations = simulator.report().violations
    return "; ".join(f"{v.kind.value}: {v.text}" for v in violations) or None


def main() -> None:
    """Run the scenarios asked for, with a plant if one is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--plant", choices=[bug.name for bug in PLANTS])
    asked = parser.parse_args()
    # A plant may end in a deadlock, which is as good as a failure and must be told from one here.
    faulthandler.dump_traceback_later(DEADLOCK_S, exit=True)
    simulator = load()
    for bug in PLANTS:
        if bug.name == asked.plant:
            plant(bug)
    for name in SCENARIOS if "all" in asked.scenarios else asked.scenarios:
        fault = run(name, simulator)
        print(f"{name}: {fault or 'holds'}", flush=True)
        if fault is not None:
            # Not sys.exit: threads and device memory of a broken runtime are not worth tidying.
            sys.stdout.flush()
            os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
