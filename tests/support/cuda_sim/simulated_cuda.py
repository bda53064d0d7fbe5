"""Interface of tests to the simulated CUDA driver: location, faults and reports.

Once loaded it answers to the name `libcuda.so.1` for the rest of the process, for every library
that asks, TensorRT's own among them. Only a process of its own may load it: tests that do carry
the marker `cuda_sim` and run by `make cuda-sim`.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from support.kernel_driver import Access

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Layout:
    """Where `build.py` puts things.

    Attributes:
        root: The folder of everything built.
    """

    root: Path

    @classmethod
    def here(cls) -> Layout:
        """Return the layout of this checkout, or the one FASDK_CUDA_SIM_DIR names."""
        given = os.environ.get("FASDK_CUDA_SIM_DIR")
        return cls(Path(given or HERE.parents[2] / "build" / "cuda_sim").absolute())

    @property
    def library(self) -> Path:
        """The driver."""
        return self.root / "driver" / "lib" / "libcuda.so.1"

    @property
    def site(self) -> Path:
        """The folder to import pycuda from, for the running Python."""
        return self.root / f"cp{sys.version_info.major}{sys.version_info.minor}"

    @property
    def is_ready(self) -> bool:
        """Whether both are there; `build.py` finds out whether they are up to date."""
        return self.library.is_file() and (self.site / "ready").is_file()


class CudaResult(IntEnum):
    """The result codes that tests inject or expect."""

    SUCCESS = 0
    INVALID_VALUE = 1
    OUT_OF_MEMORY = 2
    DEVICE_UNAVAILABLE = 46
    NO_DEVICE = 100
    INVALID_IMAGE = 200
    INVALID_CONTEXT = 201
    NO_BINARY_FOR_GPU = 209
    ECC_UNCORRECTABLE = 214
    INVALID_HANDLE = 400
    ILLEGAL_STATE = 401
    NOT_FOUND = 500
    NOT_READY = 600
    ILLEGAL_ADDRESS = 700
    MISALIGNED_ADDRESS = 716
    LAUNCH_FAILED = 719
    NOT_SUPPORTED = 801
    STREAM_CAPTURE_UNSUPPORTED = 900
    STREAM_CAPTURE_INVALIDATED = 901
    STREAM_CAPTURE_UNJOINED = 904
    STREAM_CAPTURE_ISOLATION = 905
    STREAM_CAPTURE_IMPLICIT = 906
    CAPTURED_EVENT = 907
    STREAM_CAPTURE_WRONG_THREAD = 908
    UNKNOWN = 999


class ViolationKind(str, Enum):
    """Misuse by a program that a real device would not report."""

    RACE = "race"
    SOURCE_CHANGED = "source_changed"
    TARGET_CHANGED = "target_changed"
    FREE_IN_USE = "free_in_use"
    USE_AFTER_FREE = "use_after_free"
    DOUBLE_FREE = "double_free"
    INVALID_FREE = "invalid_free"
    INVALID_HANDLE = "invalid_handle"
    OVERRUN = "overrun"
    LEAK = "leak"
    STREAM_IN_USE = "stream_in_use"
    GRAPH_IN_USE = "graph_in_use"
    MODULE_IN_USE = "module_in_use"
    CONTEXT_IN_USE = "context_in_use"
    LIBRARY = "library"  # a stand-in for a library saw its rules broken


@dataclass(frozen=True)
class Violation:
    """One thing a program did wrong, `count` times."""

    kind: ViolationKind
    text: str
    count: int


@dataclass(frozen=True)
class Live:
    """Objects that a program made since the last reset and holds.

    Attributes:
        device: Allocations of device memory, `device_bytes` large together.
        pinned: Allocations of page-locked memory.
        registered: Ranges of its own memory that it page-locked.
        memory: Each of them in words.
    """

    streams: int
    events: int
    graphs: int
    executables: int
    modules: int
    device: int
    device_bytes: int
    pinned: int
    pinned_bytes: int
    registered: int
    registered_bytes: int
    memory: tuple[str, ...]

    @property
    def objects(self) -> int:
        """Number of objects; 0 when a program has freed everything."""
        kinds = (self.streams, self.events, self.graphs, self.executables, self.modules)
        return sum(kinds) + self.device + self.pinned + self.registered


@dataclass(frozen=True)
class Report:
    """Events since the last reset.

    Attributes:
        violations: Rule violations of the program.
        live: Objects that the program has not freed.
        executed: Operations that ran, by name, such as "cuMemcpyDtoHAsync".
    """

    violations: tuple[Violation, ...]
    live: Live
    executed: dict[str, int]

    @property
    def kinds(self) -> set[ViolationKind]:
        """Kinds of violation that occurred."""
        return {violation.kind for violation in self.violations}


class _Access(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("writes", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


KERNEL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class _Launch:
    """One enqueued kernel, or a captured one."""

    kernel: Callable[[], None]
    is_captured: bool


# Of the whole process, as the driver is: what is enqueued outlives whoever enqueued it.
_launches: dict[int, _Launch] = {}
_numbers = itertools.count(1)


@KERNEL
def _play(number: int) -> int:
    launch = _launches.get(number)
    if launch is None:
        return CudaResult.ILLEGAL_ADDRESS
    if not launch.is_captured:
        del _launches[number]
    try:
        launch.kernel()
    except Exception:  # noqa: BLE001 - whatever it is, the driver is told, as of a kernel that fails
        traceback.print_exc()
        return CudaResult.LAUNCH_FAILED
    return CudaResult.SUCCESS


class Simulator:
    """The loaded driver, a `KernelDriver`. `pycuda.driver` can be imported once it exists.

    Attributes:
        library: Shared library, for calling the driver's own entry points.
    """

    def __init__(self, layout: Layout) -> None:
        if not layout.is_ready:
            raise FileNotFoundError(
                f"{layout.library} or pycuda in {layout.site} is not built: run `make cuda-sim`"
            )
        self.library = ctypes.CDLL(str(layout.library), mode=ctypes.RTLD_GLOBAL)
        if str(layout.site) not in sys.path:
            sys.path.insert(0, str(layout.site))
        number, text = ctypes.c_uint64, ctypes.c_char_p
        self._declare("cudasim_reset", number)
        self._declare("cudasim_set_delay", number, number, ctypes.c_uint)
        self._declare("cudasim_set_hold", number)
        self._declare("cudasim_set_memory", number)
        self._declare("cudasim_set_integrated", ctypes.c_int)
        self._declare("cudasim_fail_call", text, number, ctypes.c_int, ctypes.c_int)
        self._declare("cudasim_fail_operation", number, ctypes.c_int)
        self._declare("cudasim_lose_device", ctypes.c_int)
        self._declare("cudasim_hang", ctypes.c_int)
        self._declare("cudasim_violation", text, text)
        self.library.cudasim_report.restype = text
        self.library.cudasim_launch_kernel.restype = ctypes.c_int

    def _declare(self, name: str, *arguments: object) -> None:
        function = getattr(self.library, name)
        function.argtypes = arguments
        function.restype = None

    def reset(self, seed: int = 0) -> None:
        """Start anew: nothing reported or injected, delays up to 0.1 ms, work held for 0.25 s.

        What was made before goes on working and is no longer reported on.
        """
        self.library.cudasim_reset(seed)

    def set_delay(self, min_us: int, max_us: int, *, starvation: int = 8) -> None:
        """Wait that long before each operation, at random.

        A starved stream waits `starvation` times as long; about half of them are, others every
        64 operations.
        """
        self.library.cudasim_set_delay(min_us, max_us, starvation)

    def set_hold(self, hold_us: int) -> None:
        """Keep work back that long unless the host waits for it; asking is not waiting."""
        self.library.cudasim_set_hold(hold_us)

    def run_freely(self) -> None:
        """Neither delay nor hold: as fast as it goes."""
        self.set_delay(0, 0)
        self.set_hold(0)

    def set_memory(self, size_bytes: int) -> None:
        """Set how much memory the device has."""
        self.library.cudasim_set_memory(size_bytes)

    def set_integrated(self, *, integrated: bool) -> None:
        """Set whether the device shares the host's memory; a reset makes it what it was at first.

        That is what the environment's CUDASIM_INTEGRATED says, else a device with its own memory.
        """
        self.library.cudasim_set_integrated(int(integrated))

    def fail_call(
        self, name: str, result: CudaResult, *, nth: int = 1, repeats: bool = False
    ) -> None:
        """Make the nth next call of an entry point fail, such as "cuMemAlloc"; once, or from it on.

        "cuLaunchKernel" is what an execution of the stand-in TensorRT calls.
        """
        self.library.cudasim_fail_call(name.encode(), nth, result, int(repeats))

    def fail_operation(
        self, result: CudaResult = CudaResult.LAUNCH_FAILED, *, nth: int = 1
    ) -> None:
        """Make the nth next copy, fill or kernel fail when it runs; its context is dead then."""
        self.library.cudasim_fail_operation(nth, result)

    def lose_device(self, result: CudaResult = CudaResult.DEVICE_UNAVAILABLE) -> None:
        """Make the device vanish; SUCCESS brings it back, its contexts dead."""
        self.library.cudasim_lose_device(result)

    def hang(self, *, hangs: bool = True) -> None:
        """Stop all streams, or let them go on."""
        self.library.cudasim_hang(int(hangs))

    def violation(self, text: str) -> None:
        """Report something that a stand-in for a library saw."""
        self.library.cudasim_violation(ViolationKind.LIBRARY.encode(), text.encode())

    def report(self) -> Report:
        """Return what happened since the last reset."""
        found = json.loads(self.library.cudasim_report().decode())
        live = found["live"]
        return Report(
            violations=tuple(
                Violation(ViolationKind(violation["kind"]), violation["text"], violation["count"])
                for violation in found["violations"]
            ),
            live=Live(**(live | {"memory": tuple(live["memory"])})),
            executed=found["executed"],
        )

    def launch_kernel(
        self,
        stream_handle: int,
        name: str,
        kernel: Callable[[int], int],
        user_data: int,
        accesses: Sequence[Access],
    ) -> CudaResult:
        """Enqueue, or capture, host code that plays a kernel.

        Args:
            stream_handle: Handle of the stream.
            name: Name of the kernel in reports.
            kernel: A `KERNEL` that outlives the work; it returns a CudaResult, and any but SUCCESS
                kills the context.
            user_data: Argument of the kernel, not 0.
            accesses: The memory it works on.
        """
        array = (_Access * len(accesses))(
            *(_Access(a.address, a.size_bytes, int(a.writes), 0) for a in accesses)
        )
        return CudaResult(
            self.library.cudasim_launch_kernel(
                ctypes.c_void_p(stream_handle),
                name.encode(),
                kernel,
                ctypes.c_void_p(user_data),
                array,
                ctypes.c_size_t(len(accesses)),
            )
        )

    def play(
        self,
        stream_handle: int,
        name: str,
        kernel: Callable[[], None],
        accesses: Sequence[Access],
    ) -> str | None:
        """Enqueue, or capture, host code that plays a kernel; return why it was refused, or None.

        An exception in it is a failed launch.
        """
        number = next(_numbers)
        _launches[number] = _Launch(kernel, self.is_capturing(stream_handle))
        result = self.launch_kernel(stream_handle, name, _play, number, accesses)
        if result == CudaResult.SUCCESS:
            return None
        del _launches[number]
        return result.name

    def has_context(self) -> bool:
        """Whether a context is current on this thread."""
        current = ctypes.c_void_p()
        self.library.cuCtxGetCurrent(ctypes.byref(current))
        return bool(current.value)

    def is_capturing(self, stream_handle: int) -> bool:
        """Whether a stream records rather than runs."""
        status = ctypes.c_int()
        self.library.cuStreamIsCapturing(ctypes.c_void_p(stream_handle), ctypes.byref(status))
        return status.value != 0

    def device_array(self, address: int, shape: Sequence[int]) -> NDArray[np.float32]:
        """Return device memory as an array, to be read and written by a running kernel alone."""
        memory = (ctypes.c_float * prod(shape)).from_address(address)
        return np.ctypeslib.as_array(memory).reshape(shape)


@cache
def load() -> Simulator:
    """Load the driver into this process, for good.

    Raises:
        FileNotFoundError: It was not built.
    """
    return Simulator(Layout.here())
