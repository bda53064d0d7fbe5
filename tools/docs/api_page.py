"""The API reference: a table of the public names, and the directives that print each in full."""

from __future__ import annotations

import inspect
from pathlib import Path

from markup import GENERATED, first_sentence, table

import fasdk
import fasdk.errors


def render(_root: Path) -> str:
    """Return the page for `fasdk.__all__` and the errors that are raised."""
    names = sorted(fasdk.__all__, key=str.casefold)
    errors = [
        name
        for name, value in vars(fasdk.errors).items()
        if inspect.isclass(value) and issubclass(value, fasdk.FasdkError)
        if name not in fasdk.__all__
    ]
    parts = [
        GENERATED,
        "# Python API\n",
        "The public names of `fasdk`, each of which loads its module when it is first used. The pages "
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
        value = getattr(fasdk, name)
        parts.append(f"## {name}\n")
        if inspect.isclass(value):
            parts.append(_directive(f"autoclass:: fasdk.{name}", "members:", "undoc-members:"))
        else:
            parts.append(_directive(f"autofunction:: fasdk.{name}"))
    return "\n".join(parts)


def _directive(first: str, *options: str) -> str:
    lines = [f".. {first}", *(f"   :{option}" for option in options)]
    return "\n".join(["```{eval-rst}", *lines, "```", ""])


def _summary(value: object) -> str:
    return first_sentence(inspect.getdoc(value))


def _anchor(name: str) -> str:
    return name.lower()
