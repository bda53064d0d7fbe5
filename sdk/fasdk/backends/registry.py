"""Backends by name, and the factory that opens one of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from fasdk.backends.engine import Backend, Preprocessing
from fasdk.backends.specs import BACKENDS, BackendSpec, EngineOptions, Opener, spec_of
from fasdk.errors import BackendError, UsageError
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from fasdk.backends.engine import Engine
    from fasdk.backends.plan_options import PlanOptions
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

    found = {spec.backend: find_spec(spec.module) for spec in BACKENDS}
    # A folder of that name on the path is a package without an origin, not the library.
    return tuple(b for b, spec in found.items() if spec is not None and spec.origin is not None)


def require_installed(backend: Backend | str) -> None:
    """Check that a backend's package is installed.

    Raises:
        BackendError: It is not; the message lists those that are and how to install this one.
        UsageError: There is no backend of that name.
    """
    backend = as_choice("backend", backend, Backend)
    installed = installed_backends()
    if backend not in installed:
        raise BackendError(
            f"backend {backend.value} is not installed; installed here: "
            f"{', '.join(b.value for b in installed) or 'none'}; "
            f"to install it: {spec_of(backend).install}"
        )


def open_engine(
    bundle: Bundle,
    backend: Backend | str | None = None,
    *,
    threads: int = 0,
    progress: Progress | None = None,
    cuda_graphs: bool = True,
    device_times: bool = False,
    preprocess: Preprocessing | str = Preprocessing.AUTO,
    plan: PlanOptions | None = None,
) -> Engine:
    """Load a verified bundle's graph on one backend.

    `None` takes TensorRT where it is installed and ONNX Runtime elsewhere; once chosen, a backend
    that fails raises and nothing else is tried.

    Args:
        bundle: A bundle whose digests were checked.
        backend: Backend to open, or None to choose.
        threads: CPU threads of a backend that runs on the CPU; 0 takes one per core.
        progress: Receives the phases of a TensorRT plan's build, where one is needed.
        cuda_graphs: Whether TensorRT's lanes replay recorded graphs; else each call is enqueued.
        device_times: Whether TensorRT's lanes time upload, engine and download on the device.
        preprocess: Where the tensors of captures are made.
        plan: How a TensorRT plan must have been built; None takes one however it was built, and
            builds by the defaults.

    Raises:
        BackendError: The backend is not installed or refuses the graph, or cannot preprocess on
            the device and was asked to.
        UsageError: There is no backend of that name, no such place to preprocess, it builds no plan
            and `plan` is given, or `threads` is out of its range.
    """
    if backend is not None:
        backend = as_choice("backend", backend, Backend)
    else:
        candidates = [b for b in installed_backends() if spec_of(b).automatic]
        if not candidates:
            ways = [f"{s.backend.value}: {s.install}" for s in BACKENDS if s.automatic]
            raise BackendError(f"no backend is installed; {'; '.join(ways)}")
        backend = candidates[0]
    require_installed(backend)
    spec = spec_of(backend)
    if plan is not None and not spec.builds_plans:
        raise UsageError(
            f"backend {backend.value} builds no plan: leave the options of a plan out, or choose "
            f"{' or '.join(row.backend.value for row in BACKENDS if row.builds_plans)}"
        )
    preprocess = as_choice("preprocess", preprocess, Preprocessing)
    if preprocess is Preprocessing.DEVICE and not spec.preprocesses:
        raise BackendError(
            f"backend {backend.value} preprocesses on the host alone: ask for preprocess='auto', "
            "or for a backend with TensorRT"
        )
    options = EngineOptions(threads, progress, cuda_graphs, device_times, preprocess, plan)
    return _opener_of(spec)(bundle, options)


def _opener_of(spec: BackendSpec) -> Opener:
    module, _, function = spec.opener.partition(":")
    try:
        return cast("Opener", getattr(import_module(f"fasdk.backends.{module}"), function))
    except (ImportError, OSError) as error:
        raise BackendError(
            f"cannot import {spec.module} for backend {spec.backend.value} ({error}): "
            f"{spec.install}"
        ) from error
