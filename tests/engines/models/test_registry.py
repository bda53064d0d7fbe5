"""Registry of model families."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from fasdk.errors import ModelError
from fasdk_engines.models import registry
from fasdk_engines.models.registry import broken_families, family_names, get_family

EXAMPLE = """
from dataclasses import replace
from fasdk_engines.models.registry import get_family

FAMILY = replace(get_family("minifasnet-v2"), name="door-net")
FAMILIES = (replace(FAMILY, name="gate-net"), FAMILY)
CLASH = replace(FAMILY, name="mmdg")
TAKEN = replace(FAMILY, name="onnx")
NO_MODALITIES = replace(FAMILY, name="door-net", modalities=())
BAD_INDEX = replace(FAMILY, live_index=3)
NO_CONFIGS = replace(FAMILY, configs={})
OTHER_INPUTS = replace(FAMILY, preprocess=lambda config: {})
RAISING = replace(FAMILY, preprocess=lambda config: 1 / 0)
A_NUMBER = 3
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Install small distributions as an installer would: a module and its dist-info folder."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(distribution: str, entry_points: str, modules: dict[str, str]) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[fasdk.models]\n{entry_points}\n")
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)

    yield install
    for module in ("door_net", "broken_net"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize("attribute", ["FAMILY", "FAMILIES"])
def test_an_installed_distribution_brings_a_family(attribute, installed):
    installed("door", f"door-net = door_net:{attribute}", {"door_net": EXAMPLE})
    assert family_names()[-1] == "door-net"
    assert get_family("door-net").published_in.startswith("Minivision")
    assert broken_families() == {}


def test_names_are_listed_without_importing_anything(installed):
    installed("door", "door-net = door_net:FAMILY", {"door_net": "raise SystemError('imported')"})
    assert "door-net" in family_names()
    assert get_family("mmdg").name == "mmdg"
    assert "door_net" not in sys.modules


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("broken-net = no_such_module:FAMILY", "cannot be imported: ModuleNotFoundError: No modu"),
        ("broken-net = broken_net:FAMILY", "cannot be imported: RuntimeError: no licence; fix or"),
        ("door-net = door_net:NOTHING", "cannot be imported: AttributeError"),
        (
            "door-net = door_net:A_NUMBER",
            "is of type int, expected a fasdk_engines.models.Family or",
        ),
        ("lobby-net = door_net:FAMILIES", "holds 0 families named 'lobby-net' .it holds gate-net"),
        ("door-net = door_net:NO_MODALITIES", "modalities must name at least one"),
        ("door-net = door_net:BAD_INDEX", "live_index 3 is outside labels"),
        ("door-net = door_net:NO_CONFIGS", "configs is empty: give at least the published"),
        ("door-net = door_net:OTHER_INPUTS", "preprocess of config 'published' and modalities na"),
        ("door-net = door_net:RAISING", "ZeroDivisionError: division by zero: fix that distrib"),
    ],
)
def test_a_broken_family_names_the_distribution_the_entry_point_and_the_fix(
    entry, complaint, installed
):
    modules = {"door_net": EXAMPLE, "broken_net": "raise RuntimeError('no licence')"}
    installed("vendor-door", entry, modules)
    name, _, value = entry.partition(" = ")
    with pytest.raises(ModelError, match=complaint) as caught:
        get_family(name)
    assert f"entry point '{name}' ({value}) of vendor-door" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert broken_families() == {name: str(caught.value)}
    assert get_family("minifasnet-v2").name == "minifasnet-v2"


@pytest.mark.parametrize("name", ["mmdg", "onnx"])
def test_a_built_in_name_cannot_be_taken(name, installed):
    attribute = {"mmdg": "CLASH", "onnx": "TAKEN"}[name]
    before = family_names()
    installed("vendor-door", f"{name} = door_net:{attribute}", {"door_net": EXAMPLE})
    assert family_names() == before
    assert get_family("mmdg").published_in.endswith("CVPR 2024")
    problem = broken_families()[name]
    assert f"of vendor-door takes the built-in name '{name}' and is left out" in problem


def test_two_distributions_with_one_name_are_told_apart(installed):
    installed("first", "door-net = door_net:FAMILY", {"door_net": EXAMPLE})
    installed("second", "door-net = door_net:FAMILIES", {})
    with pytest.raises(ModelError, match=r"(first|second) and .* of (first|second): uninst"):
        get_family("door-net")


def test_an_unknown_model_lists_the_known_and_the_option_for_an_onnx_file():
    with pytest.raises(ModelError, match=r"'mmgd': choose one of mmdg, .*, or onnx with --prepro"):
        get_family("mmgd")


def test_every_family_module_is_registered_under_the_names_of_its_families():
    folder = Path(registry.__file__).parent
    found = {
        family.name: module
        for module in (
            f"fasdk_engines.models.{f.parent.name}.family" for f in folder.glob("*/family.py")
        )
        for family in import_module(module).FAMILIES
    }
    assert found == registry._MODULES
    assert all(registry.get_family(name).name == name for name in found)
