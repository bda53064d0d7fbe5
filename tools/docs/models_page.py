"""Reference of the built-in models, as `fasdk models` lists them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from markup import GENERATED, table

_COMMAND = "import sys; from fasdk_tools.cli import main; sys.exit(main(['models', '--json']))"


def render(_root: Path) -> str:
    """Return the page: a row for each model and named configuration."""
    ran = subprocess.run(
        [sys.executable, "-c", _COMMAND], capture_output=True, text=True, check=True
    )
    models: list[dict[str, Any]] = json.loads(ran.stdout)["models"]
    rows = (
        (
            f"`{model['model']}`",
            f"`{model['config']}`",
            model["published_in"],
            ", ".join(map(_input, model["inputs"], model["inputs"].values())),
            _count(model["parameters"]),
            _count(model["deployed_parameters"]),
            f"{model['gflops']:.3g}",
        )
        for model in models
    )
    header = ("model", "config", "published in", "inputs, in order, pixels")
    return "\n".join(
        [
            GENERATED,
            "# Models\n",
            "What `fasdk models` lists. Parameters are the published system's and those of what is "
            "deployed; GFLOP is one capture through the deployed graph, two operations a "
            "multiply-accumulate. [The guide](../guide/models.md) says what each is.\n",
            table((*header, "parameters published", "deployed", "GFLOP"), rows),
        ]
    )


def _input(name: str, shape: list[int]) -> str:
    return f"{name} {shape[-1]}²" if len(shape) > 1 else f"`{name}`"


def _count(number: int) -> str:
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return str(number)
