"""Sphinx configuration: `make docs` builds the documentation strictly and without a network."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from contextlib import suppress
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx

import fasdk
import fasdk.errors

project = "fasdk"
release = fasdk.__version__
html_title = f"fasdk {release}"
html_theme = "furo"
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["results/lines", "reference/output"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

_NAPOLEON = 500  # its priority among what processes docstrings
_COLON = "\x1f"

nitpicky = True
# Without a network nothing outside this project can be looked up.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|np|pathlib|collections|concurrent|pydantic)\..*"),
    ("py:.*", r"(NDArray|Path|Mapping|Sequence|Callable|Iterator|Future|Any|BaseModel|Ed25519\w+)"),
]


def resolve_by_name(
    app: Sphinx, env: Any, node: nodes.Element, contnode: nodes.TextElement
) -> nodes.Node | None:
    """Link a class to its public name; one of ours that has no page stays plain text."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rsplit(".", 1)[-1]
    domain = env.domains["py"]
    for target in (f"fasdk.{name}", f"fasdk.errors.{name}"):
        if target in domain.objects:
            found: nodes.Node | None = domain.resolve_xref(
                env, node["refdoc"], app.builder, "obj", target, node, contnode
            )
            return found
    modules = [module for key, module in sys.modules.items() if key.split(".")[0] == "fasdk"]
    return contnode if any(hasattr(module, name) for module in modules) else None


def readable_signature(
    _app: Sphinx, what: str, _name: str, value: object, _options: Any, *shown: str | None
) -> tuple[str | None, str | None] | None:
    """Leave out a pydantic model's signature, and how a dataclass makes a default."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return "", None  # its constraints are in the manifest's reference
    arguments, returns = shown
    if what == "class" and arguments:
        return arguments.replace("<factory>", "..."), returns
    return None


def hide_colons(_app: Sphinx, what: str, _name: str, *rest: Any) -> None:
    """Keep napoleon from reading a property's sentence with a colon as "type: description"."""
    lines: list[str] = rest[-1]
    if what == "property":
        lines[:] = [line.replace(": ", _COLON) for line in lines]


def show_colons(_app: Sphinx, what: str, _name: str, *rest: Any) -> None:
    """Put back what `hide_colons` took."""
    lines: list[str] = rest[-1]
    if what == "property":
        lines[:] = [line.replace(_COLON, ": ") for line in lines]


def setup(app: Sphinx) -> None:
    """Connect what this project needs of its own."""
    for module in pkgutil.walk_packages(fasdk.__path__, "fasdk."):
        with suppress(ImportError):  # pycuda and the like, which may not be installed
            importlib.import_module(module.name)
    app.connect("missing-reference", resolve_by_name)
    app.connect("autodoc-process-signature", readable_signature)
    app.connect("autodoc-process-docstring", hide_colons, priority=_NAPOLEON - 1)
    app.connect("autodoc-process-docstring", show_colons, priority=_NAPOLEON + 1)
