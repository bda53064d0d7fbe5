"""What each part of a method does: the table of docs/results, from the trainings to the page.

    python tools/bench/parts.py -o .parts --processes 2

trains tiny models on synthetic domains, one part of a method more a row, and tests each on clean
targets and on such with degraded depth, infrared and both: 112 trainings, about an hour and a half
on two idle cores. It goes on where it was stopped or killed, says after each training how long the
rest will take, and writes parts.json and parts.md into the folder, with `--record` into
docs/results too. `--processes` starts that many processes, which share the trainings; the same
command started again on the same folder joins them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError
from fasdk_tools.protocols.parts import PARTS, PartsSettings, run_parts
from fasdk_tools.protocols.parts_table import parts_document, parts_page

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing and write the table."""
    usual = PartsSettings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path(".parts"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--row", action="append", choices=[part.name for part in PARTS])
    parser.add_argument("--split", action="append", help="such as CPS->W")
    parser.add_argument("--seeds", type=int, default=len(usual.seeds))
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--record", action="store_true", help="write into docs/results too")
    for name in ("epochs", "train", "development", "test"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name))
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = parser.parse_args(given)
    settings = PartsSettings(
        parts=tuple(asked.row or usual.parts),
        splits=tuple(asked.split or usual.splits),
        seeds=tuple(range(asked.seeds)),
        rates=tuple(asked.rate or usual.rates),
        epochs=asked.epochs,
        train=asked.train,
        development=asked.development,
        test=asked.test,
    )
    command = [sys.executable, __file__, *given, "--processes", "1"]
    with ExitStack() as stack:
        for _ in range(asked.processes - 1):
            # What stops a helper stops this process too, and is said once.
            helper = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(helper.wait)
            stack.callback(helper.terminate)  # what it has in hand is not needed any more
        try:
            cells = run_parts(asked.out, settings, _say, processes=asked.processes)
        except FasdkError as error:
            print(error, file=sys.stderr)
            return 2
    document = parts_document(cells, settings, " ".join(["python tools/bench/parts.py", *given]))
    page = parts_page(document)
    for folder in (asked.out, *((RESULTS,) if asked.record else ())):
        for name, text in (
            ("parts.json", json.dumps(document, indent=1) + "\n"),
            ("parts.md", page),
        ):
            with atomic_write(folder / name) as file:
                file.write(text.encode())
    print(page)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
