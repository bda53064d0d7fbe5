"""Place that is looked at: this machine, or a recorded one in a test."""

from __future__ import annotations

import ctypes
import resource
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fasdk_tools.doctor.child import Answer, ask
from fasdk_tools.profiling.machine.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_AT_ONCE = 3
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized
_TIMEX_BYTES = 512  # a zeroed struct timex asks and sets nothing


class Ask(Protocol):
    """Way to put a question to a process of its own; see `child.ask`."""

    def __call__(
        self,
        probe: str,
        question: Mapping[str, object],
        limit_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer."""


def is_clock_synchronized() -> bool | None:
    """Return whether the kernel's clock is kept by a time service; None where it does not say."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)


def core_limit() -> int:
    """Return the largest core dump that a process started here may leave, -1 for any size."""
    return int(resource.getrlimit(resource.RLIMIT_CORE)[0])


@dataclass(frozen=True)
class Place:
    """What the checks look at, and by which means.

    Attributes:
        root: Folder of a recorded machine with proc, sys and etc; None for this machine.
        now_s: Time of day in seconds since 1970.
        is_synchronized: Whether a time service keeps the clock; None where that is not known.
        core_limit: Largest core dump of a new process, in bytes; -1 for any size.
        child: Puts a question to a process of its own.
    """

    root: Path | None = None
    now_s: Callable[[], float] = time.time
    is_synchronized: Callable[[], bool | None] = is_clock_synchronized
    core_limit: Callable[[], int] = core_limit
    child: Ask = ask
    _turns: threading.Semaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_AT_ONCE), repr=False
    )

    @property
    def files(self) -> SystemFiles:
        """Small files of the machine."""
        return SystemFiles(self.root or Path("/"))

    def ask(
        self,
        probe: str,
        question: Mapping[str, object],
        limit_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """Put a question to a process of its own, a few at a time; see `child.ask`."""
        with self._turns:
            return self.child(probe, question, limit_s, environment)


@dataclass(frozen=True)
class Request:
    """What is to be looked at besides the machine.

    Attributes:
        bundle: Bundle that is to run here, or None.
        cameras: Specifications of cameras that are to be read.
        backend: Backend that is to run the bundle; None as `fasdk.open` chooses.
        keys: Files of the public keys to trust instead of the machine's.
        unsigned: Whether no signature is asked for.
        allow: Changes against the bundle taken before that are intended.
    """

    bundle: Path | None = None
    cameras: tuple[str, ...] = ()
    backend: str | None = None
    keys: tuple[Path, ...] = ()
    unsigned: bool = False
    allow: tuple[str, ...] = ()
