"""Parameters of the public functions and classes that take members of an enum."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, get_args
from unittest import mock

ROOTS = ("fasdk", "fasdk_calibration", "fasdk_engines", "fasdk_tools")
_DOCS = Path(__file__).parents[2] / "docs"
_COLLECTION = re.compile(r"\b(?:tuple|list|frozenset|Sequence|Collection|Iterable)\[")
_DOC_IMPORT = re.compile(r"^from (fasdk[\w.]*) import ([\w, ]+)$", re.MULTILINE)


@dataclass(frozen=True)
class EnumParameter:
    """A parameter that takes members of an enum.

    Attributes:
        owner: The function, or the class whose constructor has it.
        function: What is called: the function, or the class.
        name: Name of the parameter.
        kind: Whether it takes its values one by one, as `*values` does.
        depth: Number of collections around the member: 1 for `tuple[Modality, ...]`.
        is_mapping: Whether members are the keys of a mapping.
        choices: The enum.
    """

    owner: str
    function: Callable[..., Any]
    name: str
    kind: inspect._ParameterKind
    depth: int
    is_mapping: bool
    choices: type[Enum]

    def __str__(self) -> str:
        """Return owner and parameter."""
        return f"{self.owner}({self.name})"

    def holding(self, value: object) -> object:
        """Return a value of the parameter that holds a member, or what stands for one."""
        held: object = {value: mock.MagicMock()} if self.is_mapping else value
        for _ in range(self.depth):
            held = (held,)
        return held


def enums() -> dict[str, tuple[type[Enum], int]]:
    """Return every public enum by name, and each alias of a collection of one with its depth."""
    found: dict[str, tuple[type[Enum], int]] = {}
    for module in _modules():
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, Enum) and not name.startswith("_"):
                found[value.__name__] = (value, 0)
            members = get_args(value)
            if len(members) == 1 and inspect.isclass(members[0]) and issubclass(members[0], Enum):
                found[name] = (members[0], 1)
    return found


def public_objects() -> dict[str, Any]:
    """Return what is public: names of `fasdk`, of a package's `__all__`, and of the documents."""
    import fasdk

    found = {f"fasdk.{name}": getattr(fasdk, name) for name in fasdk.__all__}
    for module in _modules():
        for name in getattr(module, "__all__", ()):
            found[f"{module.__name__}.{name}"] = getattr(module, name)
    for page in sorted(_DOCS.rglob("*.md")):
        for module_name, names in _DOC_IMPORT.findall(page.read_text("utf-8")):
            for name in names.split(","):
                target = name.split(" as ")[0].strip()
                found[f"{module_name}.{target}"] = getattr(import_module(module_name), target)
    return {name: found[name] for name in sorted(found)}


def enum_parameters() -> Iterator[EnumParameter]:
    """Yield the parameters of public functions, classes and methods that take an enum."""
    known = enums()
    pattern = re.compile(rf"(?<![\w.])({'|'.join(known)})(?!\w)")
    seen: set[int] = set()
    for name, value in public_objects().items():
        if id(value) in seen or not callable(value):
            continue
        seen.add(id(value))
        if inspect.isclass(value) and issubclass(value, (Enum, BaseException)):
            continue
        for owner, function in _calls(name, value):
            for parameter in _parameters(function):
                annotation = parameter.annotation
                text = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
                named = set(pattern.findall(text))
                if "Callable" in text or len(named) != 1:
                    continue
                word = named.pop()
                choices, depth = known[word]
                if _is_another(function, word, choices):
                    continue
                is_mapping = "apping[" in text or text.startswith("dict[")
                if not is_mapping:
                    depth += len(_COLLECTION.findall(text))
                yield EnumParameter(
                    owner, function, parameter.name, parameter.kind, depth, is_mapping, choices
                )


def _is_another(function: Any, word: str, choices: type[Enum]) -> bool:
    """Whether a function's module imports another class of an enum's name, such as for typing."""
    module = inspect.getmodule(function)
    imported_from = _imports(inspect.getsource(module)).get(word) if module else None
    if imported_from is None:
        return False
    meant = getattr(import_module(imported_from), word)
    return inspect.isclass(meant) and meant is not choices


@lru_cache
def _imports(source: str) -> dict[str, str]:
    return {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _modules() -> Iterator[Any]:
    for root in ROOTS:
        package = import_module(root)
        yield package
        for info in walk_packages(package.__path__, f"{root}."):
            if "._" not in info.name and "__main__" not in info.name:
                yield import_module(info.name)


def _calls(name: str, value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    yield name, value
    if inspect.isclass(value):
        for method, function in vars(value).items():
            plain = isinstance(function, (type(_calls), classmethod, staticmethod))
            abstract = getattr(function, "__isabstractmethod__", False)
            if plain and not abstract and not method.startswith("_"):
                yield f"{name}.{method}", getattr(value, method)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return []
