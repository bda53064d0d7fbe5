"""Download of TensorRT's real Python bindings, importable without its libraries.

The bindings' wheels hold the compiled module that defines every class and attribute. The libraries
it links to are stood in for by empty ones that export the few symbols it asks for: enough to
import it and look at its names, nothing more.

Run as a script it fetches for the running Python, once, into `build/bindings` or the folder that
FASDK_BINDINGS_DIR names.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fasdk.backends.tensorrt.versions import NEWEST, OLDEST

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Bindings:
    """One release's bindings on PyPI, for the Pythons it was built for."""

    version: str
    package: str
    newest_python: tuple[int, int]

    @property
    def folder(self) -> Path:
        """Where they are unpacked for the running Python."""
        base = Path(os.environ.get("FASDK_BINDINGS_DIR") or ROOT / "build" / "bindings")
        python = f"cp{sys.version_info.major}{sys.version_info.minor}"
        return base.absolute() / python / self.version

    @property
    def stubs(self) -> Path:
        """Where the empty libraries are."""
        return self.folder / "stubs"

    @property
    def is_ready(self) -> bool:
        """Whether they are unpacked and their libraries built."""
        return (self.folder / "ready").is_file()


OLDEST_BINDINGS = Bindings(f"{OLDEST}.0", "tensorrt_cu12_bindings", (3, 12))
NEWEST_BINDINGS = Bindings(f"{NEWEST}.0.106", "tensorrt_cu13_bindings", (3, 14))
RELEASES = (OLDEST_BINDINGS, NEWEST_BINDINGS)


def fetch(bindings: Bindings) -> None:
    """Download, unpack and build the empty libraries.

    Raises:
        subprocess.CalledProcessError: pip, nm, readelf or the compiler failed.
    """
    folder = bindings.folder
    folder.mkdir(parents=True, exist_ok=True)
    requirement = f"{bindings.package}=={bindings.version}"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
    subprocess.run(
        [*pip, "--no-deps", "--only-binary=:all:", "-d", folder, requirement], check=True
    )
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    build_stubs(folder / "tensorrt_bindings" / "tensorrt.so", bindings.stubs)
    wheel.unlink()
    (folder / "ready").touch()


def build_stubs(module: Path, folder: Path) -> None:
    """Build a library for every TensorRT one `module` needs, exporting what it asks of them."""
    folder.mkdir(exist_ok=True)
    dynamic = subprocess.run(
        ["readelf", "-d", module], check=True, capture_output=True, text=True
    ).stdout
    source = folder / "stubs.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _asked(module)))
    for library in re.findall(r"Shared library: \[(libnv[^]]+)]", dynamic):
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [
                compiler,
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{library}",
                source,
                "-o",
                folder / library,
            ],
            check=True,
        )


def _asked(module: Path) -> list[str]:
    """Return the strong undefined symbols that neither Python nor the C library defines."""
    listing = subprocess.run(
        ["nm", "-D", "--undefined-only", module], check=True, capture_output=True, text=True
    ).stdout
    here = ctypes.CDLL(None)
    symbols = re.findall(r"^\s+U (\w+)$", listing, re.MULTILINE)
    return [name for name in symbols if not hasattr(here, name)]


def main() -> None:
    """Fetch what is not there yet."""
    for bindings in RELEASES:
        if sys.version_info[:2] > bindings.newest_python:
            newest = ".".join(map(str, bindings.newest_python))
            sys.stderr.write(
                f"TensorRT {bindings.version} bindings exist up to Python {newest}: left out\n"
            )
        elif not bindings.is_ready:
            sys.stderr.write(f"Fetching TensorRT {bindings.version} bindings (1 MB)\n")
            try:
                fetch(bindings)
            except subprocess.CalledProcessError as error:
                sys.exit(
                    f"TensorRT {bindings.version} bindings: {Path(error.cmd[0]).name} failed with "
                    f"status {error.returncode}: check that the package registry has "
                    f"{bindings.package}=={bindings.version} and that binutils and a C compiler "
                    "are installed"
                )


if __name__ == "__main__":
    main()
