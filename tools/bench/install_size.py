"""Size of every install of a device, resolved for its machines and Pythons.

    python tools/bench/install_size.py [--only INSTALL] [--python 3.10] [--machine aarch64]

Each install is resolved with the releases of constraints.txt from wheels alone, and put into a
folder of its own as pip would; one JSON line each has the sum of the files' sizes in MB of 10^6
bytes, and the largest packages. The base install has a second sum, with the bytecode that pip
compiles, as this Python does, for the first of the machines: modules are the same on both. fasdk
itself is counted from this checkout, with the native modules compiled here. pycuda has no wheel:
the board compiles it, so `jetson` is shown without it.
"""

from __future__ import annotations

import argparse
import compileall
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = tuple(
    ROOT / name
    for name in (
        "sdk/fasdk",
        "engines/fasdk_engines",
        "calibration/fasdk_calibration",
        "tools/fasdk_tools",
    )
)
PYTHONS = ("3.10", "3.12")  # JetPack 6 and 7
# glibc 2.34 is older than that of both JetPack releases.
MACHINES = {"aarch64": "aarch64-manylinux_2_34", "x86-64": "x86_64-manylinux_2_34"}
LARGEST_SHOWN = 6


@dataclass(frozen=True)
class Install:
    """What a device installs.

    Attributes:
        name: Name in results, as in `pip install`.
        extras: Extras of it that have wheels.
    """

    name: str
    extras: tuple[str, ...] = ()


INSTALLS = (
    Install("."),
    Install(".[jetson] without pycuda", ("cli",)),
    Install(".[jetson,opencv] without pycuda", ("cli", "opencv")),
    Install(".[jetson,realsense] without pycuda", ("cli", "realsense")),
    Install(".[cli,cpu,opencv]", ("cli", "cpu", "opencv")),
)


def measure(
    install: Install, python: str, machine: str, bytecode: dict[str, int]
) -> dict[str, Any]:
    """Return the sizes of one install.

    Args:
        install: What to install.
        python: Version of Python it is resolved for.
        machine: Name of the machine it is resolved for.
        bytecode: Bytes of the base install's bytecode by Python, added to where one is absent.

    Raises:
        RuntimeError: It cannot be resolved or fetched.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "site"
        listed = Path(name) / "requirements.txt"
        fitting = ("--python-version", python, "--python-platform", MACHINES[machine])
        wheels = ("--only-binary", ":all:", *fitting)
        extras = [word for extra in install.extras for word in ("--extra", extra)]
        _uv(
            *("compile", "pyproject.toml", "-q", "--no-header", "--no-annotate", *wheels),
            *("-c", "constraints.txt", *extras, "-o", listed),
        )
        _uv("install", "-q", "--no-deps", "--target", folder, *wheels, "-r", listed)
        sizes = sizes_of(folder)
        own = Counter({"fasdk": own_bytes()})
        files = (sizes + own).total()
        if not install.extras and python not in bytecode:
            bytecode[python] = bytecode_bytes(folder, *PACKAGES)
        whole = {} if install.extras else {"with_bytecode_mb": _mb(files + bytecode[python])}
        return {
            "install": install.name,
            "python": python,
            "machine": machine,
            "packages": len(listed.read_text("utf-8").splitlines()) + 1,  # and fasdk
            "has_onnxruntime": "onnxruntime" in sizes,
            "mb": _mb(files),
            **whole,
            "largest_mb": {
                name: _mb(size) for name, size in (sizes + own).most_common(LARGEST_SHOWN)
            },
        }


def _uv(*words: object) -> None:
    command = [sys.executable, "-m", "uv", "pip", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if ran.returncode:
        raise RuntimeError(f"uv pip {words[0]}: {' '.join(ran.stderr.split())[-300:]}")


def sizes_of(folder: Path) -> Counter[str]:
    """Return the bytes of the files in a folder by the package they lie in.

    Libraries that a wheel brings beside its package, such as numpy.libs, count as the package's.
    """
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
            found[_package(path.relative_to(folder).parts[0])] += path.stat().st_size
    return found


def _package(top: str) -> str:
    if top.endswith(".dist-info"):
        top = top.partition("-")[0]
    return top.removesuffix(".libs").partition(".")[0].replace("opencv_python", "cv2")


def own_bytes() -> int:
    """Return the bytes of what this project's wheel holds, data files among them."""
    return sum(
        path.stat().st_size
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def bytecode_bytes(*folders: Path) -> int:
    """Return the bytes of the bytecode of every module in folders, as this Python compiles it."""
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        before, sys.pycache_prefix = sys.pycache_prefix, name
        try:
            for folder in folders:
                # What is written for another Python only fails to compile.
                compileall.compile_dir(folder, quiet=2, force=True)
        finally:
            sys.pycache_prefix = before
        return sum(path.stat().st_size for path in cache.rglob("*.pyc"))


def _mb(size_bytes: int) -> float:
    return round(size_bytes / 1e6, 1)


def main() -> int:
    """Print one JSON line an install, Python and machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[each.name for each in INSTALLS])
    parser.add_argument("--python", choices=PYTHONS)
    parser.add_argument("--machine", choices=sorted(MACHINES))
    asked = parser.parse_args()
    bytecode: dict[str, int] = {}
    for install in INSTALLS:
        if asked.only not in (None, install.name):
            continue
        for python in PYTHONS if asked.python is None else (asked.python,):
            for machine in MACHINES if asked.machine is None else (asked.machine,):
                print(json.dumps(measure(install, python, machine, bytecode)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
