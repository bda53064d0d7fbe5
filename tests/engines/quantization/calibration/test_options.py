"""Quantizer options: the float32 function kept, and the noise each removes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.quantization import QdqReferenceRunner, Quantizer, QuantizerOptions

from support import networks
from support.networks import prepare

UNSEEN = networks.captures(64, seed=9)
NOTHING = QuantizerOptions(
    RangeMethod.MINMAX,
    exact_pixels=False,
    fold_norms=False,
    explicit_shift=False,
    explicit_scale=False,
    min_gain=0.0,
    gptq=False,
    bias_correction=False,
    residual_share=0.0,
)


def _with(**changes: object) -> QuantizerOptions:
    from dataclasses import replace

    return replace(NOTHING, **changes)  # type: ignore[arg-type]


def _exact(name: str) -> np.ndarray:
    return networks.run(networks.graph(name), UNSEEN)


@pytest.mark.parametrize(
    "options",
    [
        NOTHING,
        _with(exact_pixels=True),
        _with(fold_norms=True),
        _with(explicit_shift=True),
        _with(explicit_scale=True),
        QuantizerOptions(RangeMethod.MSE, min_gain=0.0),
    ],
    ids=["nothing", "pixels", "norms", "shift", "factor", "all"],
)
def test_without_int8_layers_the_function_is_the_same(name: str, options: QuantizerOptions) -> None:
    switchable_graph = prepare(name, options=options).switchable_graph(threads=1)
    found = switchable_graph.logits(UNSEEN, frozenset(switchable_graph.layers))
    assert np.abs(found - _exact(name)).max() < 2e-5


@pytest.mark.parametrize(
    ("name", "layer", "changes"),
    [
        ("transformer", "embed", {"exact_pixels": True}),
        ("transformer", "expand", {"fold_norms": True}),
        ("transformer", "value", {"fold_norms": True}),
        ("transformer", "contract", {"explicit_shift": True, "explicit_scale": True}),
        ("transformer", "contract", {"residual_share": 1.0}),
        ("convolutions", "third", {"explicit_shift": True}),
        ("convolutions", "second", {"residual_share": 1.0}),
    ],
)
def test_each_option_removes_noise_at_its_layer(
    name: str, layer: str, changes: dict[str, object]
) -> None:
    exact = _exact(name)
    # Against weights rounded to the data: else their noise hides the activations'.
    made = [
        prepare(name, options=_with(gptq=True, bias_correction=True, **more))
        for more in ({}, changes)
    ]
    without, found = (
        networks.decibels(
            exact, switchable_graph.logits(UNSEEN, frozenset(switchable_graph.layers) - {layer})
        )
        for switchable_graph in (quantizer.switchable_graph(threads=1) for quantizer in made)
    )
    assert found > without + 3.0


def test_explicit_smoothing_needs_the_minimum_gain() -> None:
    forms = [
        {r.activation: r.form for r in prepare("transformer", options=options).ranges}
        for options in (
            _with(explicit_shift=True, explicit_scale=True, min_gain=0.1),
            _with(explicit_shift=True, explicit_scale=True, min_gain=1.0),
        )
    ]
    assert [form["acted"] for form in forms] == ["smoothed", "plain"]


@pytest.mark.parametrize(("name", "first"), [("transformer", "embed"), ("convolutions", "first")])
def test_pixels_are_held_exactly(name: str, first: str) -> None:
    quantizer = prepare(name, options=_with(exact_pixels=True))
    assert quantizer.ranges[0].form == "pixels"
    # What is left is the weights' rounding: with whole codes for weights there is none.
    network = networks.network(name)
    for tensor in network.graph.initializer:
        if tensor.name in ("embed_w", "c1"):
            tensor.CopyFrom(_exact_codes(tensor))
    exact = networks.run(network.SerializeToString(), UNSEEN)
    quantizer = Quantizer.prepare(
        network.SerializeToString(),
        [networks.captures(48)],
        networks.SPECS,
        precision=quantizer._precision,
        options=_with(exact_pixels=True),
    )
    switchable_graph = quantizer.switchable_graph(threads=1)
    found = switchable_graph.logits(UNSEEN, frozenset(switchable_graph.layers) - {first})
    # All but the last capture, which holds no RGB: its fill is rounded to the nearest code.
    limit = 2e-4 if name == "transformer" else 2e-2  # a Conv's padding is rounded as well
    assert np.abs(found - exact)[:-1].max() < limit


def _exact_codes(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Return weights that become whole numbers, 127 among them, once the map is folded in."""
    shape = tuple(tensor.dims)
    rng = np.random.default_rng(3)
    codes = rng.integers(-126, 127, shape).astype(np.float64)
    std = np.array(networks.SPEC.std)
    if len(shape) == 2:
        codes[0] = 127
        factor = np.repeat(std / 128.0, 16)[:, None]
    else:
        codes[:, 0, 0, 0] = 127
        factor = (std / 128.0)[None, :, None, None]
    value = codes * 2.0**-9 * factor
    return onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name)


def test_values_between_pixel_values_are_not_taken_for_pixels() -> None:
    batch = networks.captures(16)
    batch["rgb"] = batch["rgb"] + np.float32(0.004)  # a quarter of a pixel value
    quantizer = Quantizer.prepare(
        networks.graph("transformer"),
        [batch],
        networks.SPECS,
        precision=prepare("transformer")._precision,
    )
    assert quantizer.ranges[0].form != "pixels"


def test_a_norm_read_by_linear_layers_alone_absorbs_smoothing(transformer: Quantizer) -> None:
    forms = {r.activation: r.form for r in transformer.ranges}
    assert forms["normed"] == "folded"
    network = networks.network("transformer")
    network.graph.node.insert(6, onnx.helper.make_node("Abs", ["normed"], ["aside"], "aside"))
    kept = Quantizer.prepare(
        network.SerializeToString(),
        [networks.captures(48)],
        networks.SPECS,
        precision=transformer._precision,
    )
    assert {r.activation: r.form for r in kept.ranges}["normed"] == "smoothed"


@pytest.mark.parametrize("residual_layers", [False, True])
def test_switchable_graph_computes_what_is_written(name: str, residual_layers: bool) -> None:
    from fasdk.bundle.manifest import Precision

    quantizer = prepare(name, Precision.INT8_FP32)
    layers = frozenset(x.name for x in quantizer.layers if x.quantized)
    if residual_layers:
        quantizer.set_residual_layers(layers)
    reverted = frozenset(sorted(layers)[:1])
    for float_layers in (frozenset(), reverted, layers):
        written = QdqReferenceRunner(quantizer.write(float_layers), threads=1).logits(UNSEEN)
        probed = quantizer.switchable_graph(threads=1).logits(UNSEEN, float_layers)
        # Float rounding may move a value across a step here and there.
        assert networks.decibels(written, probed) > 55.0


def test_residual_activations_leave_only_the_weights_noise(transformer: Quantizer) -> None:
    switchable_graph = transformer.switchable_graph(threads=1)
    exact = _exact("transformer")
    once = networks.decibels(exact, switchable_graph.logits(UNSEEN, residual_layers=frozenset()))
    twice = networks.decibels(
        exact, switchable_graph.logits(UNSEEN, residual_layers=frozenset(switchable_graph.layers))
    )
    assert twice > once + 6.0


def test_residual_layers_stay_within_their_share(int8: Quantizer) -> None:
    total = sum(x.macs for x in int8.layers)
    assert 0 < sum(x.macs for x in int8.layers if x.is_residual) <= 0.4 * total
