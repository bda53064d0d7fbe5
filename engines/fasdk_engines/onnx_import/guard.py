"""Work on another party's ONNX file in a child process, whose crash is an error of the file."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import pickle
import resource
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from fasdk.errors import ExportError, FasdkError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_T = TypeVar("_T")

_MEMORY_BYTES = 3 * 2**30
# Copies of a model that an import holds at once: as read, converted, deployed, and in sessions.
_COPIES = 10
_CPU_SECONDS = 1800
_CHUNK_BYTES = 2**20
# A child keeps the locks that other threads held as it began, and may wait for one for ever. One
# that is stopped so long without using a CPU is begun again.
_STALL_SECONDS = 20
_ATTEMPTS = 3


def run_guarded(work: Callable[[], _T], name: str, model_bytes: int) -> _T:
    """Return what `work` returns, run in a child process of bounded memory and time.

    The libraries that read, convert and run a graph believe what it says of itself: extents that do
    not fit together end the process inside them, and a few bytes can ask for all memory.

    Args:
        work: Function whose answer can be pickled. What it changes in memory is lost.
        name: Name of the file in error messages.
        model_bytes: Size of the model with its weights.

    Raises:
        ExportError: The child crashed, ran out of its memory or time, stood still again and again,
            or raised what is no FasdkError.
        FasdkError: `work` raised it.
    """
    memory_bytes = _MEMORY_BYTES + _COPIES * model_bytes
    for _ in range(_ATTEMPTS):
        answer = _ask_child(work, name, memory_bytes)
        if answer is not None:
            break
    else:
        raise ExportError(
            f"{name}: the process that reads the graph stood still {_ATTEMPTS} times, for "
            f"{_STALL_SECONDS} s each: try again, in a program with fewer threads"
        )
    # The child is this very program, so its answer is as trusted as the rest of it.
    succeeded, result = pickle.loads(answer)  # noqa: S301
    if not succeeded:
        raise cast("FasdkError", result)
    return cast("_T", result)


def _ask_child(work: Callable[[], object], name: str, memory_bytes: int) -> bytes | None:
    """Return what a child answers, pickled; None where it stood still and was ended."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        _answer(work, name, sender, memory_bytes)
    os.close(sender)
    try:
        answer = _read_answer(receiver, child)
        if answer is None:
            os.kill(child, signal.SIGKILL)
    except BaseException:  # such as Ctrl-C
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(receiver)
    _, status = os.waitpid(child, 0)
    if answer is not None and os.waitstatus_to_exitcode(status) != 0:
        raise ExportError(f"{name}: {_cause(os.waitstatus_to_exitcode(status), memory_bytes)}")
    return answer


def _read_answer(receiver: int, child: int) -> bytes | None:
    """Return all that a child writes; None where it stands still."""
    chunks: list[bytes] = []
    poll = select.poll()
    poll.register(receiver, select.POLLIN)
    used, still_s = -1, 0
    while still_s < _STALL_SECONDS:
        if poll.poll(1000):
            chunk = os.read(receiver, _CHUNK_BYTES)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            still_s = 0
            continue
        now_used, is_waiting = _activity(child)
        still_s = still_s + 1 if is_waiting and now_used == used else 0
        used = now_used
    return None


def _activity(process: int) -> tuple[int, bool]:
    """Return the CPU time of a process in clock ticks, and whether its first thread sleeps."""
    try:
        text = Path(f"/proc/{process}/stat").read_text("ascii", "replace")
    except OSError:
        return 0, False
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), fields[0] == "S"


def _answer(work: Callable[[], _T], name: str, sender: int, memory_bytes: int) -> NoReturn:
    """Run the work in the child and send its answer or its error; never returns."""
    code = 1
    try:
        # Objects of the parent, such as sessions with threads that are not here, are never freed.
        gc.freeze()
        faulthandler.disable()
        nowhere = os.open(os.devnull, os.O_WRONLY)  # libraries write there before they abort
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        _limit(memory_bytes)
        work_alone()
        answer = answer_of(work, name, memory_bytes)
        try:
            data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        except MemoryError:
            data = pickle.dumps((False, ExportError(f"{name}: {_too_much(memory_bytes)}")))
        with os.fdopen(sender, "wb") as file:
            file.write(data)
        code = 0
    finally:
        os._exit(code)


def answer_of(
    work: Callable[[], object], name: str, memory_bytes: int = _MEMORY_BYTES
) -> tuple[bool, object]:
    """Return whether the work succeeded, with what it returned or the error that stands for it.

    Args:
        work: See `run_guarded`.
        name: Name of the file in error messages.
        memory_bytes: Memory that the work may take.
    """
    try:
        return True, work()
    except FasdkError as error:
        return False, error
    except MemoryError:
        return False, ExportError(f"{name}: {_too_much(memory_bytes)}")
    except RecursionError:
        return False, ExportError(f"{name}: its graphs are nested too deep")
    except Exception as error:  # noqa: BLE001 - whatever a damaged graph leads to
        return False, ExportError(f"{name}: {_unforeseen(error)}")


def work_alone() -> None:
    """Let torch compute in this thread alone: OpenMP waits for threads that no fork copies."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _limit(memory_bytes: int) -> None:
    """Bound this process: data beyond what it holds now, seconds on a CPU, no core file."""
    held = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text("ascii", "replace")
        held = 1024 * int(status.partition("VmData:")[2].split()[0])
    for kind, value in (
        (resource.RLIMIT_DATA, held + memory_bytes),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, hard))


def _unforeseen(error: Exception) -> str:
    """Return the message for an exception of a library or of a step that takes a graph as sound.

    Its own text speaks of that code's insides; its kind and place are for who mends the import.
    """
    frames = [
        (str(frame.f_globals.get("__name__", "")), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    module, line = [each for each in frames if each[0].startswith("fasdk")][-1]
    return (
        f"the graph cannot be processed: the import met something there that it "
        f"does not foresee ({type(error).__name__} at {module}:{line}); check the file with "
        "onnx.checker.check_model(PATH, full_check=True) and export it again; if the check finds "
        "nothing, the fault is the import's: report this line"
    )


def _too_much(memory_bytes: int) -> str:
    return (
        f"the graph needs more than {memory_bytes / 2**30:.0f} GiB of memory beside its weights: "
        "its extents are damaged or far larger than a face model's"
    )


def _cause(code: int, memory_bytes: int) -> str:
    if code == -signal.SIGXCPU:
        return f"the graph took more than {_CPU_SECONDS} s on a CPU: export a smaller one"
    if code == -signal.SIGKILL:
        return _too_much(memory_bytes)
    word = signal.Signals(-code).name if code < 0 else f"status {code}"
    return (
        f"the libraries that read the graph stopped ({word}): its extents do not fit together; "
        "check width and height in the description, or export the file again"
    )
