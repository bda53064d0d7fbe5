"""Fetching of axe-core, which judges the pages' accessibility.

One JavaScript file (MPL-2.0) out of its npm package, of one version and digest. Run as a script it
fetches the file, once, into `build/axe`; only tests read it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from support.requirements import Requirement

VERSION = "4.14.1"
# sha512 of the package, as the registry states it.
INTEGRITY = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
_FILE = Path(__file__).resolve().parents[2] / "build" / "axe" / f"axe-{VERSION}.min.js"


def path() -> Path:
    """Return the file; a test that needs it is skipped where it was not fetched."""
    if not _FILE.is_file():
        Requirement.AXE.skip(f"{_FILE.name} is not there")
    return _FILE


def fetch() -> None:
    """Fetch the file.

    Raises:
        subprocess.CalledProcessError: npm failed.
        ValueError: The package has another digest.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", "--silent", f"axe-core@{VERSION}"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        package = next(Path(folder).glob("*.tgz")).read_bytes()
    found = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"axe-core {VERSION} has sha512 {found}, expected {INTEGRITY}")
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        content = member.read()
    _FILE.parent.mkdir(parents=True, exist_ok=True)
    _FILE.write_bytes(content)


def main() -> None:
    """Fetch what is not there yet."""
    if _FILE.is_file():
        return
    sys.stderr.write(f"Fetching axe-core {VERSION} (0.7 MB)\n")
    try:
        fetch()
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        sys.exit(f"axe-core: {error}: check that npm is installed and its registry can be reached")


if __name__ == "__main__":
    main()
