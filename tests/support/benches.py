"""Modules of tools/bench, which are scripts and in no package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

_BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench"


def bench_module(name: str) -> ModuleType:
    """Import a module of tools/bench by name, its neighbors being importable meanwhile."""
    sys.path.insert(0, str(_BENCH))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(_BENCH))
