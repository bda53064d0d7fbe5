"""Interpreters that have the base install's packages, and those of extras, and no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
OURS = tuple(ROOT / folder for folder in ("sdk", "engines", "calibration", "tools"))
SITES = tuple(Path(entry) for entry in sys.path if Path(entry).name == "site-packages")
_SHARED = re.compile(
    r"\.\.|__pycache__|bin$|.*\.pth$"
)  # what a distribution has outside, or shares


def project() -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"])


def requirements_of(*extras: str) -> Iterator[Requirement]:
    """Yield what the base install and extras of it require here, those of nested extras too."""
    table = project()
    lines = list(table["dependencies"])
    asked = list(extras)
    while asked:
        for line in table["optional-dependencies"][asked.pop()]:
            requirement = Requirement(line)
            if requirement.name == table["name"]:
                asked += requirement.extras
            else:
                lines.append(line)
    yield from (each for each in map(Requirement, lines) if _applies(each))


def distributions_of(*extras: str) -> set[str]:
    """Return the distributions that the base install and extras of it bring, by installed ones."""
    found: set[str] = set()
    waiting = list(requirements_of(*extras))
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name not in found:
            found.add(name)
            waiting += [each for each in map(Requirement, _requires(name)) if _applies(each)]
    return found


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def link_packages(folder: Path, *extras: str) -> Path:
    """Link what the base install and extras of it bring into a folder, and return the folder."""
    folder.mkdir(exist_ok=True)
    for name in distributions_of(*extras):
        files = distribution(name).files
        assert files is not None, f"{name} was installed without a list of its files"
        tops = {file.parts[0]: file for file in files if not _SHARED.match(file.parts[0])}
        for top, file in tops.items():
            place = Path(str(file.locate()))
            for _ in file.parts[1:]:
                place = place.parent
            (folder / top).symlink_to(place)
    return folder


def run_isolated(
    site: Path, *words: object, tests: bool = False, **environment: object
) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that finds fasdk and the packages of a folder alone.

    Args:
        site: Folder of `link_packages`.
        words: Options of the interpreter, such as "-c" and a program.
        tests: Whether it also finds the packages of the tests.
        environment: Variables of the environment besides this one's.
    """
    places = [*OURS, *([ROOT / "tests"] if tests else []), site]
    return subprocess.run(
        [sys.executable, "-S", *map(str, words)],
        env={
            **os.environ,
            **{name: str(value) for name, value in environment.items()},
            "PYTHONPATH": os.pathsep.join(map(str, places)),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def answer_of(ran: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON document that an interpreter printed last."""
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
