"""Stream capture: recording, replay, and the driver's own error codes."""

from __future__ import annotations

import threading
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from support.cuda_sim.simulated_cuda import CudaResult, ViolationKind

pytestmark = pytest.mark.cuda_sim

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
ACTIVE, INVALIDATED = 1, 2


class Driver:
    """The driver's calls, which return their CudaResult."""

    def __init__(self, library):
        self.library = library

    def begin(self, stream, mode=THREAD_LOCAL):
        return CudaResult(self.library.cuStreamBeginCapture_v2(c_void_p(stream.handle), mode))

    def end(self, stream):
        graph = c_void_p(1)
        result = self.library.cuStreamEndCapture(c_void_p(stream.handle), byref(graph))
        assert (result == CudaResult.SUCCESS) == bool(graph.value)
        return CudaResult(result), graph

    def instantiate(self, graph):
        executable = c_void_p()
        assert self.library.cuGraphInstantiateWithFlags(byref(executable), graph, c_uint64(0)) == 0
        return executable

    def launch(self, executable, stream):
        return CudaResult(self.library.cuGraphLaunch(executable, c_void_p(stream.handle)))

    def status(self, stream):
        status = c_int()
        handle = c_void_p(stream.handle)
        assert self.library.cuStreamIsCapturing(handle, byref(status)) == 0
        return status.value

    def size(self, graph):
        count = c_size_t()
        assert self.library.cuGraphGetNodes(graph, None, byref(count)) == 0
        return count.value


@pytest.fixture
def driver(simulator):
    return Driver(simulator.library)


@pytest.fixture
def pair(cuda):
    host = cuda.pagelocked_empty(4, np.float32)
    host[:] = 1
    return cuda.mem_alloc(host.nbytes), host


@pytest.fixture
def round_trip(cuda, driver, stream, pair):
    """An executable graph: host memory in, and out to the other array."""
    device, host = pair
    found = cuda.pagelocked_empty(4, np.float32)
    assert driver.begin(stream) == CudaResult.SUCCESS
    cuda.memcpy_htod_async(device, host, stream)
    cuda.memcpy_dtoh_async(found, device, stream)
    result, graph = driver.end(stream)
    assert result == CudaResult.SUCCESS
    assert driver.size(graph) == 2
    return driver.instantiate(graph), found


def test_capturing_runs_nothing(simulator, round_trip):
    assert np.isnan(round_trip[1]).all()
    assert simulator.report().executed == {}


def test_a_replay_reads_what_is_there_when_it_runs(simulator, driver, stream, pair, round_trip):
    executable, found = round_trip
    for value in (1, 2, 3):
        pair[1][:] = value
        assert driver.launch(executable, stream) == CudaResult.SUCCESS
        assert np.isnan(found).all()
        stream.synchronize()
        assert found.tolist() == [value] * 4
    assert simulator.report().executed["cuGraphLaunch"] == 3
    assert simulator.report().violations == ()


def test_a_source_changed_under_a_replay_is_reported(simulator, driver, stream, pair, round_trip):
    driver.launch(round_trip[0], stream)
    pair[1][:] = 5
    stream.synchronize()
    assert simulator.report().kinds == {ViolationKind.SOURCE_CHANGED}


def test_launches_of_one_graph_on_two_streams_follow_each_other(
    simulator, cuda, driver, stream, round_trip
):
    executable, found = round_trip
    other = cuda.Stream(1)
    driver.launch(executable, stream)
    driver.launch(executable, other)
    other.synchronize()
    assert found.tolist() == [1, 1, 1, 1]
    assert simulator.report().violations == ()


def test_a_graph_destroyed_under_way_is_reported(simulator, driver, stream, round_trip):
    executable, _ = round_trip
    driver.launch(executable, stream)
    assert simulator.library.cuGraphExecDestroy(executable) == CudaResult.SUCCESS
    stream.synchronize()
    assert simulator.report().kinds == {ViolationKind.GRAPH_IN_USE}
    assert driver.launch(executable, stream) == CudaResult.INVALID_VALUE


def test_a_replay_on_freed_memory_is_reported(simulator, driver, stream, pair, round_trip):
    pair[0].free()
    driver.launch(round_trip[0], stream)
    stream.synchronize()
    assert simulator.report().kinds == {ViolationKind.USE_AFTER_FREE}


def test_a_graph_can_be_captured_into_another(cuda, driver, stream, round_trip):
    executable, found = round_trip
    driver.begin(stream)
    assert driver.launch(executable, stream) == CudaResult.SUCCESS
    _, graph = driver.end(stream)
    assert driver.size(graph) == 2
    driver.launch(driver.instantiate(graph), stream)
    stream.synchronize()
    assert found.tolist() == [1, 1, 1, 1]


@dataclass(frozen=True)
class Scene:
    """What a forbidden call may call upon."""

    cuda: Any
    stream: Any
    device: Any
    host: Any


