"""The stand-in TensorRT on the quick CUDA driver: what breaks a rule fails the test it is in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.fake_gpu import FakeGpu, FakeStream
from support.gpu_rig import SMALL_PLAN, batch, expected
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import (
    SCRATCH_BYTES,
    Behavior,
    ExecutionContextAllocationStrategy,
)

USER_MANAGED = ExecutionContextAllocationStrategy.USER_MANAGED


class Log:
    def __init__(self) -> None:
        self.errors: list[str] = []

    def log(self, _severity: object, text: str) -> None:
        self.errors.append(text)


class Lane:
    """An execution context of one capture with its buffers on a stream."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.log = Log()
        runtime = stand_in(gpu, Behavior()).Runtime(self.log)
        self.engine = runtime.deserialize_cuda_engine(SMALL_PLAN)
        self.stream: FakeStream = gpu.stream()
        self.context: Any = self.engine.create_execution_context(USER_MANAGED)
        self.scratch = gpu.device_buffer(SCRATCH_BYTES)
        self.context.set_device_memory(self.scratch.address, SCRATCH_BYTES)
        rows = batch(1)["rgb"]
        self.rgb, self.logits = gpu.device_buffer(rows.nbytes), gpu.device_buffer(8)
        self.rgb.array[:] = rows.ravel()
        self.context.set_tensor_address("rgb", self.rgb.address)
        self.context.set_tensor_address("logits", self.logits.address)
        assert self.context.set_input_shape("rgb", rows.shape)

    def enqueue(self) -> None:
        assert self.context.execute_async_v3(self.stream.handle)


@pytest.fixture
def gpu() -> FakeGpu:
    return FakeGpu()


def test_an_execution_waits_for_a_synchronization(gpu: FakeGpu) -> None:
    with gpu.current():
        lane = Lane(gpu)
        before = lane.logits.array.copy()
        lane.enqueue()
        np.testing.assert_array_equal(lane.logits.array, before)
        lane.stream.synchronize()
        np.testing.assert_array_equal(lane.logits.array, expected(batch(1)).ravel())


def test_a_replay_after_its_context_changed_fails(gpu: FakeGpu) -> None:
    with gpu.current():
        lane = Lane(gpu)
        lane.enqueue()
        lane.stream.synchronize()
        graph = gpu.capture(lane.stream, lane.enqueue)
        lane.context.set_input_shape("rgb", (2, *batch(1)["rgb"].shape[1:]))
        graph.launch(lane.stream)
        with pytest.raises(AssertionError, match=r"after the execution context .* changed"):
            lane.stream.synchronize()


def test_an_execution_whose_context_is_destroyed_fails(gpu: FakeGpu) -> None:
    with gpu.current():
        lane = Lane(gpu)
        lane.enqueue()
        del lane.context
        with pytest.raises(AssertionError, match="after its execution context was destroyed"):
            lane.stream.synchronize()


def test_a_replay_on_freed_scratch_memory_fails(gpu: FakeGpu) -> None:
    with gpu.current():
        lane = Lane(gpu)
        lane.enqueue()
        lane.stream.synchronize()
        graph = gpu.capture(lane.stream, lane.enqueue)
        lane.scratch.free()
        graph.launch(lane.stream)
        with pytest.raises(AssertionError, match="runs on freed memory"):
            lane.stream.synchronize()


def test_an_execution_beyond_its_memory_fails(gpu: FakeGpu) -> None:
    with gpu.current():
        lane = Lane(gpu)
        lane.context.set_tensor_address("logits", gpu.device_buffer(4).address)
        with pytest.raises(AssertionError, match="beyond its memory"):
            lane.enqueue()


def test_a_first_execution_cannot_be_captured(gpu: FakeGpu) -> None:
    with gpu.current():
        lane = Lane(gpu)

        def work() -> None:
            assert not lane.context.execute_async_v3(lane.stream.handle)

        gpu.capture(lane.stream, work)
        assert "cannot be captured" in lane.log.errors[-1]


def test_nothing_is_made_without_a_context(gpu: FakeGpu) -> None:
    module = stand_in(gpu, Behavior())
    for make in (module.Runtime, module.Builder):
        with pytest.raises(TypeError, match="nullptr"):
            make(Log())
