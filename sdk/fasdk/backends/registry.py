"""Backends by name, imported only when one is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk.backends.engine import Backend
from fasdk.errors import BackendError, UsageError

if TYPE_CHECKING:
    from fasdk.backends.engine import Engine
    from fasdk.bundle.bundle import Bundle
    from fasdk.progress import Progress


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

    modules = {
        Backend.TENSORRT: "tensorrt",
        Backend.TENSORRT_RTX: "tensorrt_rtx",
        Backend.ONNXRUNTIME: "onnxruntime",
    }
    found = {b: find_spec(module) for b, module in modules.items()}
    # A folder of that name on the path is a package without an origin, not the library.
    return tuple(b for b, spec in found.items() if spec is not None and spec.origin is not None)


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
        backend: Which backend, or None to choose.
        threads: CPU threads for ONNX Runtime; 0 lets it take one per core.
        progress: Hears the phases of a TensorRT plan's build, where one is needed.
        cuda_graphs: Whether TensorRT's lanes replay recorded graphs instead of enqueueing anew.

    Raises:
        BackendError: The backend is not installed or refuses the graph.
    """
    installed = installed_backends()
    if backend is None:
        # TensorRT-RTX is asked for by name: its wheel is also the workstation's builder.
        candidates = [b for b in installed if b is not Backend.TENSORRT_RTX]
        if not candidates:
            raise BackendError("no backend is installed: install tensorrt or onnxruntime")
        backend = candidates[0]
    if backend not in installed:
        raise BackendError(
            f"backend {backend.value} is not installed; installed here: "
            f"{', '.join(b.value for b in installed) or 'none'}"
        )
    if backend is Backend.ONNXRUNTIME:
        from fasdk.backends.onnxruntime import OnnxRuntimeEngine
        from fasdk.bundle.manifest import Precision

        fused = bundle.manifest.precision is Precision.INT8_FP32
        return OnnxRuntimeEngine(bundle.graph, threads=threads, as_written=not fused)
    from fasdk.backends.tensorrt.opening import open_tensorrt_engine

    return open_tensorrt_engine(bundle, backend, progress=progress, graphs=cuda_graphs)
