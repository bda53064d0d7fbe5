"""Command line of fasdk: one function a verb, with imports inside it.

Exit status: 0 done (`check`: only for LIVE), 1 the answer is no, 2 wrong usage or input.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import typer

from fasdk.errors import FasdkError
from fasdk.extras import missing_package

# Importing a module of verbs is what adds them to the root command, in the order of `--help`.
from fasdk_tools.cli import (  # noqa: F401
    accept,
    attempts,
    audit,
    build,
    build_plan,
    bundle,
    commission,
    convert_clip,
    data,
    dataset,
    dataset_lists,
    debug_parity,
    describe,
    doctor,
    evaluate,
    metrics,
    models,
    plan_latency,
    profile,
    protocols,
    record,
    report,
    serve,
    soak,
    train,
    trust,
    tune,
    unpack,
)
from fasdk_tools.cli import run as run_verb  # noqa: F401 - the entry point below is `run`
from fasdk_tools.cli.root import EXIT_INTERRUPTED, EXIT_USAGE, app
from fasdk_tools.terminal.output import STDERR, log_to_stderr, print_json_line

# Typer brings click with it or depends on it, by release; its public errors lead to either.
_CommandLineError: Any = typer.BadParameter.__base__


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; wrong input is one line on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    asked_for_json = "--json" in words
    log_to_stderr()
    try:
        status = app(args=words or ["--help"], prog_name="fasdk", standalone_mode=False)
    except _CommandLineError as error:
        message = error.format_message()
    except typer.Exit as error:
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        STDERR.print("fasdk: interrupted")
        return EXIT_INTERRUPTED
    except FasdkError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'input or output'}: {error.strerror or error}"
        _leave_stdout()
    except ImportError as error:
        found = missing_package(error, "this command")
        if found is None:
            raise
        message = str(found)
    except Exception as error:
        if os.environ.get("FASDK_DEBUG"):
            raise
        message = (
            f"unexpected {type(error).__name__}: {error}; set FASDK_DEBUG=1 for where it happened"
        )
    else:
        if status == EXIT_INTERRUPTED:  # Typer returns it for Ctrl-C
            STDERR.print("fasdk: interrupted")
        return status if isinstance(status, int) else 0
    line = " ".join(message.split())
    STDERR.print(f"fasdk: {line}", markup=False, soft_wrap=True)
    if asked_for_json:
        with suppress(OSError):  # stdout may be what cannot be written
            print_json_line({"error": line})  # one document, and a line where lines are expected
    return EXIT_USAGE


def _leave_stdout() -> None:
    """Drop what is held for a stdout that takes nothing, such as on a full disk.

    It would fail again when the process ends.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> None:
    """Entry point of the `fasdk` script."""
    status = main()
    try:
        sys.stdout.flush()  # not when the process ends, which would print a traceback
    except OSError as error:
        _leave_stdout()
        STDERR.print(f"fasdk: standard output: {error.strerror}", markup=False, soft_wrap=True)
        status = EXIT_USAGE
    sys.exit(status)
