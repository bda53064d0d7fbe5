"""Build script of the simulated CUDA driver and of the real pycuda against it.

Run as a script it builds what is not up to date into `build/cuda_sim`, or the folder that
FASDK_CUDA_SIM_DIR names: the driver in seconds, pycuda once for each Python and CUDA release, in
about two minutes. CUDA's headers are the machine's, or NVIDIA's packages of headers where it has
none.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from support.cuda_sim.simulated_cuda import Layout

HERE = Path(__file__).resolve().parent
PYCUDA = "pycuda==2026.1"
# cuda.h and cudaProfiler.h, for a machine without CUDA.
HEADER_PACKAGES = ("nvidia-cuda-runtime==13.0.96", "nvidia-cuda-profiler-api==13.0.85")

# Unoptimized: it is compiled more often than it is waited for.
SITECONF = """\
BOOST_INC_DIR = []
BOOST_LIB_DIR = []
BOOST_COMPILER = "gcc43"
USE_SHIPPED_BOOST = True
BOOST_PYTHON_LIBNAME = []
BOOST_THREAD_LIBNAME = []
CUDA_TRACE = False
CUDA_ENABLE_GL = False
CUDA_ENABLE_CURAND = False
CUDA_INC_DIR = [{include!r}]
CUDADRV_LIB_DIR = [{libraries!r}]
CUDADRV_LIBNAME = ["cuda"]
CXXFLAGS = ["-O0", "-g0", "-w"]
LDFLAGS = ["-s"]
"""


class BuildError(Exception):
    """Something is missing, or a step failed; one line."""


def build(layout: Layout) -> None:
    """Build what is not up to date.

    Raises:
        BuildError: cmake, a compiler or a package is missing, or a step failed.
    """
    for tool, package in (("cmake", "cmake"), ("g++", "g++"), ("make", "make")):
        if shutil.which(tool) is None:
            raise BuildError(f"{tool} is not installed (Debian: apt-get install {package})")
    layout.root.mkdir(parents=True, exist_ok=True)
    include = _find_headers(layout)
    _build_driver(layout, include)
    _build_pycuda(layout, include)


def _find_headers(layout: Layout) -> Path:
    """Return the folder of cuda.h, fetching NVIDIA's packages if the machine has none."""
    for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        include = Path(root or "/nonexistent") / "include"
        if (include / "cuda.h").is_file() and (include / "cudaProfiler.h").is_file():
            return include
    fetched = layout.root / "headers"
    if not any(fetched.rglob("cuda.h")):
        _say(f"Fetching CUDA's headers ({', '.join(HEADER_PACKAGES)})")
        _run("fetch CUDA's headers", _pip("install", "--target", fetched, *HEADER_PACKAGES))
    return next(fetched.rglob("cuda.h")).parent


def _build_driver(layout: Layout, include: Path) -> None:
    stamp = layout.root / "driver.stamp"
    native = HERE.parents[2] / "sdk" / "native"
    kernels = [native / "cuda" / "preprocess.cu", *sorted(native.glob("include/fasdk/*.hpp"))]
    sources = [HERE / "CMakeLists.txt", *sorted((HERE / "src").iterdir()), *kernels]
    wanted = _digest(str(include), *(path.read_text() for path in sources))
    if layout.library.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return
    _say("Building the simulated CUDA driver")
    folder = layout.root / "driver"
    configure = ["cmake", "-S", HERE, "-B", folder, f"-DCUDA_INCLUDE_DIR={include}"]
    _run("configure the simulated driver", configure)
    _run("build the simulated driver", ["cmake", "--build", folder, "--parallel", "2"])
    stamp.write_text(wanted)


def _build_pycuda(layout: Layout, include: Path) -> None:
    ready = layout.site / "ready"
    version = re.search(r"#define CUDA_VERSION (\d+)", (include / "cuda.h").read_text())
    if version is None:
        raise BuildError(f"{include / 'cuda.h'} names no CUDA_VERSION")
    wanted = _digest(PYCUDA, version.group(1), SITECONF, sys.version)
    if ready.is_file() and ready.read_text() == wanted:
        return
    _say(f"Building {PYCUDA} against the simulated CUDA driver (about two minutes, once)")
    shutil.rmtree(layout.site, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=layout.root) as scratch:
        download = _pip("download", "--no-binary", "pycuda", "-d", scratch, PYCUDA)
        _run(f"fetch {PYCUDA}", download)
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
            archive.extractall(scratch, filter="data")
        source = next(path for path in Path(scratch).iterdir() if path.is_dir())
        (source / "siteconf.py").write_text(
            SITECONF.format(include=str(include), libraries=str(layout.library.parent))
        )
        _run(f"build {PYCUDA}", _pip("install", "--target", layout.site, source))
    ready.write_text(wanted)


def _pip(verb: str, *rest: str | Path) -> list[str | Path]:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", verb, "-q", "--no-deps"]
    return [*pip, *rest]


def _run(what: str, command: list[str | Path]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no output"]
        raise BuildError(f"cannot {what}: {errors[0]} ({' '.join(map(str, command))})")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> None:
    """Build what is not there yet."""
    try:
        build(Layout.here())
    except BuildError as error:
        sys.exit(f"cuda-sim: {error}")


if __name__ == "__main__":
    main()
