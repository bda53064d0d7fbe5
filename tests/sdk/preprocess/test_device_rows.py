"""Launches of the kernels that write rows: what they refuse, and what they pass."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from fasdk.errors import PreprocessError
from fasdk.preprocess import PreprocessSpec
from fasdk.preprocess.alignment import Alignment
from fasdk.preprocess.device_rows import (
    FramePart,
    constant_row,
    frame_row,
    present_row,
    refusal,
    row_parameters,
)
from fasdk.preprocess.native import native_module

from support.requirements import Requirement

pytestmark = Requirement.NATIVE.mark("it was not built", lacking=native_module() is None)

FRAME, OUT, LEVELS = 4096, 8192, 16384
WHOLE = (0, 0, 5, 3)
DEPTH = {"depth": {"near_mm": 300, "far_mm": 1500, "polarity": "near-bright"}}
PAD = {"crop": "face", "crop_bounds": "pad"}
STANDING = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def spec_of(**settings: Any) -> PreprocessSpec:
    default: dict[str, Any] = {
        "width": 40,
        "height": 9,
        "crop": "frame",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return PreprocessSpec.model_validate(default | settings)


def part_of(**changes: Any) -> FramePart:
    given = {"address": FRAME, "region": WHOLE, "frame_size": (6, 4), "channels": 1}
    return FramePart(**(given | changes))


@pytest.mark.parametrize(
    ("settings", "changes", "given", "complaint"),
    [
        ({}, {"address": 0}, {}, "not 0"),
        ({}, {}, {"out_address": 0}, "not 0"),
        ({}, {}, {"out_address": OUT + 2}, "must start at a whole sample"),
        (DEPTH, {"address": FRAME + 1}, {"levels_address": LEVELS}, "at a whole sample"),
        (DEPTH, {}, {}, "levels must be a device address"),
        ({}, {"channels": 2}, {}, "1 channel, or 3"),
        (DEPTH, {"channels": 3}, {"levels_address": LEVELS}, "1 channel, or 3"),
        ({}, {}, {"view": (0, 0, 6, 3)}, "leaves the frame"),
        ({}, {"region": (1, 0, 5, 3)}, {}, "leaves the frame"),
        ({}, {}, {"view": (2, 0, 1, 3)}, "is empty"),
        ({}, {}, {"view": (-1, 0, 5, 3)}, "leaves the frame"),
        (PAD, {}, {"view": (-9, 0, -2, 3)}, "is empty"),
        (PAD, {}, {"view": (-(2**30), 0, 2**30, 3)}, "is too long"),
        ({}, {}, {"view": Alignment((1.0, 0.0, 1e7, 0.0, 1.0, 0.0))}, "too far from the frame"),
        ({}, {"region": (1, 0, 6, 3)}, {"view": Alignment(STANDING)}, "leaves the frame"),
    ],
)
def test_what_a_kernel_would_read_or_write_wrongly_is_refused(settings, changes, given, complaint):
    taken = {"view": WHOLE, "out_address": OUT} | given
    view = taken.pop("view")
    with pytest.raises(PreprocessError, match=complaint):
        frame_row(spec_of(**settings), view, part_of(**changes), **taken)


def test_an_infrared_composite_stays_on_the_host():
    spec = spec_of(ir_composite="ir-hog-plgf")
    assert refusal(spec_of()) is None
    assert refusal(spec) == "ir_composite ir-hog-plgf is drawn on the host"
    with pytest.raises(PreprocessError, match="ir-hog-plgf is drawn on the host"):
        frame_row(spec, WHOLE, part_of(), out_address=OUT)


def test_without_the_native_module_rows_are_written_on_the_host(monkeypatch):
    monkeypatch.setattr("fasdk.preprocess.device_rows.native_module", lambda: None)
    assert refusal(spec_of()) == "fasdk's native module was not built here"
    with pytest.raises(PreprocessError, match="no kernel writes this row: fasdk's native module"):
        frame_row(spec_of(), WHOLE, part_of(), out_address=OUT)
    with pytest.raises(PreprocessError, match="install a C"):
        constant_row((3, 2, 2), 0.0, out_address=OUT)


def test_a_launch_covers_the_row():
    row = frame_row(spec_of(), WHOLE, part_of(), out_address=OUT)
    assert (row.kernel, row.grid, row.block) == ("fasdk_image_row", (2, 2, 1), (32, 8, 1))
    last, size = row_parameters()[row.kernel][-1]
    assert len(row.arguments) == last + size
    assert struct.unpack_from("<Q", row.arguments, last) == (OUT,)
    assert struct.unpack_from("<Q", row.arguments) == (FRAME,)
    row = frame_row(spec_of(**DEPTH), WHOLE, part_of(), out_address=OUT, levels_address=LEVELS)
    assert row.kernel == "fasdk_depth_row"


def test_rows_without_a_frame():
    row = constant_row((3, 10, 10), -0.5, out_address=OUT)
    assert (row.kernel, row.grid, row.block) == ("fasdk_constant_row", (2, 1, 1), (256, 1, 1))
    assert row.arguments == struct.pack("<QIf", OUT, 300, -0.5)
    row = present_row([True, False, True], out_address=OUT)
    assert (row.kernel, row.grid) == ("fasdk_present_row", (1, 1, 1))
    assert row.arguments == struct.pack("<QII", OUT, 3, 0b101)
    with pytest.raises(PreprocessError, match="33 modalities, a kernel marks at most 32"):
        present_row([True] * 33, out_address=OUT)
