"""Questions put to a process of its own, which may crash or hang without harm to this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN = 300  # characters of what a child said last
_SECONDS_TO_DIE = 1.0
# The child finds modules where this process does, whatever its own start would give it.
_PROGRAM = (
    "import json, sys; asked = json.load(sys.stdin); sys.path[:] = asked['path']; "
    "from fasdk_tools.doctor.probes import answer; answer(asked)"
)


@dataclass(frozen=True)
class Answer:
    """What a child answered.

    Attributes:
        document: Its answer, or None where it gave none.
        trouble: Why it gave none: its signal, or what it said last.
        hung: Whether it was ended because it took too long.
    """

    document: Mapping[str, Any] | None
    trouble: str = ""
    hung: bool = False


def ask(
    probe: str,
    question: Mapping[str, object],
    limit_s: float,
    environment: Mapping[str, str] | None = None,
) -> Answer:
    """Put a question to a new process.

    The process writes no bytecode and leaves no core dump. One that cannot be killed, as while a
    driver keeps it in the kernel, is left behind.

    Args:
        probe: Name of a function of `fasdk_tools.doctor.probes`.
        question: Its arguments, as JSON.
        limit_s: Seconds that it may take.
        environment: Variables besides those of this process.
    """
    asked = json.dumps({"path": sys.path, "probe": probe, "question": dict(question)})
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter with a program of our own
            [sys.executable, *_flags(), "-B", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OPENCV_LOG_LEVEL": "SILENT"} | dict(environment or {}),
        )
    except OSError as error:
        return Answer(None, f"no process can be started: {error.strerror}")
    hung = False
    try:
        out, said = process.communicate(asked.encode(), timeout=limit_s)
    except subprocess.TimeoutExpired:
        hung = True
        process.kill()
        try:
            out, said = process.communicate(timeout=_SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            out = said = b""
            _leave(process)
    document = _document(out)
    if document is None and hung:
        return Answer(None, f"gave no answer within {limit_s:g} s", hung=True)
    if document is None:
        return Answer(None, _why(process.returncode, said))
    return Answer(document, hung=hung)


def _flags() -> list[str]:
    """Return the options of this interpreter that decide where it finds modules."""
    flags = []
    if sys.flags.isolated:
        flags.append("-I")
    if sys.flags.no_site:
        flags.append("-S")
    return flags


def _leave(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.returncode = -signal.SIGKILL  # it will end as soon as the kernel lets go of it


def _document(out: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(out)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _why(status: int, said: bytes) -> str:
    if status < 0:
        try:
            return f"crashed by {signal.Signals(-status).name}"
        except ValueError:
            return f"crashed by signal {-status}"
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_SHOWN] if lines else f"ended with status {status} and said nothing"
