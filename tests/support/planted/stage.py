"""Setup of the runtime on the simulated driver, shared by the scenarios."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from support.cuda_sim.simulated_cuda import Simulator, load
from support.tensorrt_standin.settings import Behavior, Refusal

if TYPE_CHECKING:
    from fasdk.backends.cuda import PyCudaDriver
    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.backends.tensorrt.lane import TensorRtLane

WAIT_S = 60.0
LARGEST = 4


class Stage:
    """The tiny bundle's engine on the simulated driver, and what its graph says elsewhere.

    Attributes:
        simulator: The driver's faults and report.
        behavior: Faults of the stand-in TensorRT.
    """

    def __init__(self, simulator: Simulator, behavior: Behavior) -> None:
        from fasdk.backends.cuda import PyCudaDriver
        from fasdk.backends.onnxruntime import OnnxRuntimeEngine

        from support.tiny_bundle import graph_bytes

        self.simulator = simulator
        self.behavior = behavior
        self.graph = graph_bytes()
        self.reference = OnnxRuntimeEngine(self.graph, threads=1)
        self.driver: PyCudaDriver = PyCudaDriver()

    def open(self, driver: PyCudaDriver | None = None, *, graphs: bool = True) -> TensorRtEngine:
        """Return an engine, unproved, so that a scenario alone decides what is run."""
        from fasdk.backends.engine import Backend
        from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
        from fasdk.backends.tensorrt.layout import TensorLayout
        from fasdk.backends.tensorrt.plan import build_plan

        from support import tiny_bundle

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
        from support.tiny_bundle import ALL, SIZE

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
        self.behavior.refuses.add(Refusal.EXECUTE)
        try:
            yield
        finally:
            self.behavior.refuses.clear()

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


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition, at most so long."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
