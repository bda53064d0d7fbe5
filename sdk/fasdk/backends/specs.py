"""Table of backend specifications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from fasdk.backends.engine import Backend, Preprocessing
from fasdk.errors import UsageError
from fasdk.extras import how_to_install
from fasdk.settings import require_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fasdk.backends.engine import Engine
    from fasdk.backends.plan_options import PlanOptions
    from fasdk.bundle.bundle import Bundle
    from fasdk.progress import Progress


MOST_THREADS: Final = 1_000
"""Most threads of one kind that a process is asked for: a library may crash for want of more."""


@dataclass(frozen=True)
class EngineOptions:
    """Settings of an engine; each backend reads those that concern it.

    Attributes:
        threads: CPU threads of a backend that runs on the CPU; 0 takes one per core.
        progress: Receives the phases of a plan's build, where one is needed; None logs them.
        cuda_graphs: Whether TensorRT's lanes replay recorded graphs; else each call is enqueued.
        device_times: Whether TensorRT's lanes time upload, engine and download on the device.
        preprocess: Where the tensors of captures are made.
        plan: How a TensorRT plan must have been built; None takes one however it was built, and
            builds by the defaults.

    Raises:
        UsageError: `threads` is no whole number from 0 to `MOST_THREADS`.
    """

    threads: int = 0
    progress: Progress | None = None
    cuda_graphs: bool = True
    device_times: bool = False
    preprocess: Preprocessing = Preprocessing.AUTO
    plan: PlanOptions | None = None

    def __post_init__(self) -> None:
        """Check the number of threads."""
        require_whole("threads", self.threads, least=0)
        if self.threads > MOST_THREADS:
            raise UsageError(
                f"threads is {self.threads}, expected 0, for one a core, to {MOST_THREADS:,}"
            )


class Opener(Protocol):
    """Function of a backend's module that loads a verified bundle's graph."""

    def __call__(self, bundle: Bundle, options: EngineOptions, /) -> Engine:
        """Return a ready engine.

        Raises:
            BackendError: The backend's library is absent or refuses the graph.
        """
        ...


@dataclass(frozen=True)
class BackendSpec:
    """Facts about one backend that callers choose by.

    Attributes:
        backend: Name of the backend.
        module: Python module of the library it needs.
        opener: "module:function" of its `Opener`, the module below `fasdk.backends`, imported when
            an engine is opened.
        install: Instruction for installing the library, for error messages.
        builds_plans: Whether it compiles a plan for one kind of GPU; else it runs the graph as is.
        cross_builds: Whether its plans can be built for other GPUs than this machine's, and so
            travel in a bundle.
        automatic: Whether it may be chosen when the caller names none.
        preprocesses: Whether its lanes may make the tensors of captures on their device.
    """

    backend: Backend
    module: str
    opener: str
    install: str
    builds_plans: bool = False
    cross_builds: bool = False
    automatic: bool = False
    preprocesses: bool = False


# In order of preference.
BACKENDS = (
    BackendSpec(
        backend=Backend.TENSORRT,
        module="tensorrt",
        opener="tensorrt.opening:open_tensorrt",
        install="it comes with JetPack, or with `pip install tensorrt` on a workstation",
        builds_plans=True,
        automatic=True,
        preprocesses=True,
    ),
    # Never chosen automatically: its wheel is also the workstation's builder.
    BackendSpec(
        backend=Backend.TENSORRT_RTX,
        module="tensorrt_rtx",
        opener="tensorrt.opening:open_tensorrt_rtx",
        install=how_to_install("rtx"),
        builds_plans=True,
        cross_builds=True,
        preprocesses=True,
    ),
    BackendSpec(
        backend=Backend.ONNXRUNTIME,
        module="onnxruntime",
        opener="onnxruntime:open_onnxruntime",
        install=how_to_install("cpu"),
        automatic=True,
    ),
    # Never chosen automatically: golden logits and thresholds were measured with ONNX Runtime.
    BackendSpec(
        backend=Backend.OPENVINO,
        module="openvino",
        opener="openvino:open_openvino",
        install=how_to_install("openvino"),
    ),
)


def _by_backend(specs: Iterable[BackendSpec]) -> dict[Backend, BackendSpec]:
    """Return the specifications by backend, once each backend has exactly one that is whole.

    Raises:
        TypeError: A backend has no row or two, or a row names no opener.
    """
    found: dict[Backend, BackendSpec] = {}
    for spec in specs:
        if spec.backend in found:
            raise TypeError(f"backend {spec.backend.value} has two rows in BACKENDS: keep one")
        if not all(spec.opener.partition(":")):
            raise TypeError(
                f"backend {spec.backend.value} has opener {spec.opener!r}, "
                "expected 'module:function': name the function that opens an engine"
            )
        found[spec.backend] = spec
    absent = [backend.value for backend in Backend if backend not in found]
    if absent:
        raise TypeError(f"no row in BACKENDS for {', '.join(absent)}: add a BackendSpec")
    return found


_SPECS = _by_backend(BACKENDS)


def spec_of(backend: Backend) -> BackendSpec:
    """Return a backend's specification."""
    return _SPECS[backend]
