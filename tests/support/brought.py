"""What becomes of the files that people bring: one table for each kind.

    python -m support.brought KIND [--files N] [--out FILE]

Prints one JSON line with counts and the rows that are not right; `--out` keeps every row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """Outcome of one form.

    Attributes:
        form: Name of the form.
        outcome: What became of it.
        right: Whether it was read right, or refused with a fix that works.
    """

    form: str
    outcome: str
    right: bool


def checkpoint_rows(folder: Path) -> list[Row]:
    """Return the outcome of every form of checkpoint."""
    from support.checkpoint_forms import form_rows

    return [Row(row.name, row.outcome, row.passed) for row in form_rows(folder)]


def score_file_rows(folder: Path) -> list[Row]:
    """Return the outcome of every form of score file."""
    from support.score_files import try_all_forms

    return [Row(row.name, row.outcome, row.ok) for row in try_all_forms(folder)]


def list_rows(folder: Path) -> list[Row]:
    """Return the outcome of every form of capture list."""
    from support.list_variants import list_rows as variants

    return [Row(row.name, row.outcome, row.passed) for row in variants(folder)]


def image_rows(folder: Path) -> list[Row]:
    """Return the outcome of every form of image file."""
    from support.image_variants import image_rows as variants

    return [Row(row.name, row.outcome, row.passed) for row in variants(folder)]


KINDS: dict[str, Callable[[Path], list[Row]]] = {
    "checkpoints": checkpoint_rows,
    "score files": score_file_rows,
    "capture lists": list_rows,
    "image files": image_rows,
}


def onnx_counts(files: int, folder: Path) -> dict[str, Any]:
    """Return how many generated ONNX files import right, after which fixes, and what failed."""
    from support.onnx_samples import try_files

    return asdict(try_files(files, folder))


def main() -> None:
    """Measure one kind and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=[*KINDS, "onnx"])
    parser.add_argument("--files", type=int, default=400, help="generated ONNX files to import")
    parser.add_argument("--out", type=Path, help="JSON file that keeps every row")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.kind == "onnx":
            print(json.dumps(onnx_counts(asked.files, Path(folder))))
            return
        rows = KINDS[asked.kind](Path(folder))
    if asked.out is not None:
        asked.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    wrong = [f"{row.form}: {row.outcome}" for row in rows if not row.right]
    print(json.dumps({"forms": len(rows), "right": len(rows) - len(wrong), "wrong": wrong}))


if __name__ == "__main__":
    main()