UNSUPPORTED = CudaResult.STREAM_CAPTURE_UNSUPPORTED


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda on: on.stream.synchronize(), UNSUPPORTED),
        (lambda on: on.stream.is_done(), UNSUPPORTED),
        (lambda on: on.cuda.Context.synchronize(), UNSUPPORTED),
        (lambda on: on.cuda.mem_alloc(4), UNSUPPORTED),
        (lambda on: on.cuda.pagelocked_empty(4, np.float32), UNSUPPORTED),
        (lambda on: on.cuda.memcpy_dtoh(np.empty(4, np.float32), on.device), UNSUPPORTED),
        (  # not page-locked
            lambda on: on.cuda.memcpy_htod_async(on.device, np.ones(4, np.float32), on.stream),
            UNSUPPORTED,
        ),
        (
            lambda on: on.cuda.Event().record(on.stream).synchronize(),
            CudaResult.CAPTURED_EVENT,
        ),
        (lambda on: on.cuda.Event().record(on.stream).query(), CudaResult.CAPTURED_EVENT),
    ],
)
def test_call_forbidden_during_capture_fails_and_invalidates_it(
    simulator, cuda, driver, stream, pair, call, code
):
    text = c_char_p()
    assert simulator.library.cuGetErrorString(c_int(code), byref(text)) == 0
    driver.begin(stream)
    with pytest.raises(cuda.Error, match=(text.value or b"").decode()):
        call(Scene(cuda, stream, *pair))
    assert driver.status(stream) == INVALIDATED
    with pytest.raises(cuda.Error, match="previous error during capture"):
        cuda.memcpy_htod_async(*pair, stream)
    assert driver.end(stream)[0] == CudaResult.STREAM_CAPTURE_INVALIDATED
    cuda.memcpy_htod_async(*pair, stream)  # an ordinary stream again
    stream.synchronize()
    assert simulator.report().violations == ()


def test_the_legacy_stream_may_not_wait_for_a_capture(cuda, driver, pair):
    blocking = cuda.Stream()
    driver.begin(blocking, RELAXED)
    with pytest.raises(cuda.Error, match="legacy stream"):
        cuda.memset_d32(pair[0], 0, 4)
    assert driver.end(blocking)[0] == CudaResult.STREAM_CAPTURE_INVALIDATED


@pytest.mark.parametrize(("mode", "allowed"), [(GLOBAL, False), (THREAD_LOCAL, True)])
def test_other_threads_may_allocate_unless_the_capture_is_global(
    cuda, driver, stream, mode, allowed
):
    driver.begin(stream, mode)
    outcomes = []

    def allocate():
        primary = cuda.Device(0).retain_primary_context()
        primary.push()
        try:
            cuda.mem_alloc(4).free()
            outcomes.append(True)
        except cuda.Error:
            outcomes.append(False)
        finally:
            cuda.Context.pop()

    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
    assert outcomes == [allowed]
    assert (driver.end(stream)[0] == CudaResult.SUCCESS) == allowed


def test_only_the_thread_that_began_may_end(cuda, driver, stream):
    driver.begin(stream)
    results = []

    def end():
        primary = cuda.Device(0).retain_primary_context()
        primary.push()
        results.append(driver.end(stream)[0])
        cuda.Context.pop()

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    assert results == [CudaResult.STREAM_CAPTURE_WRONG_THREAD]
    assert driver.end(stream)[0] == CudaResult.SUCCESS


def test_a_capture_begins_once_and_not_on_the_legacy_stream(simulator, driver, stream):
    assert driver.begin(stream) == CudaResult.SUCCESS
    assert driver.begin(stream) == CudaResult.ILLEGAL_STATE
    assert driver.end(stream)[0] == CudaResult.SUCCESS
    assert driver.end(stream)[0] == CudaResult.ILLEGAL_STATE
    legacy = simulator.library.cuStreamBeginCapture_v2(None, THREAD_LOCAL)
    assert legacy == CudaResult.STREAM_CAPTURE_UNSUPPORTED


def test_a_second_stream_joins_by_an_event_and_must_come_back(cuda, driver, stream, pair):
    other = cuda.Stream(1)
    driver.begin(stream)
    cuda.memcpy_htod_async(*pair, stream)
    other.wait_for_event(cuda.Event().record(stream))
    assert driver.status(other) == ACTIVE
    cuda.memset_d32_async(pair[0], 0, 4, other)
    stream.wait_for_event(cuda.Event().record(other))
    result, graph = driver.end(stream)
    assert (result, driver.size(graph)) == (CudaResult.SUCCESS, 2)

    driver.begin(stream)
    other.wait_for_event(cuda.Event().record(stream))
    cuda.memset_d32_async(pair[0], 0, 4, other)
    assert driver.end(stream)[0] == CudaResult.STREAM_CAPTURE_UNJOINED
    assert driver.status(other) == 0


def test_a_capture_depends_on_nothing_outside_it(cuda, driver, stream, pair):
    other = cuda.Stream(1)
    event = cuda.Event().record(other)
    driver.begin(stream)
    with pytest.raises(cuda.Error, match="uncaptured work"):
        stream.wait_for_event(event)
    assert driver.end(stream)[0] == CudaResult.STREAM_CAPTURE_INVALIDATED
