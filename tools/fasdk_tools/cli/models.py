"""Verb models."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fasdk_tools.cli.root import JsonOption, Panel, WideOption, app, require_build_half
from fasdk_tools.terminal.numbers import count_of, format_count, format_flops
from fasdk_tools.terminal.output import STDERR, print_answer, print_json, print_rows
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@app.command(rich_help_panel=Panel.BUILD)
def models(wide: WideOption = False, as_json: JsonOption = False) -> None:
    """List the models that `build-engine` and `train` know."""
    require_build_half()
    from fasdk_engines.models.listing import list_models

    listings, problems = list_models()
    for problem in problems:
        STDERR.print(f"fasdk: warning: {problem}", markup=False, soft_wrap=True)
    if as_json:
        print_json({"models": [asdict(listing) for listing in listings], "warnings": problems})
        return
    names = len({row.model for row in listings})
    print_answer(
        f"{count_of(names, 'model')} by name, and any other as an ONNX file: --model onnx "
        "--preprocess FILE.toml"
    )
    print_rows(
        "Named models (operations of one capture)",
        (
            *(Column("model", label=True), Column("config", label=True), "parameters"),
            *(Column("deployed", wide=True), "operations", "inputs"),
            Column("published in", below=True),
        ),
        [
            (
                row.model,
                row.config,
                format_count(row.parameters),
                format_count(row.deployed_parameters),
                format_flops(row.gflops * 1e9),
                _inputs(row.inputs),
                row.published_in,
            )
            for row in listings
        ],
        wide=wide,
    )


def _inputs(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return input names with their shapes, inputs of one shape together."""
    by_shape: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        by_shape.setdefault("x".join(map(str, shape)), []).append(name)
    return ", ".join(f"{'+'.join(names)} {shape}" for shape, names in by_shape.items())
