"""CUDA driver on pycuda: the primary context around every use."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fasdk.backends.cuda import PyCudaDriver, _primary_context
from fasdk.backends.cuda_api import CudaDevice, CudaStream
from fasdk.backends.cuda_graph import DriverGraph
from fasdk.errors import BackendError


class NativeError(Exception):
    """Stands for pycuda.driver.Error."""


class Allocation:
    """Stands for device memory and for page-locked memory."""

    def __init__(self, stack: Stack, size: int) -> None:
        self.stack, self.memory, self.is_free = stack, np.zeros(size, np.uint8), False

    def __int__(self) -> int:
        return int(self.memory.ctypes.data)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.memory.__array_interface__

    def get_device_pointer(self) -> int:
        self.stack.require()
        return int(self)

    def free(self) -> None:
        self.stack.require()
        assert not self.is_free
        self.is_free = True


class DeviceAttribute:
    """As pycuda's."""

    INTEGRATED = 18


class HostAllocFlags:
    """As pycuda's."""

    DEVICEMAP = 2


class Stack(threading.local):
    """A thread's stack of current contexts."""

    def __init__(self) -> None:
        self.depth = 0

    def require(self) -> None:
        if self.depth < 1:
            raise NativeError("no currently active context")


class FakePyCuda(ModuleType):
    """The part of pycuda.driver that is used; an attribute it lacks is an error."""

    Error = NativeError

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.stack = stack = Stack()
        self.retained: list[int] = []
        self.allocations: list[Allocation] = []
        self.broken: str | None = None
        self.integrated = False
        module = self

        class Context:
            def push(self) -> None:
                if module.broken == "push":
                    raise NativeError("device lost")
                stack.depth += 1

            @staticmethod
            def pop() -> None:
                stack.require()
                stack.depth -= 1

        class Device:
            def __init__(self, ordinal: int) -> None:
                if ordinal > 1:
                    raise NativeError("invalid device ordinal")
                self.ordinal = ordinal

            def retain_primary_context(self) -> Context:
                module.retained.append(self.ordinal)
                return Context()

            def compute_capability(self) -> tuple[int, int]:
                return 8, 7

            def name(self) -> str:
                return "Orin"

            def get_attribute(self, attribute: int) -> int:
                assert attribute == DeviceAttribute.INTEGRATED
                return int(module.integrated)

        class Stream:
            handle = 77

            def __init__(self, flags: int) -> None:
                stack.require()
                assert flags == 1, "a blocking stream waits for the default stream"

            def synchronize(self) -> None:
                stack.require()
                if module.broken == "synchronize":
                    raise NativeError("illegal address")

        class Event:
            def __init__(self, flags: int) -> None:
                stack.require()
                assert flags == 3, "a waiter would spin"
                self.stream: Stream | None = None

            def record(self, stream: Stream) -> None:
                stack.require()
                self.stream = stream

            def synchronize(self) -> None:
                stack.require()
                assert self.stream is not None
                self.stream.synchronize()

        class EventFlags:
            BLOCKING_SYNC = 1
            DISABLE_TIMING = 2

        self.Context, self.Device, self.Stream, self.Event = Context, Device, Stream, Event
        self.event_flags = EventFlags
        self.device_attribute, self.host_alloc_flags = DeviceAttribute, HostAllocFlags

    def init(self) -> None:
        if self.broken == "init":
            raise NativeError("no CUDA-capable device is detected")

    def get_driver_version(self) -> int:
        return 12060

    def mem_alloc(self, size: int) -> Allocation:
        self.stack.require()
        self.allocations.append(Allocation(self.stack, size))
        return self.allocations[-1]

    def pagelocked_empty(
        self, shape: tuple[int, ...], dtype: Any, mem_flags: int = 0
    ) -> np.ndarray[Any, Any]:
        self.stack.require()
        assert mem_flags in (0, HostAllocFlags.DEVICEMAP)
        allocation = Allocation(self.stack, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self.allocations.append(allocation)
        return _Locked(shape, dtype, allocation.memory, allocation)

    def memcpy_htod_async(self, address: int, source: np.ndarray[Any, Any], stream: Any) -> None:
        self.stack.require()
        assert stream.handle == 77
        self._at(address)[: source.nbytes] = source.reshape(-1).view(np.uint8)

    def memcpy_dtoh_async(self, target: np.ndarray[Any, Any], address: int, stream: Any) -> None:
        self.stack.require()
        assert stream.handle == 77
        target.reshape(-1).view(np.uint8)[:] = self._at(address)[: target.nbytes]

    def memset_d32_async(self, address: int, word: int, count: int, stream: Any) -> None:
        self.stack.require()
        assert stream.handle == 77
        self._at(address).view(np.uint32)[:count] = word

    def _at(self, address: int) -> np.ndarray[Any, Any]:
        offsets = ((a.memory, address - int(a)) for a in self.allocations)
        return next(memory[at:] for memory, at in offsets if 0 <= at < memory.nbytes)


class _Locked(np.ndarray):
    """An array whose `base` is its allocation, as pycuda's is."""

    allocation: Allocation

    def __new__(
        cls, shape: tuple[int, ...], dtype: Any, memory: Any, allocation: Allocation
    ) -> _Locked:
        made = np.ndarray.__new__(cls, shape, dtype, memory)
        made.allocation = allocation
        return made

    @property
    def base(self) -> Any:
        return self.allocation


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePyCuda]:
    module, package = FakePyCuda(), ModuleType("pycuda")
    package.driver = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", module)
    _primary_context.cache_clear()
    yield module
    assert module.stack.depth == 0
    _primary_context.cache_clear()


