"""Import of the TensorRT module of a backend, and the log of its messages."""

from __future__ import annotations

import logging
import re
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from traceback import clear_frames
from typing import TYPE_CHECKING, Protocol, cast

from fasdk.backends.specs import BACKENDS, spec_of
from fasdk.backends.tensorrt import api
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fasdk.backends.engine import Backend


class TensorRt(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`."""

    __version__: str
    ILogger: api.LoggerClass
    IProgressMonitor: api.MonitorClass
    IProfiler: api.ProfilerClass
    Builder: Callable[[api.ILogger], api.Builder | None]
    OnnxParser: Callable[[api.INetworkDefinition, api.ILogger], api.OnnxParser]
    Runtime: Callable[[api.ILogger], api.Runtime | None]
    DataType: api.DataTypeEnum
    ExecutionContextAllocationStrategy: api.ExecutionContextAllocationStrategyEnum
    LayerInformationFormat: api.LayerInformationFormatEnum
    ProfilingVerbosity: api.ProfilingVerbosityEnum
    TensorIOMode: api.TensorIOModeEnum
    MemoryPoolType: api.MemoryPoolTypeEnum
    NetworkDefinitionCreationFlag: api.NetworkDefinitionCreationFlagEnum


class RtxTensorRt(TensorRt, Protocol):
    """The module `tensorrt_rtx`, with what `tensorrt` lacks."""

    ComputeCapability: api.ComputeCapabilityEnum


_ERRORS_KEPT = 32
# What every call of a builder logs on a machine without a driver; it builds all the same.
_NO_DRIVER = re.compile(r"cudaError 35\b|CUDA driver version is insufficient")


@dataclass(frozen=True)
class NativeLog:
    """Messages of TensorRT at severity error or above, while `logger` was in use.

    Attributes:
        logger: The object TensorRT takes; it must outlive every object made with it.
        errors: The newest messages in order of arrival, until a summary reported them.
    """

    logger: api.ILogger
    errors: deque[str]

    def summary(self) -> str:
        """Return the errors since the last summary in one line, or that there were none."""
        errors: dict[str, None] = {}
        while self.errors:
            errors[self.errors.popleft()] = None
        return one_line("; ".join(errors)) or "it gave no reason"


def load_module(backend: Backend) -> TensorRt:
    """Return `tensorrt` or `tensorrt_rtx`.

    Raises:
        BackendError: The backend is not a TensorRT one, or its module is absent or cannot load its
            libraries.
    """
    spec = spec_of(backend)
    if not spec.builds_plans:
        names = " or ".join(row.backend.value for row in BACKENDS if row.builds_plans)
        raise BackendError(f"backend {backend.value} is not TensorRT: use {names}")
    name = spec.module
    try:
        module = import_module(name)
        # An installed stub package leaves a folder of that name that imports as an empty namespace.
        _ = module.__version__
    except (ImportError, OSError, AttributeError) as error:
        raise BackendError(
            f"cannot import {name} for backend {backend.value} ({error}): {spec.install}"
        ) from error
    return cast("TensorRt", module)


def open_log(trt: TensorRt, *, needs_driver: bool) -> NativeLog:
    """Return a logger for one builder or runtime.

    Warnings go to the `fasdk.tensorrt` logger, errors are kept.

    Args:
        trt: Imported TensorRT module.
        needs_driver: Whether a missing CUDA driver is an error; a builder works without one.
    """
    errors: deque[str] = deque(maxlen=_ERRORS_KEPT)
    forward = logging.getLogger("fasdk.tensorrt")

    class Logger(trt.ILogger):  # type: ignore[name-defined,misc]
        def log(self, severity: object, msg: str) -> None:
            if not needs_driver and _NO_DRIVER.search(msg):
                return
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                errors.append(msg)
            elif severity == trt.ILogger.Severity.WARNING:
                forward.warning("%s", msg)

    return NativeLog(Logger(), errors)


@contextmanager
def released_on_error() -> Iterator[None]:
    """Release TensorRT's objects in the frames an error leaves behind.

    Its traceback would keep them until the next garbage collection, which may be inside one of
    TensorRT's own callbacks: freeing a builder there waits for a lock its own thread holds.
    """
    try:
        yield
    except BaseException as error:
        clear_frames(error.__traceback__)
        raise


def without_driver_noise(text: str) -> str:
    """Return `text` without the lines a missing driver adds to a builder's errors."""
    return "\n".join(line for line in text.splitlines() if not _NO_DRIVER.search(line))


def one_line(text: str) -> str:
    """Return `text` without line breaks."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
