"""Mutation of JSON documents that leaves them JSON."""

from __future__ import annotations

import json
import random
from typing import Any

from fuzz.bytes_mutation import mutate_bytes

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**63), 2**64, 10**400, 0.5, 1e308, -1e308, 1e-320),
    *("", "0", "a" * 3000, "\0", "\x1b[31m", "[/b]", "\ud800", "../x", "nan", "1e999"),
    *([], {}, [[]], [0] * 100, {"": 0}, {"__class__": 1}),
)
_RAW = ("NaN", "Infinity", "-Infinity", "1e999", "-0", "[" * 2000)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Return a document with one to three values replaced, removed, repeated or renamed."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    document = changed_document(document, rng)
    text = json.dumps(document)
    if rng.random() < 0.05:
        text = text.replace("0", rng.choice(_RAW), 1)
    return text.encode("utf-8", "surrogatepass")


def mutate_json_lines(data: bytes, rng: random.Random) -> bytes:
    """Return JSON Lines with one line changed, removed or repeated."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines.insert(at, rng.choice(lines))
        case 1:
            lines[at] = mutate_bytes(lines[at], rng)
        case _:
            lines[at] = mutate_json(lines[at], rng)
    return b"\n".join(lines)


def changed_document(document: Any, rng: random.Random) -> Any:
    """Return a document with one to three changes; it may share parts with the one given."""
    for _ in range(rng.randint(1, 3)):
        document = _changed(document, rng)
    return document


def _changed(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        return _changed_object(value, rng)
    if isinstance(value, list) and value and rng.random() < 0.9:
        return _changed_list(value, rng)
    return _other(value, rng)


def _changed_object(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    key = rng.choice(list(value))
    match rng.randrange(8):
        case 0:
            return {k: v for k, v in value.items() if k != key}
        case 1:
            return value | {rng.choice(("", "x", "schema_version", key + " ")): value[key]}
    return value | {key: _changed(value[key], rng)}


def _changed_list(value: list[Any], rng: random.Random) -> list[Any]:
    at = rng.randrange(len(value))
    match rng.randrange(6):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return [*value, value[at]]
    return [*value[:at], _changed(value[at], rng), *value[at + 1 :]]


def _other(value: Any, rng: random.Random) -> Any:
    if rng.random() < 0.5:
        return rng.choice(_VALUES)
    if isinstance(value, str):
        text = mutate_bytes(value.encode("utf-8", "surrogatepass"), rng)
        return text.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return rng.choice(_VALUES)
    if abs(value) > 1e300:
        return rng.choice((-value, 1, 0.5))
    return rng.choice((-value, value + 1, value * 1000, float(value), str(value), value / 3))
