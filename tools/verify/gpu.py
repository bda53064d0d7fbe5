"""Claims about the device's half, measured: `make verify-gpu`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from claims import Claim, report
from measuring import bench_lines, pytest_claim

BASE_MB = 130.0
BASE = "."


def install_claims() -> Iterator[Claim]:
    """Sizes of a device's installs, and what works with the base alone."""
    for row in bench_lines("install_size.py"):
        largest = ", ".join(f"{name} {mb}" for name, mb in row["largest_mb"].items())
        claim = f"`{row['install']}`, {row['machine']}, Python {row['python']}"
        note = f"{row['packages']} packages, MB without bytecode: {largest}"
        if row["install"] == BASE:
            whole = row["with_bytecode_mb"]
            yield Claim(f"{claim}: MB with bytecode", whole, "<=", BASE_MB, note)
        else:
            note = f"{row['with_bytecode_mb']} MB with bytecode; {note}"
            needs = "cpu" in row["install"]
            yield Claim(f"{claim}: ONNX Runtime", row["has_onnxruntime"], "==", needs, note)
    yield pytest_claim(
        "base install, stand-in TensorRT, the extra each verb names: tests that fail or skip",
        *("tests/tools/test_missing_packages.py", "-m", "not gpu and not cuda_sim"),
    )


GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {"install": install_claims}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS))
    asked = parser.parse_args().only
    return report({name: each for name, each in GROUPS.items() if asked in (None, name)})


if __name__ == "__main__":
    sys.exit(main())
