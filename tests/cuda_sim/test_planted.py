"""Programs with one synchronization missing, each reported whatever the seed."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref, c_uint64, c_void_p

import numpy as np
import pytest

from support.cuda_sim.simulated_cuda import KERNEL, CudaResult, ViolationKind
from support.kernel_driver import Access

pytestmark = pytest.mark.cuda_sim

SIZE = 64


class Lane:
    """Squares numbers: copies in, a kernel and copies out, recorded once and replayed."""

    def __init__(self, simulator, cuda, device=None):
        self.simulator, self.cuda = simulator, cuda
        self.stream, self.done = cuda.Stream(1), cuda.Event()
        self.source = cuda.pagelocked_empty(SIZE, np.float32)
        self.target = cuda.pagelocked_empty(SIZE, np.float32)
        self.device = device or (cuda.mem_alloc(4 * SIZE), cuda.mem_alloc(4 * SIZE))
        self.source.fill(0)
        self.graph = self.record()

    def enqueue(self):
        given, found = (int(memory) for memory in self.device)
        inputs = self.simulator.device_array(given, [SIZE])
        outputs = self.simulator.device_array(found, [SIZE])

        def square(_):
            np.multiply(inputs, inputs, out=outputs)
            return CudaResult.SUCCESS

        self.kernel = KERNEL(square)
        self.cuda.memcpy_htod_async(given, self.source, self.stream)
        accesses = [Access(given, 4 * SIZE, writes=False), Access(found, 4 * SIZE, writes=True)]
        handle = self.stream.handle
        assert self.simulator.launch_kernel(handle, "square", self.kernel, 1, accesses) == 0
        self.cuda.memcpy_dtoh_async(self.target, found, self.stream)

    def record(self):
        library, handle = self.simulator.library, c_void_p(self.stream.handle)
        graph, executable = c_void_p(), c_void_p()
        assert library.cuStreamBeginCapture_v2(handle, 1) == 0
        self.enqueue()
        assert library.cuStreamEndCapture(handle, byref(graph)) == 0
        assert library.cuGraphInstantiateWithFlags(byref(executable), graph, c_uint64(0)) == 0
        assert library.cuGraphDestroy(graph) == 0
        return executable

    def launch(self):
        handle = c_void_p(self.stream.handle)
        assert self.simulator.library.cuGraphLaunch(self.graph, handle) == 0

    def wait(self):
        self.done.record(self.stream)
        self.done.synchronize()

    def run(self, value):
        self.source.fill(value)
        self.launch()
        self.wait()
        return self.target.copy()

    def close(self):
        self.stream.synchronize()
        assert self.simulator.library.cuGraphExecDestroy(self.graph) == 0
        for memory in self.device:
            memory.free()
        for array in (self.source, self.target):
            array.base.free()
        del self.stream, self.done
        gc.collect()


class ReadsTooSoon(Lane):
    def wait(self):
        pass


class WaitsForTooLittle(Lane):
    def launch(self):
        self.done.record(self.stream)
        super().launch()

    def wait(self):
        self.done.synchronize()


class WaitsForAnotherStream(Lane):
    def wait(self):
        other = self.cuda.Stream(1)
        self.done.record(other)
        self.done.synchronize()


class RefillsTooSoon(Lane):
    def run(self, value):
        self.source.fill(value)
        self.launch()
        self.source.fill(value + 1)
        self.wait()
        return self.target.copy()


class FreesTooSoon(Lane):
    def close(self):
        self.launch()
        self.device[0].free()
        self.stream.synchronize()


class FreesItsSourceTooSoon(Lane):
    def close(self):
        self.launch()
        self.source.base.free()
        self.stream.synchronize()


class FreesItsTargetTooSoon(Lane):
    def close(self):
        self.launch()
        self.target.base.free()
        self.stream.synchronize()


class DropsItsGraphTooSoon(Lane):
    def close(self):
        self.launch()
        assert self.simulator.library.cuGraphExecDestroy(self.graph) == 0
        self.stream.synchronize()


class DropsItsStreamTooSoon(Lane):
    def close(self):
        self.launch()
        del self.stream
        gc.collect()
        self.cuda.Context.synchronize()  # which waits for its work all the same


def set_pace(simulator, pace, seed=0):
    simulator.reset(seed)
    if pace == "free":
        simulator.run_freely()
    else:
        simulator.set_hold(60_000_000)  # nothing runs but what is waited for


@pytest.mark.parametrize("pace", ["late", "free"])
def test_nothing_is_found_where_nothing_is_planted(simulator, cuda, pace):
    set_pace(simulator, pace)
    lane = Lane(simulator, cuda)
    for value in range(20):
        assert (lane.run(value) == value * value).all()
    lane.close()
    report = simulator.report()
    assert (report.violations, report.live.objects) == ((), 0)


@pytest.mark.parametrize("bug", [ReadsTooSoon, WaitsForTooLittle, WaitsForAnotherStream])
@pytest.mark.parametrize("seed", range(3))
def test_a_result_that_was_not_waited_for_is_nan(simulator, cuda, bug, seed):
    set_pace(simulator, "late", seed)
    lane = bug(simulator, cuda)
    for value in range(5):
        assert np.isnan(lane.run(value)).all()
        lane.stream.synchronize()


@pytest.mark.parametrize(
    ("bug", "kind"),
    [
        (FreesTooSoon, ViolationKind.FREE_IN_USE),
        (FreesItsSourceTooSoon, ViolationKind.FREE_IN_USE),
        (FreesItsTargetTooSoon, ViolationKind.FREE_IN_USE),
        (DropsItsGraphTooSoon, ViolationKind.GRAPH_IN_USE),
        (DropsItsStreamTooSoon, ViolationKind.STREAM_IN_USE),
    ],
)
@pytest.mark.parametrize("pace", ["late", "free"])
def test_memory_freed_too_soon_is_reported(simulator, cuda, bug, kind, pace):
    set_pace(simulator, pace)
    bug(simulator, cuda).close()
    assert simulator.report().kinds == {kind}


def test_a_source_that_is_refilled_too_soon_is_reported(simulator, cuda):
    RefillsTooSoon(simulator, cuda).run(3)
    assert simulator.report().kinds == {ViolationKind.SOURCE_CHANGED}


@pytest.mark.parametrize("pace", ["late", "free"])
def test_lanes_that_share_a_buffer_are_a_race(simulator, cuda, pace):
    set_pace(simulator, pace)
    first = Lane(simulator, cuda)
    second = Lane(simulator, cuda, first.device)
    first.launch()
    second.launch()
    first.wait()
    second.wait()
    assert simulator.report().kinds == {ViolationKind.RACE}


@pytest.mark.parametrize("seed", range(4))
def test_four_lanes_on_four_threads_give_what_one_gives(simulator, cuda, seed):
    simulator.reset(seed)
    simulator.set_delay(0, 50)
    context = cuda.Device(0).retain_primary_context()
    lanes = [Lane(simulator, cuda) for _ in range(4)]
    numbers = iter(range(400))
    turn = threading.Lock()

    def work(lane):
        context.push()
        try:
            while True:
                with turn:
                    number = next(numbers, None)
                if number is None:
                    return
                assert (lane.run(number) == np.float32(number) ** 2).all()
        finally:
            cuda.Context.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, lanes))
    for lane in lanes:
        lane.close()
    report = simulator.report()
    assert (report.violations, report.live.objects) == ((), 0)
    assert report.executed["square"] == 400
