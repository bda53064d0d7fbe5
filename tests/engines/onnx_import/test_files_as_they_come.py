"""Import of generated files in the forms people bring them in."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk_engines.onnx_import.description import read_description
from fasdk_engines.onnx_import.import_graph import import_graph
from fasdk_engines.onnx_import.onnx_file import read_onnx_file

from support.onnx_builder import softmax
from support.onnx_samples import CHANNELS, Recipe, recipes, to_toml, try_file, try_files
from support.requirements import Requirement


@pytest.mark.parametrize("recipe", list(recipes(30)), ids=lambda recipe: f"file {recipe.seed}")
def test_a_file_is_imported_or_refused_with_a_fix_that_works(recipe, tmp_path):
    outcome = try_file(recipe, tmp_path)
    assert outcome.built, outcome.complaint
    assert outcome.right, outcome.drift


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_four_hundred_files_are_imported_or_refused_with_a_fix_that_works(tmp_path):
    tally = try_files(400, tmp_path)
    assert tally.wrong == 0, tally.failures
    assert tally.built + tally.fixed >= 0.99 * tally.files, tally.failures


@pytest.mark.parametrize("batch", ["one", "inside", "four"])
@pytest.mark.parametrize("architecture", ["mobile", "resnet", "cdc", "vit"])
def test_a_fixed_batch_is_freed(architecture, batch, tmp_path):
    outcome = try_file(Recipe(architecture, 12, batch, seed=5), tmp_path)
    assert outcome.right and outcome.any_batch


@pytest.mark.parametrize("channels", CHANNELS)
def test_each_form_of_channels_is_fed(channels, tmp_path):
    assert try_file(Recipe(channels=channels, layout="nhwc", short=True), tmp_path).right


PUBLISHED = {
    "minifasnet_v1se_opset10.onnx": (80, 1.0, ("print", "live", "replay"), 1),
    "minifasnet_v2_opset11_batch1.onnx": (80, 1.0, ("print", "live", "replay"), 1),
    "minifasnet_128_opset13.onnx": (128, 255.0, ("live", "attack"), 0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_is_imported_as_it_is(name, reference, tmp_path):
    path = reference / "onnx" / name
    if not path.is_file():
        Requirement.PUBLISHED_FILES.skip(f"no {name}")
    size, std, labels, live = PUBLISHED[name]
    (tmp_path / "net.toml").write_text(
        to_toml(
            {
                "name": "net",
                "published_in": "none",
                "modalities": ["rgb"],
                "labels": list(labels),
                "live_index": live,
                "inputs": {
                    "rgb": {
                        "graph_input": "input",
                        "crop": "face",
                        "channel_order": "bgr",
                        "mean": [0.0] * 3,
                        "std": [std] * 3,
                    }
                },
            }
        )
    )
    imported = import_graph(read_onnx_file(path), read_description(tmp_path / "net.toml"))
    assert imported.interpretation.max_batch is None
    assert any("was converted to 17" in note for note in imported.notes)
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 256, (4, 3, size // 8, size // 8)).repeat(8, 2).repeat(8, 3)
    rgb = levels.astype(np.float32) / np.float32(std)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = np.concatenate([session.run(None, {"input": rgb[i : i + 1]})[0] for i in range(4)])
    found = OnnxRuntimeEngine(imported.graph).run({"rgb": rgb}).logits
    np.testing.assert_allclose(
        softmax(found.astype(np.float64)), softmax(given.astype(np.float64)), atol=1e-5
    )
    np.testing.assert_allclose(found, given, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("opset", [9, 12])
def test_nodes_that_an_adapter_adds_get_names_of_their_own(opset, tmp_path):
    assert try_file(Recipe("resnet", opset, head="log-softmax"), tmp_path).right
