"""Stand-in TensorRT: asynchronous execution, CUDA graphs and refused misuse."""

from __future__ import annotations

import gc
import sys
from ctypes import byref, c_void_p

import numpy as np
import pytest

from support import tiny_bundle
from support.cuda_sim.simulated_cuda import CudaResult, ViolationKind
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import (
    SCRATCH_BYTES,
    Behavior,
    ExecutionContextAllocationStrategy,
    Refusal,
    Severity,
)

pytestmark = pytest.mark.cuda_sim

MAX_BATCH = 4


class Log:
    def __init__(self):
        self.errors = []

    def log(self, severity, text):
        assert severity is Severity.ERROR
        self.errors.append(text)


class Lane:
    """An execution context with its buffers on a stream."""

    def __init__(self, cuda, engine, strategy=ExecutionContextAllocationStrategy.STATIC):
        self.cuda = cuda
        self.stream = cuda.Stream(1)
        self.context = engine.create_execution_context(strategy)
        self.host, self.device = {}, {}
        for name in engine.names:
            shape = (MAX_BATCH, *engine.get_tensor_shape(name)[1:])
            self.host[name] = cuda.pagelocked_empty(shape, np.float32)
            self.device[name] = cuda.mem_alloc(self.host[name].nbytes)
            assert self.context.set_tensor_address(name, int(self.device[name]))
        self.inputs = engine.inputs

    def set_batch(self, batch):
        for name in self.inputs:
            assert self.context.set_input_shape(name, (batch, *self.host[name].shape[1:]))

    def send(self, inputs):
        for name, value in inputs.items():
            self.host[name][: len(value)] = value
            target, source = self.device[name], self.host[name][: len(value)]
            self.cuda.memcpy_htod_async(target, source, self.stream)

    def fetch(self, batch):
        logits = self.host["logits"][:batch]
        self.cuda.memcpy_dtoh_async(logits, self.device["logits"], self.stream)
        return logits

    def run(self, inputs):
        batch = len(next(iter(inputs.values())))
        self.set_batch(batch)
        self.send(inputs)
        assert self.context.execute_async_v3(self.stream.handle)
        logits = self.fetch(batch)
        self.stream.synchronize()
        return logits.copy()


@pytest.fixture
def behavior():
    return Behavior()


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def trt(simulator, behavior):
    return stand_in(simulator, behavior)


@pytest.fixture
def engine(cuda, trt, log, monkeypatch):
    from fasdk.backends.engine import Backend
    from fasdk.backends.tensorrt.plan import build_plan

    shapes = {m.value: (3, tiny_bundle.SIZE, tiny_bundle.SIZE) for m in tiny_bundle.ALL}
    graph = tiny_bundle.graph_bytes()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    plan = build_plan(graph, Backend.TENSORRT, shapes=shapes, max_batch=MAX_BATCH)
    return trt.Runtime(log).deserialize_cuda_engine(plan.data)


@pytest.fixture
def lane(cuda, engine):
    return Lane(cuda, engine)


@pytest.fixture
def inputs(engine):
    random = np.random.default_rng(0)
    return {
        name: random.random((2, *engine.get_tensor_shape(name)[1:]), np.float32)
        for name in engine.inputs
    }


def expected(engine, inputs):
    return engine.session.run(["logits"], inputs)[0]


def captured(simulator, lane, work):
    graph, executable = c_void_p(), c_void_p()
    handle = c_void_p(lane.stream.handle)
    assert simulator.library.cuStreamBeginCapture_v2(handle, 1) == 0
    work()
    assert simulator.library.cuStreamEndCapture(handle, byref(graph)) == 0
    assert simulator.library.cuGraphInstantiateWithFlags(byref(executable), graph, 0) == 0
    assert simulator.library.cuGraphDestroy(graph) == 0
    return executable


def launch(simulator, lane, executable):
    assert simulator.library.cuGraphLaunch(executable, c_void_p(lane.stream.handle)) == 0


def test_an_execution_gives_what_the_graph_gives(simulator, engine, lane, inputs):
    np.testing.assert_array_equal(lane.run(inputs), expected(engine, inputs))
    assert simulator.report().violations == ()


def test_an_execution_reads_and_writes_when_the_stream_gets_there(engine, lane, inputs):
    lane.set_batch(2)
    lane.send(inputs)
    assert lane.context.execute_async_v3(lane.stream.handle)
    logits = lane.fetch(2)
    assert np.isnan(logits).all()
    lane.set_batch(1)  # of no concern to what is enqueued
    lane.stream.synchronize()
    np.testing.assert_array_equal(logits, expected(engine, inputs))


