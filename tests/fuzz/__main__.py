"""Fuzzing from the command line: `PYTHONPATH=tests python -m fuzz TARGET`.

Prints one JSON line. Inputs are mutated from seeds; `--guided` lets coverage choose them, with
atheris (`pip install -c constraints.txt -e '.[fuzz]'`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from fuzz.loop import PEAK_MB, fuzz


def main() -> int:
    """Fuzz one target, and return 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", nargs="?")
    parser.add_argument("--list", action="store_true", help="print the names of all targets")
    parser.add_argument("--names", action="store_true", help="the same, a line each")
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for inputs that fail")
    parser.add_argument(
        "--record", type=Path, help="folder of what was run before, which is continued"
    )
    parser.add_argument("--source", action="store_true", help="print the digest of its source")
    parser.add_argument("--guided", action="store_true", help="let coverage choose, with atheris")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.names:
        from fuzz.registry import TARGETS

        print("\n".join(TARGETS))
        return 0
    if options.list or options.target is None:
        from fuzz.registry import TARGETS

        print(json.dumps({"targets": list(TARGETS)}))
        return 0
    if options.worker is not None:
        _work(options)
        return 0
    if options.source:
        from fuzz.loop import require_sound
        from fuzz.record import source_digest
        from fuzz.registry import TARGETS

        target = TARGETS[options.target]
        require_sound(target.prepare(), list(target.seeds()))
        print(source_digest(target))
        return 0
    if options.guided:
        return _guided(options)
    report = fuzz(
        options.target,
        options.executions,
        seed=options.seed,
        seconds=options.seconds,
        keep=options.keep,
        record=options.record,
    )
    print(report.to_json())
    return 1 if report.failures else 0


def _work(options: argparse.Namespace) -> None:
    from fuzz.loop import work
    from fuzz.registry import TARGETS

    work(
        TARGETS[options.target],
        options.worker,
        seed=options.seed,
        start=options.start,
        executions=options.executions,
        seconds=options.seconds,
        keep=options.keep,
    )


def _guided(options: argparse.Namespace) -> int:
    """Run under libFuzzer in a process that may die, and print what it reported."""
    from fuzz.guided import work_guided
    from fuzz.registry import TARGETS
    from fuzz.scratch import remove_abandoned

    keep: Path = options.keep or Path("tests/output/fuzz")
    keep.mkdir(parents=True, exist_ok=True)
    report = keep / f"{options.target}.json"
    if options.start == 0 and sys.argv[-1] != "--start=1":
        report.unlink(missing_ok=True)
        ended = subprocess.run(
            [sys.executable, "-m", "fuzz", *sys.argv[1:], "--start=1"], check=False
        )
        remove_abandoned()  # libFuzzer ends its process without cleaning up
        print(report.read_text() if report.exists() else json.dumps({"target": options.target}))
        return ended.returncode
    work_guided(
        TARGETS[options.target],
        executions=options.executions,
        seed=options.seed,
        seconds=options.seconds,
        keep=keep,
        peak_mb=PEAK_MB,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
