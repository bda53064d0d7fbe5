"""TensorRT engine: a loaded plan shared by lanes that execute it side by side."""

from __future__ import annotations

import logging
import threading
import time
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.tensorrt.capture_lane import CaptureTensorRtLane
from fasdk.backends.tensorrt.close_timeout import CloseTimeout
from fasdk.backends.tensorrt.lane import TensorRtLane
from fasdk.backends.tensorrt.layer_times import LayerReport, make_recorder
from fasdk.backends.tensorrt.layout import TensorLayout, check_tensors
from fasdk.backends.tensorrt.module import load_module, open_log, released_on_error
from fasdk.errors import BackendError, PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from fasdk.backends.cuda_api import CudaDriver
    from fasdk.backends.engine import Backend, EngineOutputs
    from fasdk.backends.tensorrt import api
    from fasdk.backends.tensorrt.device_preprocessing import DevicePreprocessing
    from fasdk.backends.tensorrt.module import TensorRt


class PlanSource(str, Enum):
    """Where an engine's plan came from."""

    BUNDLE = "bundle"
    CACHE = "cache"
    BUILT = "built"


class TensorRtEngine:
    """A plan loaded once, and the lanes that run it.

    Calls of `run` take turns at a lane of their own, opened by the first of them.

    Args:
        plan: The plan's bytes, already verified: loading it runs code in it.
        backend: TensorRT variant that built the plan.
        layout: Input and output tensors that the plan must have.
        driver: CUDA driver of the GPU.
        plan_source: Description of the plan's origin.
        graphs: Whether lanes record CUDA graphs, one a batch size.
        timed: Whether lanes time copies and execution on the device.
        preprocessing: What lanes need to make the tensors of captures on the device, which the
            engine releases; None where the host makes them.

    Raises:
        BackendError: The backend is not installed, or the device has no memory left.
        PlanError: TensorRT refuses the plan, or its tensors are not the bundle's.
    """

    def __init__(
        self,
        plan: bytes | memoryview,
        backend: Backend,
        *,
        layout: TensorLayout,
        driver: CudaDriver,
        plan_source: PlanSource,
        graphs: bool = True,
        timed: bool = False,
        preprocessing: DevicePreprocessing | None = None,
    ) -> None:
        self._trt: TensorRt = load_module(backend)
        self.backend = backend
        self.version = str(self._trt.__version__)
        self.plan_source = plan_source
        self.graphs = graphs
        self.timed = timed
        self.preprocessing = preprocessing
        self.max_batch: int | None = None
        self._layout = layout
        self._driver = driver
        # Taken in this order: a call of `run` may open its lane.
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._log = open_log(self._trt, needs_driver=True)
        self._runtime: api.Runtime | None = None
        self._engine: api.ICudaEngine | None = None
        self._lanes: list[TensorRtLane] = []
        self._own: TensorRtLane | None = None
        try:
            with released_on_error(), driver.current():
                self._load(plan)
        except BaseException:
            self.close()
            raise

    @property
    def _name(self) -> str:
        return f"{self.backend.value} {self.version}"

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch; see `Engine.run`."""
        with self._turn:
            batch = self._batch_of(inputs)
            if self._own is None:
                self._own = self.open_lane(self.max_batch or 0)
            for name, array in inputs.items():
                np.copyto(self._own.inputs[name][:batch], array)
            return self._own.run(batch)

    def profile_layers(
        self, inputs: Mapping[str, NDArray[np.float32]], *, calls: int, warmup_calls: int
    ) -> LayerReport:
        """Run one batch under TensorRT's profiler, and as often without it.

        The profiler waits for every layer, so that a call under it takes longer; neither lane
        records CUDA graphs, which it cannot look into.

        Args:
            inputs: One batch; see `Engine.run`.
            calls: Calls to report of each kind.
            warmup_calls: Calls before them.

        Raises:
            BackendError: The engine is closed, or a call failed.
        """
        batch = self._batch_of(inputs)
        recorder = make_recorder(self._trt)
        profiled, whole_ms = list[tuple[tuple[str, float], ...]](), list[float]()
        profiling = self.open_lane(batch, graphs=False, profiler=recorder.profiler)
        try:
            plain = self.open_lane(batch, graphs=False)
            try:
                for name, array in inputs.items():
                    np.copyto(profiling.inputs[name], array)
                    np.copyto(plain.inputs[name], array)
                for _ in range(warmup_calls + calls):
                    profiling.run(batch)
                    profiled.append(recorder.take())
                    start_s = time.perf_counter()
                    device = plain.run(batch).device
                    host_ms = 1e3 * (time.perf_counter() - start_s)
                    whole_ms.append(host_ms if device is None else device.engine_ms)
            finally:
                plain.close()
            with self._state:
                if self._engine is None:
                    raise BackendError("the engine is closed")
                information = profiling.layer_information(self._trt, self._engine, batch)
        finally:
            profiling.close()
        return LayerReport(
            tuple(profiled[warmup_calls:]), tuple(whole_ms[warmup_calls:]), information
        )

    def open_lane(
        self,
        max_batch: int,
        *,
        graphs: bool | None = None,
        profiler: api.IProfiler | None = None,
    ) -> TensorRtLane:
        """Return a new lane for batches of up to `max_batch`; see `Engine.open_lane`.

        Args:
            max_batch: Largest batch, at most the plan's own.
            graphs: Whether it records CUDA graphs; as the engine does when None.
            profiler: Receives the time of every layer of each call; None for no profiler.
        """
        with self._state:
            engine = self._engine
            if engine is None:
                raise BackendError("the engine is closed")
            if self.max_batch is None or not 1 <= max_batch <= self.max_batch:
                raise BackendError(
                    f"a lane for batches of {max_batch}, expected 1 to {self.max_batch}: "
                    "the plan takes no more"
                )
            open_lane: Callable[..., TensorRtLane] = TensorRtLane
            if self.preprocessing is not None:
                open_lane = partial(
                    CaptureTensorRtLane,
                    kernels=self.preprocessing.kernels,
                    captures=self.preprocessing.captures,
                )
            lane = open_lane(
                self._trt,
                engine,
                layout=self._layout,
                max_batch=max_batch,
                driver=self._driver,
                log=self._log,
                graphs=self.graphs if graphs is None else graphs,
                timed=self.timed,
                name=self._name,
                on_close=self._forget,
                profiler=profiler,
            )
            self._lanes.append(lane)
            return lane

    def close(self) -> None:
        """Release the device's memory once running calls are done; a second call does nothing.

        A call that hangs is waited for as long as `CloseTimeout.CLOSE_S` says and then
        abandoned with its lane's memory.
        """
        timeout = CloseTimeout()
        with timeout.holding(self._turn), timeout.holding(self._state) as is_ours:
            if not is_ours:
                self._warn("a lane that is being opened hangs; nothing can be released")
                return
            # From here no lane can be opened; those there are end below, since each takes this
            # lock to be forgotten.
            engine, self._engine = self._engine, None
            lanes = list(self._lanes)
        for lane in lanes:
            lane.close(timeout)
        self._own = None
        self._release_kernels()
        runtime, self._runtime = self._runtime, None
        if runtime is None:
            return
        try:
            with self._driver.current():
                # In this order: a context needs its engine, an engine its runtime.
                del engine
                del runtime
        except BackendError as error:
            self._warn(f"closed on a device that fails: {error}")

    def _release_kernels(self) -> None:
        with self._state:
            preprocessing = self.preprocessing
            if preprocessing is None or self._lanes:
                return  # a lane that was abandoned may be running them
            self.preprocessing = None
        try:
            with self._driver.current():
                preprocessing.kernels.free()
        except BackendError as error:
            self._warn(f"closed on a device that fails: {error}")

    def _warn(self, text: str) -> None:
        logging.getLogger("fasdk.tensorrt").warning("%s: %s", self._name, text)

    def _forget(self, lane: TensorRtLane) -> None:
        with self._state:
            self._lanes.remove(lane)

    def _load(self, plan: bytes | memoryview) -> None:
        runtime = self._runtime = self._trt.Runtime(self._log.logger)
        if runtime is None:
            raise BackendError(f"{self._name} cannot start a runtime: {self._log.summary()}")
        # The default, made explicit: a plan that carries its own runtime library is refused.
        runtime.engine_host_code_allowed = False
        engine = self._engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanError(
                f"{self._name} refuses the {self.plan_source.value} plan on "
                f"{self._driver.device.name}: {self._log.summary()}"
            )
        self.max_batch = check_tensors(self._trt, engine, self._layout, self._name)

    def _batch_of(self, inputs: Mapping[str, NDArray[np.float32]]) -> int:
        if set(inputs) != set(self._layout.inputs):
            raise BackendError(
                f"the engine was given {', '.join(sorted(inputs)) or 'nothing'}, expected "
                f"{', '.join(sorted(self._layout.inputs))}"
            )
        batch = min(len(array) for array in inputs.values())
        if self.max_batch is None or not 1 <= batch <= self.max_batch:
            raise BackendError(f"a batch of {batch}, expected 1 to {self.max_batch} captures")
        for name, array in inputs.items():
            expected = (batch, *self._layout.inputs[name])
            if array.dtype != np.float32 or array.shape != expected:
                raise BackendError(
                    f"input {name} is {array.dtype} {list(array.shape)}, "
                    f"expected float32 {list(expected)}"
                )
        return batch
