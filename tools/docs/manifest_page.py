"""Reference of the manifest: its JSON Schema, and the same as tables."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markup import GENERATED, attributes, summary, table
from pydantic import BaseModel

from fasdk.added_fields import OMITTED_AT_DEFAULT
from fasdk.bundle.manifest import Manifest

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "greater than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "{} or more",
    "pattern": "`{}`",
    "const": "{}",
}


def render_schema(_root: Path) -> str:
    """Return the JSON Schema of a manifest as it is written, every field required."""
    return json.dumps(_schema(), indent=2, ensure_ascii=False) + "\n"


def render(_root: Path) -> str:
    """Return the page: one table for each kind of object."""
    schema = _schema()
    definitions: dict[str, dict[str, Any]] = schema.pop("$defs")
    parts = [
        GENERATED,
        "# Manifest\n",
        "The fields of `manifest.json`. [The bundle format](../design/bundle-format.md) says how "
        "they "
        "are written and which rules hold between them; "
        "[manifest.schema.json](manifest.schema.json) is this page for programs. Every field is "
        "present in every manifest, but for those with a default here, which are absent exactly "
        "where they have it.\n",
    ]
    for name, definition in {"Manifest": schema, **definitions}.items():
        parts.append(f"## {name}\n")
        if definition.get("description"):
            parts.append(f"{definition['description']}\n")
        if "enum" in definition:
            parts.append("One of " + ", ".join(f"`{word}`" for word in definition["enum"]) + ".\n")
            continue
        rows = (
            (f"`{field}`", _type(kind), _bounds(kind), _meaning(kind))
            for field, kind in definition["properties"].items()
        )
        parts.append(table(("field", "type", "range", "meaning"), rows))
    return "\n".join(parts)


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = Manifest.model_json_schema(mode="serialization")
    definitions: dict[str, Any] = schema.get("$defs", {})
    models: list[type[BaseModel]] = [Manifest, *_models(Manifest)]
    for model in models:
        described = schema if model is Manifest else definitions.get(model.__name__)
        if described is None:
            continue
        meanings = attributes(inspect.getdoc(model))
        described["description"] = " ".join(summary(inspect.getdoc(model)).split())
        # As it is written, not as it is read: most of what has a default is there all the same.
        described["required"] = []
        for field, kind in described["properties"].items():
            kind.pop("title", None)
            if not kind.pop(OMITTED_AT_DEFAULT, False):
                kind.pop("default", None)
                described["required"].append(field)
            if field in meanings:
                kind["description"] = meanings[field]
    return {"$schema": _DRAFT} | schema


def _meaning(kind: dict[str, Any]) -> str:
    meaning = str(kind.get("description", ""))
    if "default" not in kind:
        return meaning
    return f"{meaning} Default: `{json.dumps(kind['default'])}`."


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models that a model's fields hold, at any depth."""
    for field in model.model_fields.values():
        for held in _classes(field.annotation):
            yield held
            yield from _models(held)


def _classes(annotation: object) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _classes(part)


def _type(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        name = str(kind["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in kind:
        return " or ".join(_type(one) for one in kind["anyOf"])
    name = str(kind.get("type", "any"))
    if name == "array":
        fixed = kind.get("prefixItems")
        return (
            f"array of {len(fixed)} {_type(fixed[0])}s"
            if fixed
            else f"array of {_type(kind['items'])}"
        )
    if name == "object":
        values = kind.get("additionalProperties")
        return f"object, name to {_type(values) if isinstance(values, dict) else 'any JSON value'}"
    return name


def _bounds(kind: dict[str, Any]) -> str:
    if kind.get("type") == "boolean" and kind.get("const") is True:
        return "true"
    shown = [words.format(kind[key]) for key, words in _BOUNDS.items() if key in kind]
    return ", ".join(shown)
