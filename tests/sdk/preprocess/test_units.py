"""Usual units of a network's input, and means and deviations in other units."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fasdk.preprocess import ChannelOrder, CropRule, PreprocessSpec
from fasdk.preprocess.units import UNITS, units_of


def spec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), order=ChannelOrder.RGB) -> PreprocessSpec:
    return PreprocessSpec(
        width=8, height=8, crop=CropRule.FRAME, channel_order=order, mean=mean, std=std
    )


@pytest.mark.parametrize("order", list(ChannelOrder))
@pytest.mark.parametrize("units", UNITS, ids=[units.name for units in UNITS])
def test_units_are_called_by_name_in_either_order_of_the_planes(units, order):
    applied = units.applied(spec(order=order))
    assert units_of(applied) == units
    swapped = applied.model_copy(update={"mean": applied.mean[::-1], "std": applied.std[::-1]})
    assert (units_of(swapped) == units) == (len({*units.mean}) == 1)


def test_units_without_a_name_are_called_by_their_values():
    own = spec((100.0, 110.0, 120.0), (50.0, 50.0, 50.0), ChannelOrder.BGR)
    assert units_of(own).name == "(level-[100.0, 110.0, 120.0])/50"
    assert units_of(own).applied(own) == own


@pytest.mark.parametrize(
    ("mean", "std", "lines"),
    [
        (
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            "mean = [123.675, 116.28, 103.53] and std = [58.395, 57.12, 57.375]",
        ),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "mean = [127.5, 127.5, 127.5] and std = [127.5,"),
        ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), "mean = [127.5, 127.5, 127.5] and std = [255.0,"),
        ((0.0, 0.0, 0.0), (1 / 255,) * 3, "std = [1.0, 1.0, 1.0]"),
    ],
)
def test_mean_and_std_in_units_of_0_to_1_are_refused_with_the_lines_to_write(mean, std, lines):
    with pytest.raises(ValidationError) as refused:
        spec(mean, std)
    assert f"multiply by 255 and write {lines}" in str(refused.value) or lines in str(refused.value)


def test_raw_levels_and_small_means_of_levels_are_taken():
    assert spec().std == (1.0, 1.0, 1.0)
    assert spec((0.9, 0.9, 0.9), (58.0, 57.0, 57.0)).mean == (0.9, 0.9, 0.9)
