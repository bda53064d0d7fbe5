"""Run a bundle with TensorRT: find or build this machine's plan, prove it, execute it."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends import Backend, EngineOutputs
from fasdk.backends.cuda import PyCudaDriver
from fasdk.backends.tensorrt.cache import PlanCache, PlanKey
from fasdk.backends.tensorrt.module import load_module, open_log, released_on_error
from fasdk.backends.tensorrt.plan import WORKSPACE_MIB, BuiltPlan, build_plan
from fasdk.errors import BackendError, PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.backends.cuda import CudaDevice, CudaDriver, CudaStream, DeviceBuffer, HostBuffer
    from fasdk.backends.tensorrt import api
    from fasdk.backends.tensorrt.module import TensorRt
    from fasdk.backends.tensorrt.plan import ProgressListener
    from fasdk.bundle import Bundle, Manifest

_FLOAT32_BYTES = 4


class PlanSource(str, Enum):
    """Where an engine's plan came from."""

    BUNDLE = "bundle"
    CACHE = "cache"
    BUILT = "built"


@dataclass(frozen=True)
class TensorLayout:
    """The tensors a plan must have: float32, batch axis first and symbolic.

    Attributes:
        inputs: (C, H, W), or (values,), by input name.
        outputs: (values,) by output name.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int]]

    @classmethod
    def of(cls, manifest: Manifest) -> TensorLayout:
        """Return what the manifest promises of the graph."""
        outputs: dict[str, tuple[int]] = {"logits": (len(manifest.labels),)}
        if manifest.reliability:
            outputs["reliability"] = (len(manifest.modalities),)
        return cls(manifest.input_shapes, outputs)


@dataclass(frozen=True)
class _Port:
    """One tensor with its two buffers, each as large as the largest batch."""

    shape: tuple[int, ...]
    host: HostBuffer
    device: DeviceBuffer


class TensorRtEngine:
    """A loaded plan with one execution context, one stream and buffers for the largest batch.

    Calls take turns, so that two captures never share a buffer.

    Args:
        plan: The plan's bytes, already verified: loading it runs code in it.
        backend: Which TensorRT built it.
        layout: What it must take and give.
        driver: The GPU.
        plan_source: Where the plan came from.

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
    ) -> None:
        trt = load_module(backend)
        self.backend = backend
        self.version = str(trt.__version__)
        self.plan_source = plan_source
        self.max_batch: int | None = None
        self._layout = layout
        self._driver = driver
        self._turn = threading.Lock()
        self._log = open_log(trt, needs_driver=True)
        self._runtime: api.Runtime | None = None
        self._engine: api.ICudaEngine | None = None
        self._context: api.IExecutionContext | None = None
        self._stream: CudaStream | None = None
        self._ports: dict[str, _Port] = {}
        self._held: list[DeviceBuffer | HostBuffer] = []
        try:
            with released_on_error(), driver.current():
                self._load(trt, plan)
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch; see `Engine.run`."""
        batch = self._batch_of(inputs)
        with self._turn:
            context, stream = self._context, self._stream
            if context is None or stream is None:
                raise BackendError("the engine is closed")
            self._log.errors.clear()
            with self._driver.current():
                try:
                    self._enqueue(context, stream, inputs, batch)
                finally:
                    # Also after a fault: nothing may still be using the buffers at the next call.
                    stream.synchronize()
            return EngineOutputs.from_named(
                {name: self._ports[name].host.array[:batch].copy() for name in self._layout.outputs}
            )

    def close(self) -> None:
        """Release the device's memory; a second call does nothing."""
        with self._turn:
            if self._runtime is None and not self._held:
                return
            with self._driver.current():
                self._stream = None
                # In this order: a context needs its engine, an engine its runtime.
                self._context = None
                self._engine = None
                self._runtime = None
                self._ports = {}
                while self._held:
                    self._held.pop().free()

    def _load(self, trt: TensorRt, plan: bytes | memoryview) -> None:
        name = f"{self.backend.value} {self.version}"
        runtime = self._runtime = trt.Runtime(self._log.logger)
        if runtime is None:
            raise BackendError(f"{name} cannot start a runtime: {self._log.summary()}")
        # The default, said aloud: a plan that carries its own runtime library is refused.
        runtime.engine_host_code_allowed = False
        engine = self._engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanError(
                f"{name} refuses the {self.plan_source.value} plan on {self._driver.device.name}: "
                f"{self._log.summary()}"
            )
        self.max_batch = _check_tensors(trt, engine, self._layout, name)
        context = self._context = engine.create_execution_context()
        if context is None:
            raise BackendError(f"{name} cannot make an execution context: {self._log.summary()}")
        self._stream = self._driver.stream()
        for tensor, shape in (self._layout.inputs | self._layout.outputs).items():
            port = self._allocate((self.max_batch, *shape))
            self._ports[tensor] = port
            if not context.set_tensor_address(tensor, port.device.address):
                raise BackendError(f"{name} refuses a buffer for {tensor}: {self._log.summary()}")

    def _allocate(self, shape: tuple[int, ...]) -> _Port:
        device = self._driver.device_buffer(prod(shape) * _FLOAT32_BYTES)
        self._held.append(device)
        host = self._driver.host_buffer(shape)
        self._held.append(host)
        return _Port(shape[1:], host, device)

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

    def _enqueue(
        self,
        context: api.IExecutionContext,
        stream: CudaStream,
        inputs: Mapping[str, NDArray[np.float32]],
        batch: int,
    ) -> None:
        for name, array in inputs.items():
            port = self._ports[name]
            np.copyto(port.host.array[:batch], array)
            self._driver.copy_to_device(port.device, port.host.array[:batch], stream)
            if not context.set_input_shape(name, (batch, *port.shape)):
                raise BackendError(f"input {name}: {batch} captures refused: {self._log.summary()}")
        for name in self._layout.outputs:
            # What an execution fails to write must not be the last capture's verdict.
            port = self._ports[name]
            port.host.array.fill(np.nan)
            self._driver.copy_to_device(port.device, port.host.array[:batch], stream)
        if not context.execute_async_v3(stream.handle):
            raise BackendError(f"{self.backend.value} failed to execute: {self._log.summary()}")
        for name in self._layout.outputs:
            port = self._ports[name]
            self._driver.copy_to_host(port.host.array[:batch], port.device, stream)


