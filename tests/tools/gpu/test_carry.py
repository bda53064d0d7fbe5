"""Parts that carry packages to a machine without a network, and their installation there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CARRY = Path(__file__).parents[3] / "tools" / "gpu" / "carry.sh"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MIB = 2**20


def carry(folder, *words):
    return subprocess.run(
        [CARRY, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"FASDK_BIN": str(Path(sys.executable).parent)},
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--python", "3"], "--python is 3, expected a version such as 3.12"),
        (["--machine", "riscv64"], "--machine is riscv64, expected x86_64 or aarch64"),
        (["--part-mib", "51"], "--part-mib is 51, expected 1 to 50"),
        (["--out"], "--out needs a value"),
        (["--tourch"], "no option --tourch: see --help"),
        (["--out", "."], ". exists: remove it, or give another --out"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(words, message, tmp_path):
    ran = carry(tmp_path, *words)
    assert (ran.returncode, ran.stderr) == (2, f"carry.sh: {message}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_parts_install_in_a_fresh_environment_without_a_network(tmp_path):
    out, venv = tmp_path / "parts", tmp_path / "venv"
    words = ["--python", PYTHON, "--out", str(out), "--part-mib", "1", "pydantic", "torch"]
    ran = carry(tmp_path, *words)
    assert ran.returncode == 0, ran.stderr
    parts = sorted(out.glob("wheels.tar.*"))
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) <= MIB

    def install(*options):
        # Neither an index nor a folder that the machine's own pip is told of.
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        base = Path(getattr(sys, "_base_executable", sys.executable)).parent
        return subprocess.run(
            [out / "install.sh", *options],
            capture_output=True,
            text=True,
            check=False,
            env=alone | {"PIP_CONFIG_FILE": os.devnull, "PATH": f"{base}:{os.environ['PATH']}"},
        )

    done = install("--venv", str(venv))
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        [venv / "bin" / "python", "-c", "import pydantic; print(pydantic.VERSION)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith("2.")
    # PyTorch was not asked for by --torch, and is left out with all that it needs.
    packages = {path.name.partition("-")[0] for path in venv.rglob("*.dist-info")}
    assert packages.isdisjoint({"torch", "sympy", "networkx"})

    parts[-1].write_bytes(b"")
    damaged = install("--venv", str(tmp_path / "other"))
    assert damaged.returncode == 2
    assert "install.sh: a part is missing or damaged: copy it again" in damaged.stderr
    assert not (tmp_path / "other").exists()
