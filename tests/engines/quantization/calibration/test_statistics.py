"""Activation statistics: streamed, cached, independent of the batching of captures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fasdk.bundle.manifest import Precision
from fasdk_engines.quantization import Quantizer
from fasdk_engines.quantization.calibration.statistics import (
    ActivationStatistics,
    gather_statistics,
)
from fasdk_engines.quantization.graph.activation_groups import find_activation_groups
from fasdk_engines.quantization.graph.layers import Window, find_layers, window_rows
from fasdk_engines.quantization.graph.normalize import prepare_graph

from support import networks

ONE = {"rgb": (1, 3, 16, 16)}


def _gather(
    name: str, batches: list[dict[str, np.ndarray]], at_once: int
) -> list[ActivationStatistics]:
    model = prepare_graph(networks.graph(name))
    groups = find_activation_groups(model, find_layers(model, ONE, frozenset()), networks.SPECS)
    return gather_statistics(model, groups, batches, captures_at_once=at_once)


def test_statistics_do_not_depend_on_the_batching_of_captures(name: str) -> None:
    batch = networks.captures(12)
    parts = [{"rgb": batch["rgb"][:5]}, {"rgb": batch["rgb"][5:]}]
    for one, other in zip(_gather(name, [batch], 12), _gather(name, parts, 2), strict=True):
        assert np.allclose(one.low, other.low)
        assert np.allclose(one.high, other.high)
        assert np.allclose(one.counts, other.counts, atol=2)
        assert np.allclose(one.mean, other.mean, atol=1e-5)
        assert np.allclose(one.covariance, other.covariance, atol=1e-4)


def test_the_covariance_is_that_of_what_the_layer_multiplies() -> None:
    batch = networks.captures(12)
    (seen, *_) = _gather("transformer", [batch], 4)
    squares = batch["rgb"].reshape(-1, 3, 4, 4, 4, 4).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 48)
    assert np.allclose(seen.covariance, np.cov(squares, rowvar=False, bias=True), atol=1e-4)
    assert np.allclose(seen.mean, squares.mean(axis=0), atol=1e-5)
    assert seen.is_pixels


@pytest.mark.parametrize(
    "window",
    [
        Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        Window((3, 2), (2, 1), (0, 1, 1, 0), (1, 1)),
        Window((2, 2), (1, 2), (1, 1, 1, 1), (2, 2)),
    ],
)
def test_rows_of_a_window_are_what_a_convolution_multiplies(window: Window) -> None:
    import torch

    rng = np.random.default_rng(0)
    value = rng.normal(size=(2, 3, 7, 6)).astype(np.float32)
    weight = rng.normal(size=(4, 3, *window.kernel)).astype(np.float32)
    top, left, bottom, right = window.pads
    padded = torch.nn.functional.pad(torch.from_numpy(value), (left, right, top, bottom))
    exact = torch.nn.functional.conv2d(
        padded, torch.from_numpy(weight), stride=window.strides, dilation=window.dilations
    )
    rows = window_rows(value, window, 10**6, rng)
    found = (rows @ weight.reshape(4, -1).T).reshape(2, *exact.shape[2:], 4)
    assert np.allclose(found.transpose(0, 3, 1, 2), exact.numpy(), atol=1e-4)


def test_a_second_preparation_reads_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fasdk_engines.quantization.calibration import statistics

    def prepare(seed: int) -> bytes:
        return Quantizer.prepare(
            networks.graph("transformer"),
            [networks.captures(8, seed)],
            networks.SPECS,
            precision=Precision.INT8,
            cache=tmp_path,
        ).write()

    first = prepare(1)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the captures were run again")

    monkeypatch.setattr(statistics, "session_with_outputs", never)
    assert prepare(1) == first
    with pytest.raises(AssertionError, match="run again"):
        prepare(2)  # other captures


def test_a_truncated_cache_is_computed_again(tmp_path: Path) -> None:
    def prepare() -> bytes:
        return Quantizer.prepare(
            networks.graph("transformer"),
            [networks.captures(8)],
            networks.SPECS,
            precision=Precision.INT8,
            cache=tmp_path,
        ).write()

    first = prepare()
    (folder,) = tmp_path.iterdir()
    (folder / "complete").unlink()
    (folder / "0000.npz").write_bytes(b"cut short")
    assert prepare() == first