def open_tensorrt_engine(
    bundle: Bundle,
    backend: Backend,
    *,
    driver: CudaDriver | None = None,
    cache: PlanCache | None = None,
    progress: ProgressListener | None = None,
) -> TensorRtEngine:
    """Open a verified bundle on this machine's GPU.

    A plan the bundle brings for this GPU and release is used; else this machine's own from the plan
    cache; else one is built, which can take many minutes on a small device. Whichever it is must
    reproduce the bundle's golden captures before it answers anything; a plan built here is kept
    only after that, and one from the cache that fails is deleted.

    Args:
        bundle: A bundle whose digests were checked.
        backend: TENSORRT or TENSORRT_RTX.
        driver: The GPU; pycuda's first one when None.
        cache: Where plans are kept; beside the bundle when None.
        progress: Hears the build's phases.

    Raises:
        BackendError: TensorRT or pycuda is not installed, or the device failed.
        PlanError: No plan can be built, or it does not reproduce the golden captures.
        FasdkError: The new plan cannot be written to the cache.
    """
    trt = load_module(backend)
    driver = driver or PyCudaDriver()
    cache = cache or PlanCache.beside(bundle.path)
    layout = TensorLayout.of(bundle.manifest)
    if not any(name.startswith("golden/") for name in bundle.member_sizes):
        raise PlanError(f"{bundle.path} holds no golden capture to prove a plan with: rebuild it")

    def proved(plan: bytes | memoryview, source: PlanSource) -> TensorRtEngine:
        engine = TensorRtEngine(plan, backend, layout=layout, driver=driver, plan_source=source)
        _prove(bundle, engine)
        return engine

    version = str(trt.__version__)
    brought = _brought_plan(bundle, backend, version, driver.device)
    if brought is not None:
        return proved(brought, PlanSource.BUNDLE)
    key = _plan_key(bundle, backend, version, layout, driver.device)
    kept = cache.load(key)
    if kept is not None:
        try:
            return proved(kept, PlanSource.CACHE)
        except PlanError:
            cache.discard(key)
            raise
    with driver.current():
        built = _build_here(bundle, backend, layout, driver.device, progress)
    engine = proved(built.data, PlanSource.BUILT)
    try:
        cache.store(key, built)
    except BaseException:
        engine.close()
        raise
    return engine


