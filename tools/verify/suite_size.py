"""Number of tests by unit, against an earlier revision's."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from claims import Claim
from revision import RevisionError, SourceTree, current_tree, extract_revision

# Modules moved between engines and calibration and took their tests along.
UNITS: dict[str, tuple[str, ...]] = {
    "sdk": ("sdk",),
    "engines and calibration": ("engines", "calibration"),
    "tools": ("tools",),
    "simulated CUDA driver": ("cuda_sim",),
    "native code": ("native",),
    "TensorRT bindings": ("tensorrt_bindings",),
}
"""Folders of tests/ by the unit they test."""

SELECTIONS = {"all": "", "quick": "not slow and not gpu and not cuda_sim"}
"""Marker expressions by name: every test, and those of `make test`."""

_COUNT_LINE = re.compile(r"^tests/(?P<folder>[^/]+)/\S+: (?P<tests>\d+)$", re.MULTILINE)


def count_claims(revision: str) -> Iterator[Claim]:
    """No unit has fewer tests than an earlier revision, and no fewer are quick.

    Both are counted here and now: what pytest collects also depends on what the machine has, such
    as the libraries of a camera.
    """
    claim = f"revision {revision} is in this clone"
    with tempfile.TemporaryDirectory() as folder:
        new = current_tree(Path(folder))
        try:
            old = extract_revision(revision, Path(folder))
        except RevisionError as error:
            yield Claim(claim, None, "==", True, str(error))
            return
        yield Claim(claim, True, "==", True)
        for selection, markers in SELECTIONS.items():
            before, after = count_tests(old, markers), count_tests(new, markers)
            yield Claim(
                f"tests collected, {selection}; at least as many as at {revision}",
                after.total(),
                ">=",
                before.total(),
            )
            if selection == "all":
                yield from _unit_claims(revision, before, after)


def _unit_claims(revision: str, before: Counter[str], after: Counter[str]) -> Iterator[Claim]:
    for unit, folders in UNITS.items():
        yield Claim(
            f"tests collected, {unit}; at least as many as at {revision}",
            sum(after[folder] for folder in folders),
            ">=",
            sum(before[folder] for folder in folders),
        )


def count_tests(tree: SourceTree, markers: str) -> Counter[str]:
    """Return how many test cases pytest collects, by folder of tests/.

    Args:
        tree: The source tree whose tests are counted.
        markers: Marker expression of pytest's -m; empty for all.

    Raises:
        RevisionError: A test module cannot be imported.
    """
    listed = tree.python(
        # The last -m wins over the one in the configuration.
        *("-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-qq", "-m", markers),
    )
    counts: Counter[str] = Counter()
    for line in _COUNT_LINE.finditer(listed):
        counts[line["folder"]] += int(line["tests"])
    return counts
