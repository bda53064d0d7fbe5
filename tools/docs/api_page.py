"""API reference: a table of the public names, and the directives that print each in full."""

from __future__ import annotations

import inspect
from enum import Enum
from pathlib import Path

from markup import GENERATED, first_sentence, table

import fasdk
import fasdk.errors


def render(_root: Path) -> str:
    """Return the page for `fasdk.__all__` and the errors that are raised."""
    public: list[str] = vars(fasdk)["__getattr__"]("__all__")
    names = sorted(public, key=str.casefold)
    errors = [
        name
        for name, value in vars(fasdk.errors).items()
        if inspect.isclass(value) and issubclass(value, fasdk.FasdkError)
        if name not in public
    ]
    parts = [
        GENERATED,
        "# Python API\n",
        "The public names of `fasdk`, each of which loads its module when it is first used. The "
        "pages "
        "that `make docs` builds have every signature, argument and error; in Python, "
        "`help(fasdk.Capture)` has the same.\n",
        table(
            ("name", "is"),
            ((f"[`{name}`](#{_anchor(name)})", _summary(getattr(fasdk, name))) for name in names),
        ),
        "Errors, all of them kinds of `FasdkError`, from `fasdk.errors`:\n",
        table(("error", "means"), ((f"`{n}`", _summary(vars(fasdk.errors)[n])) for n in errors)),
    ]
    for name in names:
        parts += [f"## {name}\n", _directive(f"fasdk.{name}", getattr(fasdk, name))]
    parts.append("## Errors\n")
    parts += [_directive(f"fasdk.errors.{name}", vars(fasdk.errors)[name]) for name in errors]
    return "\n".join(parts)


def _directive(name: str, value: object) -> str:
    if not inspect.isclass(value):
        lines = [f".. autofunction:: {name}"]
    elif issubclass(value, Exception):
        lines = [f".. autoexception:: {name}"]
    else:
        lines = [f".. autoclass:: {name}", "   :members:"]
        # A dataclass's fields are in its own docstring, an enumeration's may have none.
        lines += ["   :undoc-members:"] * issubclass(value, Enum)
    return "\n".join(["```{eval-rst}", *lines, "```", ""])


def _summary(value: object) -> str:
    return first_sentence(inspect.getdoc(value))


def _anchor(name: str) -> str:
    return name.lower()
