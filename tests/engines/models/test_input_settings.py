"""Settings of the input: published defaults, other values from a file, and the checkpoint's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fasdk.capture import FaceBox, Modality
from fasdk.errors import ModelError
from fasdk.preprocess import ChannelOrder, CropRule, PreprocessSpec, to_tensor
from fasdk_engines.models.checkpoint import (
    find_config,
    load_checkpoint,
    resolve_config,
    save_checkpoint,
)
from fasdk_engines.models.input_settings import InputConfig
from fasdk_engines.models.minifasnet.config import MiniFasNetV2Config
from fasdk_engines.models.registry import get_family

# Of each family: side, order, mean, std, factor on the face box, fill of an absent modality.
PUBLISHED = {
    "mmdg": (224, "rgb", 127.5, 128.0, 1.0, 0.0),
    "mmdgpp": (224, "rgb", 127.5, 128.0, 1.0, 0.0),
    "mmda": (224, "rgb", 127.5, 128.0, 1.0, -127.5 / 128.0),
    "bigmoe": (224, "rgb", 127.5, 128.0, 1.0, 0.0),
    "minifasnet-v2": (80, "bgr", 0.0, 1.0, 2.7, 0.0),
    "minifasnet-v1se": (80, "bgr", 0.0, 1.0, 4.0, 0.0),
}
OTHER = {
    "normalization": "imagenet",
    "channel_order": "bgr",
    "crop": "frame",
    "crop_scale": 1.5,
    "missing_value": -2.0,
}


def spec_of(name: str, **settings: object) -> PreprocessSpec:
    family = get_family(name)
    return family.preprocess(family.config_type.model_validate(settings))[Modality.RGB]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_defaults_are_the_published_input(name):
    side, order, mean, std, scale, missing = PUBLISHED[name]
    family = get_family(name)
    for spec in family.preprocess(family.default_config).values():
        assert (spec.width, spec.height, spec.crop) == (side, side, CropRule.FACE)
        assert (spec.channel_order.value, spec.crop_scale) == (order, scale)
        assert (spec.mean, spec.std, spec.missing_value) == ((mean,) * 3, (std,) * 3, missing)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_family_takes_another_input_from_a_file(name, tmp_path):
    (tmp_path / "input.json").write_text(json.dumps(OTHER))
    family = get_family(name)
    config = find_config(family, tmp_path / "input.json")
    for modality, spec in family.preprocess(config).items():
        assert (spec.crop, spec.crop_scale, spec.missing_value) == (CropRule.FRAME, 1.5, -2.0)
        assert spec.mean == pytest.approx((103.53, 116.28, 123.675))  # blue first
        color = modality is Modality.RGB
        assert spec.channel_order is (ChannelOrder.BGR if color else ChannelOrder.RGB)


@pytest.mark.parametrize(
    ("normalization", "low", "high"),
    [
        ("levels", 0.0, 255.0),
        ("unit", 0.0, 1.0),
        ("minus-one-to-one", -1.0, 1.0),
        ("symmetric", -0.99609375, 0.99609375),
    ],
)
def test_a_normalization_maps_black_and_white(normalization, low, high):
    spec = spec_of("minifasnet-v2", normalization=normalization)
    assert (spec.table[:, 0] == np.float32(low)).all()
    assert (spec.table[:, 255] == np.float32(high)).all()


def test_every_way_to_make_a_crop_is_a_setting():
    """What a specification can say of a crop, a built-in model can be told."""
    own = {"width", "height", "depth", "ir_composite"}  # from the size and the modality
    assert PreprocessSpec.model_fields.keys() - own <= InputConfig.model_fields.keys()


@pytest.mark.parametrize("name", ["mmdg", "minifasnet-v2"])
def test_a_square_crop_padded_by_reflection_comes_from_a_file(name, tmp_path):
    square = {"crop_shape": "square", "crop_bounds": "pad", "border": "reflect-101"}
    (tmp_path / "a.json").write_text(json.dumps({**square, "interpolation": "area"}))
    family = get_family(name)
    for spec in family.preprocess(find_config(family, tmp_path / "a.json")).values():
        assert (spec.crop_shape.value, spec.crop_bounds.value) == ("square", "pad")
        assert (spec.border.value, spec.interpolation.value) == ("reflect-101", "area")


def test_faces_are_aligned_without_the_published_factor(tmp_path):
    (tmp_path / "a.json").write_text('{"crop": "landmarks", "image_size": 112}')
    family = get_family("minifasnet-v2")
    config = find_config(family, tmp_path / "a.json")
    spec = family.preprocess(config)[Modality.RGB]
    assert spec.crop_scale == 1.0
    assert spec.landmark_positions is not None
    assert family.config_type.model_validate_json(config.model_dump_json()) == config


def test_clip_and_imagenet_are_means_of_red_first():
    red = spec_of("mmdgpp", normalization="clip").mean[0]
    assert red == 255.0 * 0.48145466
    assert spec_of("mmdg", normalization="imagenet").std[2] == 255.0 * 0.225


def test_mean_and_std_replace_the_normalization_and_follow_the_channel_order():
    spec = spec_of("minifasnet-v2", mean=[10, 20, 30], std=[1, 2, 3], crop="frame")
    assert (spec.mean, spec.std) == ((30.0, 20.0, 10.0), (3.0, 2.0, 1.0))
    frame = np.full((80, 80, 3), (110, 120, 130), np.uint8)  # red, green, blue
    tensor = to_tensor(frame, FaceBox(0, 0, 80, 80), spec)
    assert tensor[:, 0, 0] == pytest.approx([100 / 3, 50.0, 100.0])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"mean": [1, 2, 3]}, "mean is given without std: give both, in 8-bit levels"),
        ({"std": [1, 2, 3]}, "std is given without mean"),
        ({"mean": [0, 0, 0], "std": [1, 0, 1]}, "give finite values and no std of 0"),
        ({"normalization": "0..1"}, "normalization"),
        ({"crop_scale": 0}, "crop_scale"),
        ({"border": "reflect"}, "border reflect has no effect without"),
    ],
)
def test_an_input_that_cannot_be_made_is_named(settings, complaint, tmp_path):
    (tmp_path / "input.json").write_text(json.dumps(settings))
    for name in ("mmdg", "minifasnet-v2"):
        with pytest.raises(ModelError, match=complaint):
            find_config(get_family(name), tmp_path / "input.json")


def test_a_black_fill_needs_one_value_for_all_planes():
    with pytest.raises(ValidationError, match="give missing_value, which one number fills"):
        spec_of("mmda", normalization="imagenet")
    assert spec_of("mmda", normalization="imagenet", missing_value=0.0).missing_value == 0.0
    assert spec_of("mmda", normalization="unit").missing_value == 0.0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"classes": 2}, "2 classes without live_index: give the index of the live class"),
        ({"classes": 2, "live_index": 2}, "live_index 2 is not below classes 2"),
    ],
)
def test_classes_other_than_the_published_need_a_live_index(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        MiniFasNetV2Config.model_validate(settings)


def test_the_classes_of_a_bundle_are_those_of_the_settings():
    family = get_family("minifasnet-v2")
    assert family.configured(family.default_config).labels == ("attack-0", "live", "attack-2")
    two = family.configured(MiniFasNetV2Config(classes=2, live_index=0))
    assert (two.labels, two.live_index) == (("live", "attack-1"), 0)


def test_a_checkpoint_keeps_its_input_and_one_of_before_is_read(tmp_path):
    family = get_family("minifasnet-v2")
    config = MiniFasNetV2Config.model_validate({**OTHER, "classes": 2, "live_index": 0})
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "a.safetensors", family.build(config), family, config)
    checkpoint = load_checkpoint(tmp_path / "a.safetensors")
    assert resolve_config(family, checkpoint) == config
    assert family.config_type.model_validate_json("{}") == family.default_config
    older = {"image_size": 64, "patch_size": 16, "depth": 2, "normalization": "clip"}
    assert get_family("mmdgpp").config_type.model_validate(older).depth == 2


def test_every_built_in_family_has_the_settings_of_the_input():
    for name in PUBLISHED:
        assert issubclass(get_family(name).config_type, InputConfig)
