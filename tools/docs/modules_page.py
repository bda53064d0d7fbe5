"""Map of the modules, generated from their docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from markup import GENERATED, first_sentence, table

COMPONENTS = ("sdk/fasdk", "engines/fasdk_engines", "calibration/fasdk_calibration")
TOOLS = "tools/fasdk_tools"


def render(root: Path) -> str:
    """Return the page: a table for each package."""
    parts = [
        GENERATED,
        "# Modules\n",
        "What each module is for, by package. Components depend one way: tools, engines, "
        "calibration, "
        "sdk. [The design overview](../design/overview.md) says how they work together.\n",
    ]
    for component in (*COMPONENTS, TOOLS):
        for package in _packages(root / component):
            name = package.relative_to(root / component).parts
            dotted = ".".join((Path(component).name, *name))
            parts.append(f"## `{dotted}`\n")
            parts.append(f"{_docstring(package / '__init__.py')}\n")
            modules = [file for file in sorted(package.glob("*.py")) if file.stem != "__init__"]
            if modules:
                rows = ((f"`{file.stem}`", _docstring(file)) for file in modules)
                parts.append(table(("module", "for"), rows))
    return "\n".join(parts)


def _packages(folder: Path) -> Iterator[Path]:
    yield folder
    for child in sorted(folder.iterdir()):
        if (child / "__init__.py").is_file():
            yield from _packages(child)


def _docstring(file: Path) -> str:
    return first_sentence(ast.get_docstring(ast.parse(file.read_text("utf-8"))))
