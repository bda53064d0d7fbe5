"""Table of backend specifications, and the factory that opens one of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from fasdk.backends.engine import Backend
from fasdk.errors import BackendError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fasdk.backends.engine import Engine
    from fasdk.bundle.bundle import Bundle
    from fasdk.progress import Progress


@dataclass(frozen=True)
class EngineOptions:
    """Settings of an engine; each backend reads those that concern it.

    Attributes:
        threads: CPU threads of a backend that runs on the CPU; 0 takes one per core.
        progress: Receives the phases of a plan's build, where one is needed; None logs them.
        cuda_graphs: Whether TensorRT's lanes replay recorded graphs instead of enqueueing anew.
    """

    threads: int = 0
    progress: Progress | None = None
    cuda_graphs: bool = True


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
        opener: "module:function" of its `Opener`, imported when an engine is opened.
        install: Instruction for installing the library, for error messages.
        builds_plans: Whether it compiles a plan for one kind of GPU; else it runs the graph as is.
        cross_builds: Whether its plans can be built for other GPUs than this machine's, and so
            travel in a bundle.
        automatic: Whether it may be chosen when the caller names none.
    """

    backend: Backend
    module: str
    opener: str
    install: str
    builds_plans: bool = False
    cross_builds: bool = False
    automatic: bool = False


# In order of preference.
BACKENDS = (
    BackendSpec(
        backend=Backend.TENSORRT,
        module="tensorrt",
        opener="fasdk.backends.tensorrt.opening:open_tensorrt",
        install="it comes with JetPack, or with `pip install tensorrt` on a workstation",
        builds_plans=True,
        automatic=True,
    ),
    # Asked for by name: its wheel is also the workstation's builder.
    BackendSpec(
        backend=Backend.TENSORRT_RTX,
        module="tensorrt_rtx",
        opener="fasdk.backends.tensorrt.opening:open_tensorrt_rtx",
        install="`pip install fasdk[rtx]`",
        builds_plans=True,
        cross_builds=True,
    ),
    BackendSpec(
        backend=Backend.ONNXRUNTIME,
        module="onnxruntime",
        opener="fasdk.backends.onnxruntime:open_onnxruntime",
        install="`pip install onnxruntime`",
        automatic=True,
    ),
    # Asked for by name: golden logits and thresholds were measured with ONNX Runtime.
    BackendSpec(
        backend=Backend.OPENVINO,
        module="openvino",
        opener="fasdk.backends.openvino:open_openvino",
        install="`pip install fasdk[openvino]`",
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


def parse_backend(name: str) -> Backend | None:
    """Return the backend called `name`, or None for `auto`.

    Raises:
        UsageError: There is no such backend.
    """
    if name == "auto":
        return None
    try:
        return Backend(name)
    except ValueError:
        known = ", ".join(["auto", *(b.value for b in Backend)])
        raise UsageError(f"unknown backend {name!r}: choose one of {known}") from None


def installed_backends() -> tuple[Backend, ...]:
    """Return the backends whose package is installed here, best first, importing none of them."""
    from importlib.util import find_spec

    found = {spec.backend: find_spec(spec.module) for spec in BACKENDS}
    # A folder of that name on the path is a package without an origin, not the library.
    return tuple(b for b, spec in found.items() if spec is not None and spec.origin is not None)


def require_installed(backend: Backend) -> None:
    """Check that a backend's package is installed.

    Raises:
        BackendError: It is not; says which backends are and how to install this one.
    """
    installed = installed_backends()
    if backend not in installed:
        raise BackendError(
            f"backend {backend.value} is not installed; installed here: "
            f"{', '.join(b.value for b in installed) or 'none'}; "
            f"to install it: {spec_of(backend).install}"
        )


def open_engine(
    bundle: Bundle,
    backend: Backend | None = None,
    *,
    threads: int = 0,
    progress: Progress | None = None,
    cuda_graphs: bool = True,
) -> Engine:
    """Load a verified bundle's graph on one backend.

    `None` takes TensorRT where it is installed and ONNX Runtime elsewhere; once chosen, a backend
    that fails raises and nothing else is tried.

    Args:
        bundle: A bundle whose digests were checked.
        backend: Backend to open, or None to choose.
        threads: CPU threads of a backend that runs on the CPU; 0 takes one per core.
        progress: Receives the phases of a TensorRT plan's build, where one is needed.
        cuda_graphs: Whether TensorRT's lanes replay recorded graphs instead of enqueueing anew.

    Raises:
        BackendError: The backend is not installed or refuses the graph.
    """
    if backend is None:
        candidates = [b for b in installed_backends() if spec_of(b).automatic]
        if not candidates:
            names = " or ".join(spec.module for spec in BACKENDS if spec.automatic)
            raise BackendError(f"no backend is installed: install {names}")
        backend = candidates[0]
    require_installed(backend)
    return _opener_of(spec_of(backend))(bundle, EngineOptions(threads, progress, cuda_graphs))


def _opener_of(spec: BackendSpec) -> Opener:
    module, _, function = spec.opener.partition(":")
    try:
        return cast("Opener", getattr(import_module(module), function))
    except (ImportError, OSError) as error:
        raise BackendError(
            f"cannot import {spec.module} for backend {spec.backend.value} ({error}): "
            f"{spec.install}"
        ) from error
