"""NVTX ranges of the stages of a check, for NVIDIA Nsight Systems."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fasdk.telemetry import Stage

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_DOMAIN = "fasdk"


@cache
def nvtx_ranges() -> dict[Stage, AbstractContextManager[object]]:
    """Return a context manager by stage, which any number of threads may enter at once.

    Each marks a range of its thread in NVTX's domain "fasdk"; without the package `nvtx`, or where
    it cannot be loaded, it does nothing.
    """
    try:
        domain = import_module("nvtx").get_domain(_DOMAIN)
        return {
            stage: _Range(domain, domain.get_event_attributes(message=stage.value))
            for stage in Stage
        }
    except Exception:  # noqa: BLE001 - a tool for profiling must not keep a session from opening
        return dict.fromkeys(Stage, nullcontext())


class _Range:
    """Context manager of one range; it keeps nothing of the thread that enters it."""

    __slots__ = ("_attributes", "_domain")

    def __init__(self, domain: Any, attributes: Any) -> None:
        self._domain = domain
        self._attributes = attributes

    def __enter__(self) -> None:
        self._domain.push_range(self._attributes)

    def __exit__(self, *_: object) -> None:
        self._domain.pop_range()
