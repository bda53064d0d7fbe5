"""Import of generated files in the forms people bring them in."""

from __future__ import annotations

import pytest

from support.onnx_samples import CHANNELS, Recipe, recipes, try_file, try_files


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
