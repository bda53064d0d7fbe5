"""Reading of hostile files in a process of its own, which says how long it took and in what memory.

Run as a program: `python -m support.bounded_reading READER FILE...`; a line of JSON for each file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.trust import TrustPolicy
from fasdk.capture import Modality
from fasdk.errors import FasdkError
from fasdk.frames import read_frame
from fasdk.lists.text import read_text
from fasdk.registration import Rig

MOST_MB = 64
MOST_S = 10.0  # ten times what it may take where nothing else runs


def _read_scores(path: Path) -> object:
    from fasdk_calibration.metrics.score_table import read_table

    return read_table(path)


def _read_checkpoint(path: Path) -> object:
    from fasdk_engines.checkpoints.content import read_content

    return read_content(path)


def _read_description(path: Path) -> object:
    from fasdk_engines.onnx_import.description import read_description

    return read_description(path)


READERS: dict[str, Callable[[Path], object]] = {
    "bundle": open_bundle,
    "color": lambda path: read_frame(path, Modality.RGB),
    "depth": lambda path: read_frame(path, Modality.DEPTH),
    "key": TrustPolicy.from_files,
    "list": read_text,
    "rig": Rig.load,
    "scores": _read_scores,
    "checkpoint": _read_checkpoint,
    "description": _read_description,
}


@dataclass(frozen=True)
class Reading:
    """What reading one file came to.

    Attributes:
        file: Name of the file.
        error: Name of the error's class; empty where the file was read.
        message: Message of the error.
        seconds: Time it took.
        grown_mb: Memory above that at the start, at most.
    """

    file: str
    error: str
    message: str
    seconds: float
    grown_mb: float


def readings(reader: str, files: Sequence[Path], *, warm: Path | None = None) -> list[Reading]:
    """Return what reading files in a process of its own came to.

    Args:
        reader: One of `READERS`.
        files: The files, read one after another.
        warm: A file that is read first, so that libraries are loaded by then.
    """
    words = [sys.executable, "-m", "support.bounded_reading", reader]
    words += [str(path) for path in ([warm] if warm else []) + list(files)]
    folder = Path(__file__).parents[1]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    found = [Reading(**json.loads(line)) for line in done.stdout.splitlines()]
    return found[1:] if warm else found


def require_bounded(found: Sequence[Reading], *words: str) -> None:
    """Check that every file was refused early, in little memory, by fasdk's own errors."""
    for reading in found:
        assert reading.error.endswith("Error"), reading
        assert any(word in reading.message for word in words), reading
        assert reading.seconds < MOST_S, reading
        assert reading.grown_mb < MOST_MB, reading


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def main(reader: str, files: Sequence[str]) -> None:
    """Read files and print what it came to."""
    for file in files:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        start_mb, start = _status("VmRSS"), time.perf_counter()
        error = message = ""
        try:
            READERS[reader](Path(file))
        except FasdkError as refused:
            error, message = type(refused).__name__, str(refused)
        except Exception as other:  # noqa: BLE001 - the test says which
            error, message = f"not fasdk's: {type(other).__name__}", repr(other)
        seconds = time.perf_counter() - start
        grown = max(_status("VmHWM") - start_mb, 0.0)
        print(json.dumps(vars(Reading(Path(file).name, error, message, seconds, grown))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