def test_replays_run_again_on_what_is_in_memory_then(simulator, engine, lane, inputs):
    lane.run(inputs)

    def work():
        lane.send(inputs)
        assert lane.context.execute_async_v3(lane.stream.handle)
        lane.fetch(2)

    executable = captured(simulator, lane, work)
    assert np.isfinite(lane.host["logits"][:2]).all(), "a capture runs nothing"
    for seed in range(3):
        fresh = {
            name: np.random.default_rng(seed).random(value.shape, np.float32)
            for name, value in inputs.items()
        }
        for name, value in fresh.items():
            lane.host[name][:2] = value
        launch(simulator, lane, executable)
        assert np.isnan(lane.host["logits"][:2]).all()
        lane.stream.synchronize()
        np.testing.assert_array_equal(lane.host["logits"][:2], expected(engine, fresh))
    assert simulator.library.cuGraphExecDestroy(executable) == 0
    assert simulator.report().violations == ()


def test_a_first_execution_cannot_be_captured(simulator, lane, inputs, log):
    lane.set_batch(2)

    def work():
        assert not lane.context.execute_async_v3(lane.stream.handle)

    captured(simulator, lane, work)
    assert "cannot be captured" in log.errors[-1]


def test_a_replay_after_its_context_changed_is_nan_and_reported(simulator, lane, inputs):
    lane.run(inputs)

    def work():
        assert lane.context.execute_async_v3(lane.stream.handle)
        lane.fetch(2)

    executable = captured(simulator, lane, work)
    lane.set_batch(1)
    launch(simulator, lane, executable)
    lane.stream.synchronize()
    assert np.isnan(lane.host["logits"][:2]).all()
    assert simulator.report().kinds == {ViolationKind.LIBRARY}


def test_a_context_destroyed_under_way_is_reported(simulator, lane, inputs):
    lane.set_batch(2)
    lane.send(inputs)
    assert lane.context.execute_async_v3(lane.stream.handle)
    del lane.context
    gc.collect()
    lane.stream.synchronize()
    assert simulator.report().kinds == {ViolationKind.LIBRARY}


def test_contexts_that_run_at_once_on_one_scratch_memory_are_a_race(
    simulator, cuda, engine, inputs
):
    strategy = ExecutionContextAllocationStrategy.USER_MANAGED
    lanes = [Lane(cuda, engine, strategy) for _ in range(2)]
    scratch = cuda.mem_alloc(SCRATCH_BYTES)
    for lane in lanes:
        lane.context.set_device_memory(int(scratch), SCRATCH_BYTES)
        lane.set_batch(2)
        lane.send(inputs)
        assert lane.context.execute_async_v3(lane.stream.handle)
    for lane in lanes:
        lane.stream.synchronize()
    assert simulator.report().kinds == {ViolationKind.RACE}


def test_a_context_without_its_scratch_memory_does_not_run(cuda, engine, log):
    lane = Lane(cuda, engine, ExecutionContextAllocationStrategy.USER_MANAGED)
    lane.set_batch(1)
    assert not lane.context.execute_async_v3(lane.stream.handle)
    assert "no device memory" in log.errors[-1]


def test_an_address_that_is_none_kills_the_context(cuda, lane, inputs):
    lane.set_batch(2)
    assert lane.context.set_tensor_address("logits", 4096)
    assert lane.context.execute_async_v3(lane.stream.handle)
    with pytest.raises(cuda.Error, match="illegal memory access"):
        lane.stream.synchronize()


@pytest.mark.parametrize(
    ("wrong", "drifts"),
    [
        ({"drift": 0.5}, [0.5, 0.5]),
        ({"drift": 0.5, "drift_row": 1}, [0.0, 0.5]),
        ({"drift": 0.5, "drift_batch": 2}, [0.5, 0.5]),
        ({"drift": 0.5, "drift_batch": 3}, [0.0, 0.0]),
        ({"drift": 0.5, "drift_replay": True}, [0.0, 0.0]),
    ],
)
def test_stand_in_drifts_as_configured(engine, behavior, lane, inputs, wrong, drifts):
    for name, value in wrong.items():
        setattr(behavior, name, value)
    off = lane.run(inputs) - expected(engine, inputs)
    np.testing.assert_allclose(off[:, 1], drifts, atol=1e-5)


def test_stand_in_writes_nothing_when_configured(behavior, lane, inputs):
    behavior.writes = False
    assert np.isnan(lane.run(inputs)).all()


def test_a_refusal_and_a_failing_launch_are_false_with_a_reason(simulator, behavior, lane, log):
    lane.set_batch(1)
    behavior.refuses.add(Refusal.EXECUTE)
    assert not lane.context.execute_async_v3(lane.stream.handle)
    behavior.refuses.clear()
    simulator.fail_call("cuLaunchKernel", CudaResult.LAUNCH_FAILED)
    assert not lane.context.execute_async_v3(lane.stream.handle)
    assert log.errors == ["the execution was refused", "enqueue failed: LAUNCH_FAILED"]


def test_nothing_is_made_without_a_context(cuda, trt, log):
    cuda.Context.pop()
    try:
        for make in (trt.Runtime, trt.Builder):
            with pytest.raises(TypeError, match="nullptr"):
                make(log)
    finally:
        cuda.Device(0).retain_primary_context().push()
