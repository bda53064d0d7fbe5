"""Command-line reference, generated from the Typer application."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import typer.main
from markup import GENERATED, table

from fasdk_tools.cli.root import app

PROGRAM = "fasdk"


def render(_root: Path) -> str:
    """Return the page: a table of the verbs, then each verb's arguments and options."""
    # Typer brings click with it or depends on it, by release: its objects have no one type.
    root: Any = typer.main.get_command(app)
    verbs = list(_verbs(root, PROGRAM))
    parts = [
        GENERATED,
        "# Command line\n",
        f"{_text(root.help)}\n",
        "Exit status: 0 done (`check`: LIVE only), 1 the answer is no, 2 wrong usage or input, "
        "with "
        "one line that says how to fix it.\n",
        table(
            ("verb", "does"),
            ((f"[`{name}`](#{_anchor(name)})", _summary(verb)) for name, verb in verbs),
        ),
        "What each verb prints, on the demo and in a terminal of 80 columns, is linked from its "
        "section. Durations, rates, versions and digests are masked there.\n",
    ]
    if options := _options(root):
        parts += [f"## Options of `{PROGRAM}` itself\n", options]
    for name, verb in verbs:
        parts += [
            f"## `{name}`\n",
            f"{_text(verb.help)}\n",
            f"```text\n{_usage(name, verb)}\n```\n",
            f"Example: [what it prints]({_output(name)}).\n",
        ]
        arguments = [p for p in verb.params if p.param_type_name == "argument"]
        if arguments:
            rows = ((f"`{_argument(p)}`", _kind(p), _help(p)) for p in arguments)
            parts.append(table(("argument", "type", "meaning"), rows))
        if options := _options(verb):
            parts.append(options)
    return "\n".join(parts)


def _verbs(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _verbs(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _options(command: Any) -> str:
    rows = []
    for option in command.params:
        if option.param_type_name != "option" or getattr(option, "hidden", False):
            continue
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        rows.append((names, _kind(option), _default(option), _help(option)))
    return table(("option", "type", "default", "meaning"), rows) if rows else ""


def _usage(name: str, command: Any) -> str:
    words = [name, "[OPTIONS]"]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = _argument(parameter)
            words.append(word if parameter.required else f"[{word}]")
    return " ".join(words)


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).strip("[]{}").upper()
    return f"{name}..." if parameter.nargs == -1 and not name.endswith("...") else name


def _kind(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    if annotation is bool:
        return "flag"
    held = [part for part in get_args(annotation) if part is not type(None)]
    kind = held[0] if held else annotation
    if inspect.isclass(kind) and issubclass(kind, Enum):
        words = ", ".join(f"`{member.value}`" for member in kind)
    elif parameter.param_type_name == "option" and parameter.metavar:
        words = f"`{parameter.metavar}`"
    else:
        words = {str: "text", int: "integer", float: "number"}.get(kind, kind.__name__.lower())
    for bound, name in ((parameter.min, "at least"), (parameter.max, "at most")):
        words += "" if bound is None else f", {name} {bound}"
    return f"{words}, repeatable" if parameter.multiple or parameter.nargs == -1 else words


def _default(option: Any) -> str:
    if option.required:
        return "required"
    default = option.default
    if callable(default) or default is None or repr(default) in {"Sentinel.UNSET", "UNSET"}:
        return ""
    if isinstance(default, bool):
        return "on" if default else ""
    if isinstance(default, (list, tuple)):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{getattr(default, 'value', default)}`"


def _help(parameter: Any) -> str:
    words = _text(getattr(parameter, "help", "") or "")
    variable = getattr(parameter, "envvar", None)
    return f"{words} Environment: `{variable}`." if variable else words


def _summary(command: Any) -> str:
    return _text(command.help).split("\n\n")[0]


def _text(words: str | None) -> str:
    # "\f" ends what Typer shows of a docstring, "\b" keeps a paragraph's lines as they are.
    shown = (words or "").split("\f")[0].replace("\b", "")
    return re.sub(r"<([^<>\s]+)>", r"`<\1>`", shown).strip()


def _output(name: str) -> str:
    """Return the file that `make reference-output` writes of a verb."""
    return f"output/{name.removeprefix(PROGRAM).strip().replace(' ', '-')}.txt"


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
