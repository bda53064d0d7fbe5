"""Jinja2 environment of the HTML pages: what comes from files can be neither markup nor control.

Every value a template prints is escaped, and its control and format characters, those that turn
the direction of writing among them, are written as escapes (fasdk.plain_text).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fasdk.atomic import atomic_write
from fasdk.plain_text import plain
from fasdk_tools.terminal.output import json_text


def render(template: str, **values: object) -> str:
    """Return a page.

    Args:
        template: File name of a template of this package.
        values: What the template names.
    """
    return environment().get_template(template).render(**values)


def write_page(path: Path, page: str) -> None:
    """Write a page as one file that only its owner may read.

    Raises:
        FasdkError: The disk is full or the folder not writable.
    """
    with atomic_write(path, mode=0o600) as file:
        file.write(page.encode())


@cache
def environment() -> Environment:
    """Return the environment that all pages are made in."""
    return Environment(
        loader=PackageLoader("fasdk_tools.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def embedded_json(document: object) -> Markup:
    """Return a document as JSON that may stand inside a script element."""
    # Only "<" could end the element; JSON has another way to write one.
    return Markup(json_text(document).replace("<", "\\u003c"))  # noqa: S704


def _finalize(value: Any) -> Any:
    """Return what is printed for a value: text without characters that act."""
    if isinstance(value, Markup):
        return Markup(plain(str(value)))  # noqa: S704 - it was escaped when it was made
    return plain(value) if isinstance(value, str) else value
