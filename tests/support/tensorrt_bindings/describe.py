"""List of a Python module's attributes, made in a process of its own.

Takes the module's name as its argument and a JSON list of dotted paths on stdin; prints one JSON
object: the module's version and the paths it lacks.
"""

from __future__ import annotations

import json
import sys
from functools import reduce
from importlib import import_module


def has(module: object, path: str) -> bool:
    """Follow a dotted path."""
    try:
        reduce(getattr, path.split("."), module)
    except AttributeError:
        return False
    return True


def main() -> None:
    """Look the paths up."""
    module = import_module(sys.argv[1])
    absent = [path for path in json.load(sys.stdin) if not has(module, path)]
    json.dump({"version": module.__version__, "absent": absent}, sys.stdout)


if __name__ == "__main__":
    main()