def _brought_plan(
    bundle: Bundle, backend: Backend, version: str, device: CudaDevice
) -> memoryview | None:
    if backend is not Backend.TENSORRT_RTX:
        return None
    for entry in bundle.manifest.plans:
        if entry.version == version and device.compute_capability in entry.compute_capabilities:
            return bundle.plan(entry)
    return None


def _plan_key(
    bundle: Bundle, backend: Backend, version: str, layout: TensorLayout, device: CudaDevice
) -> PlanKey:
    return PlanKey(
        graph_sha256=hashlib.sha256(bundle.graph).hexdigest(),
        module=backend.value,
        version=version,
        cuda=device.driver_version,
        device=device.name,
        compute_capability=device.compute_capability,
        shapes=layout.inputs,
        max_batch=bundle.manifest.max_batch,
        workspace_mib=WORKSPACE_MIB,
    )


def _build_here(
    bundle: Bundle,
    backend: Backend,
    layout: TensorLayout,
    device: CudaDevice,
    progress: ProgressListener | None,
) -> BuiltPlan:
    targets = (device.compute_capability,) if backend is Backend.TENSORRT_RTX else ()
    return build_plan(
        bundle.graph,
        backend,
        shapes=layout.inputs,
        max_batch=bundle.manifest.max_batch,
        compute_capabilities=targets,
        progress=progress,
    )


def _prove(bundle: Bundle, engine: TensorRtEngine) -> None:
    from fasdk.session import Liveness

    try:
        Liveness(bundle, engine).replay_golden()
    except PlanError as error:
        engine.close()
        raise PlanError(
            f"the {engine.plan_source.value} plan of {engine.backend.value} {engine.version} does "
            f"not reproduce the bundle and is not used: {error}"
        ) from error
    except BaseException:
        engine.close()
        raise


def _check_tensors(trt: TensorRt, engine: api.ICudaEngine, layout: TensorLayout, name: str) -> int:
    """Check a plan's tensors and return the largest batch of its profile."""
    found: dict[str, str] = {}
    batches: list[int] = []
    for index in range(int(engine.num_io_tensors)):
        tensor = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(tensor) == trt.TensorIOMode.INPUT
        dtype = engine.get_tensor_dtype(tensor)
        precision = "float32" if dtype == trt.DataType.FLOAT else str(dtype)
        shape = [int(size) for size in engine.get_tensor_shape(tensor)]
        found[tensor] = f"{'input' if is_input else 'output'} {precision} {shape}"
        if is_input:
            largest = list(engine.get_tensor_profile_shape(tensor, 0)[2])
            batches.append(int(largest[0]))
    expected = {n: f"input float32 {[-1, *shape]}" for n, shape in layout.inputs.items()}
    expected |= {n: f"output float32 {[-1, *shape]}" for n, shape in layout.outputs.items()}
    if found != expected:
        odd = sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n))
        raise PlanError(
            f"{name}: the plan's tensor {odd[0]} is {found.get(odd[0], 'absent')}, the bundle asks "
            f"for {expected.get(odd[0], 'none of that name')}: delete the plan, it is not its own"
        )
    return min(batches)
