"""Output of every verb: whole words, fitting lines, and the files of docs/reference/output."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main

import fasdk
from fasdk.backends.engine import Backend
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.members import GRAPH
from fasdk.decision import OperatingPoint
from fasdk.home import HOME_VARIABLE, home_path
from fasdk_calibration.datasets import load_list, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.models import listing
from fasdk_tools.cli.root import app

PROJECT = Path(__file__).parents[3]
# Minutes, or known without the demo's folder.
SLOW = {"demo", "models", "soak", "train", "protocols"}
WIDTHS = (80, 120)


def load_generator():
    path = PROJECT / "tools" / "docs" / "verb_output.py"
    spec = importlib.util.spec_from_file_location("verb_output", path)
    module = sys.modules["verb_output"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load_generator()


def verbs_of(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs_of(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


VERBS = sorted(verbs_of(typer.main.get_command(app)))


def stored(verb):
    return (generator.OUTPUT / f"{verb.replace(' ', '-')}.txt").read_text()


def relabel_by_score(bundle, listing):
    """Label captures so that the model with random weights tells the classes apart."""
    lines = [json.loads(line) for line in listing.read_text().splitlines()]
    with fasdk.open(bundle, backend=Backend.ONNXRUNTIME) as liveness:
        scores = [liveness.check(item.capture).score for item in load_list(listing)]
    species = sorted({line["species"] for line in lines} - {"bona fide"})
    for place, index in enumerate(np.argsort(scores)):
        is_attack = place < len(lines) // 2
        lines[index]["label"] = "attack" if is_attack else "bona fide"
        lines[index]["species"] = species[place % len(species)] if is_attack else "bona fide"
    listing.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.fixture(scope="module")
def folder(checkpoint, bundle, tmp_path_factory) -> Path:
    """A folder as the demo leaves it, of few captures and a model with random weights."""
    root = tmp_path_factory.mktemp("demo")
    demo = root / ".demo"
    demo.mkdir()
    shutil.copy(checkpoint, demo / "checkpoint.safetensors")
    opened = open_bundle(bundle)
    point = OperatingPoint(
        level="standard",
        modalities=opened.manifest.modalities,
        threshold=0.5,
        source="made up for this test",
        apcer_upper=0.1,
        graph_sha256=opened.manifest.members[GRAPH],
        calibrated=False,
    )
    members = {name: bytes(content) for name, content in opened.members.items()}
    manifest = opened.manifest.model_copy(update={"operating_points": (point,)})
    write_bundle(demo / "demo.fasb", manifest, members)
    small = SceneSettings(width=160, height=120)
    development = generate_many(0, 90, Split.DEVELOPMENT, settings=small)
    written = write_captures(list(development), demo / "development", "development")
    relabel_by_score(demo / "demo.fasb", written)
    held_out = generate_many(0, 30, Split.HELD_OUT)
    write_captures(list(held_out), demo / "captures", "held-out")
    generator.write_inputs(root)
    return root


@pytest.fixture(scope="module")
def outputs(folder, tmp_path_factory):
    """Output of every quick verb, by width of the terminal, of an account with its key alone."""
    found = {}
    for width in WIDTHS:
        copy = tmp_path_factory.mktemp("run") / "folder"
        shutil.copytree(folder, copy)
        home = tmp_path_factory.mktemp("home")
        shutil.copytree(home_path() / "keys", home / "keys")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(HOME_VARIABLE, str(home))
            found[width] = generator.transcripts(copy, width, lambda each: each.verb not in SLOW)
    return found


def test_every_verb_has_an_example_and_a_file():
    assert sorted({example.verb for example in generator.EXAMPLES}) == VERBS
    names = {path.stem for path in generator.OUTPUT.glob("*.txt")}
    assert names == {verb.replace(" ", "-") for verb in VERBS}


def whole_words(text):
    """Return the words of an output but for its commands, rules and end punctuation."""
    lines = [line for line in text.splitlines() if not line.startswith(("$", "      "))]
    return {word.rstrip(":,;") for line in lines for word in line.split()} - {"\\"}


def assert_whole(text, width):
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in SLOW])
def test_no_line_is_cut_and_no_word_is_broken(outputs, verb, width):
    text = outputs[width][verb]
    assert_whole(text, width)
    other = outputs[WIDTHS[1 - WIDTHS.index(width)]][verb]
    # A broken word would be missing at the other width, where the line is broken elsewhere.
    known = {word.rstrip(":,;") for word in other.split()}
    assert {w for w in whole_words(text) - known if not set(w) <= set("─")} == set()


@pytest.mark.parametrize("verb", VERBS)
def test_no_line_of_a_stored_output_is_cut(verb):
    assert_whole(stored(verb), generator.WIDTH)


@pytest.mark.slow
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in SLOW])
def test_a_stored_output_has_the_titles_headers_and_fields_of_today(outputs, verb):
    assert generator.shape(outputs[80][verb]) == generator.shape(stored(verb))


def test_the_stored_list_of_models_is_that_of_today(fasdk, monkeypatch):
    monkeypatch.setattr(listing, "list_models", functools.cache(listing.list_models))
    monkeypatch.setenv("COLUMNS", "80")
    shown = generator.mask(fasdk("models").stdout)
    assert stored("models") == f"$ fasdk models\n{shown}"
    monkeypatch.setenv("COLUMNS", "120")
    assert_whole(fasdk("models", "--wide").stdout, 120)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_stored_output_has_the_shape_of_todays_demo(tmp_path, width):
    found = generator.transcripts(tmp_path, width)
    for verb, text in found.items():
        assert_whole(text, width)
        if width == generator.WIDTH:
            assert generator.shape(text) == generator.shape(stored(verb)), verb