def test_the_device_is_described(pycuda: FakePyCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasdk.backends.cuda.gpu_uuid", lambda ordinal: f"uuid of {ordinal}")
    assert PyCudaDriver().device == CudaDevice("Orin", "8.7", "12.6", "uuid of 0")


def test_the_primary_context_is_retained_once_for_all_drivers_of_a_gpu(pycuda: FakePyCuda) -> None:
    PyCudaDriver(0)
    PyCudaDriver(0)
    PyCudaDriver(1)
    assert pycuda.retained == [0, 1]


def test_a_value_survives_the_way_to_the_device_and_back(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    with driver.current():
        stream = driver.stream()
        assert stream.handle == 77
        host, device = driver.host_buffer((2, 3)), driver.device_buffer(24)
        assert host.array.shape == (2, 3)
        assert host.array.dtype == np.float32
        host.array[...] = np.arange(6, dtype=np.float32).reshape(2, 3)
        driver.copy_to_device(device, host.array, stream)
        host.array.fill(0)
        driver.copy_to_host(host.array[:1], device, stream)
        stream.synchronize()
        np.testing.assert_array_equal(host.array, [[0, 1, 2], [0, 0, 0]])
        driver.fill_with_nan(device, 4, stream)
        driver.copy_to_host(host.array, device, stream)
        done = driver.event()
        done.record(stream)
        done.synchronize()
        np.testing.assert_array_equal(host.array, [[np.nan] * 3, [np.nan, 4, 5]])
        device.free()
    assert [allocation.is_free for allocation in pycuda.allocations] == [False, True]


@pytest.mark.parametrize("integrated", [False, True])
def test_a_gpu_that_shares_the_cpus_memory_is_known(pycuda: FakePyCuda, integrated: bool) -> None:
    pycuda.integrated = integrated
    assert PyCudaDriver().device.is_integrated is integrated


def test_samples_of_any_size_are_copied_to_an_offset(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    with driver.current():
        stream, device = driver.stream(), driver.device_buffer(16)
        source, back = driver.host_buffer((3,), np.uint16), driver.host_buffer((16,), np.uint8)
        source.array[:] = [1, 2, 3]
        driver.copy_to_device(device, source.array, stream, offset_bytes=4)
        driver.copy_to_host(back.array, device, stream)
    assert back.array.view(np.uint16).tolist() == [0, 0, 1, 2, 3, 0, 0, 0]


def test_the_device_uses_mapped_memory_in_place(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    with driver.current():
        mapped = driver.host_buffer((4,), np.uint8, mapped=True)
        assert mapped.device_address == int(pycuda.allocations[-1])
        other = driver.host_buffer((4,), np.uint8)
        with pytest.raises(BackendError, match="not mapped: allocate it with mapped=True"):
            _ = other.device_address
        mapped.free()
        with pytest.raises(BackendError, match="was released"):
            _ = mapped.device_address


def test_page_locked_memory_goes_with_the_last_view_of_it(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    with driver.current():
        host = driver.host_buffer((2, 3))
        view = host.array[1:]
        host.free()
        with pytest.raises(BackendError, match="was released"):
            _ = host.array
        alive = weakref.ref(pycuda.allocations.pop())
        view.fill(7.0)
        assert alive() is not None
        del view
        assert alive() is None


def test_driver_works_on_any_thread_and_restores_its_context_stack(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    depths: list[int] = []

    def work() -> None:
        with driver.current():
            depths.append(pycuda.stack.depth)
        depths.append(pycuda.stack.depth)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert depths == [1, 0]


def test_cuda_faults_become_backend_errors_and_the_context_is_popped(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    pycuda.broken = "synchronize"
    with (
        pytest.raises(BackendError, match="CUDA failed on Orin: illegal address"),
        driver.current(),
    ):
        driver.stream().synchronize()
    assert pycuda.stack.depth == 0


def test_other_errors_pass_and_the_context_is_popped(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    with pytest.raises(ValueError, match="mine"), driver.current():
        raise ValueError("mine")
    assert pycuda.stack.depth == 0


def test_a_lost_device_is_a_backend_error(pycuda: FakePyCuda) -> None:
    driver = PyCudaDriver()
    pycuda.broken = "push"
    with pytest.raises(BackendError, match="device lost"), driver.current():
        pytest.fail("the block ran without a context")


@pytest.mark.parametrize(
    ("ordinal", "broken", "words"),
    [
        (0, "init", "cannot use GPU 0: no CUDA-capable device"),
        (7, None, "cannot use GPU 7: invalid device ordinal"),
    ],
)
def test_no_usable_gpu_is_named(
    pycuda: FakePyCuda, ordinal: int, broken: str | None, words: str
) -> None:
    pycuda.broken = broken
    with pytest.raises(BackendError, match=words):
        PyCudaDriver(ordinal)


def test_another_drivers_stream_is_refused(pycuda: FakePyCuda) -> None:
    class Stranger:
        handle = 1

        def synchronize(self) -> None: ...

    driver = PyCudaDriver()
    with driver.current(), pytest.raises(BackendError, match="Stranger is not a stream"):
        driver.copy_to_device(driver.device_buffer(4), np.zeros(1, np.float32), Stranger())


def test_a_graph_is_recorded_on_the_streams_own_handle(
    pycuda: FakePyCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[int] = []

    def capture(stream: CudaStream, work: Callable[[], None]) -> DriverGraph:
        handles.append(stream.handle)
        work()
        return DriverGraph(5)

    monkeypatch.setattr("fasdk.backends.cuda.capture", capture)
    driver = PyCudaDriver()
    with driver.current():
        stream = driver.stream()
        assert isinstance(driver.capture(stream, lambda: None), DriverGraph)
        pycuda.broken = "synchronize"
        with pytest.raises(BackendError, match="cannot record a graph: illegal address"):
            driver.capture(stream, stream.synchronize)
    assert handles == [77, 77]


def test_a_machine_without_pycuda_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(BackendError, match=r"pip install '\.\[cuda\]'` in a checkout"):
        PyCudaDriver()


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_a_machine_without_tensorrt_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from fasdk.backends.specs import BACKENDS
    from fasdk.backends.tensorrt.module import load_module

    backend = next(spec.backend for spec in BACKENDS if spec.module == name)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match="pip install"):
        load_module(backend)
    # What a stub package leaves: a folder that imports as an empty namespace.
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    with pytest.raises(BackendError, match=f"cannot import {name}"):
        load_module(backend)
