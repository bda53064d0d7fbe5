"""MMDG++, published and deployed form."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from fasdk.backends.engine import Backend
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.backends.tensorrt.plan import build_plan
from fasdk.bundle.manifest import Precision
from fasdk.capture import Modality
from fasdk.errors import CheckpointError
from fasdk_engines.graph.emulation import emulate_fp16
from fasdk_engines.graph.export import count_nodes, export_graph
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.graph.lint import lint_tensorrt
from fasdk_engines.models.checkpoint import Checkpoint, load_into
from fasdk_engines.models.mmdgpp.config import MmdgppConfig
from fasdk_engines.models.mmdgpp.published import Mmdgpp, SelectiveAdapter, TokenSelection
from fasdk_engines.models.registry import get_family

from support.golden import PublishedReference

FAMILY = get_family("mmdgpp")
TINY = FAMILY.configs["tiny"]
NAMES = ("rgb", "depth", "ir")
# Which modalities the golden outputs' cases hold, in model order.
CASES = {
    "none": (1.0, 1.0, 1.0),
    "depth": (1.0, 0.0, 1.0),
    "ir": (1.0, 1.0, 0.0),
    "depth_ir": (1.0, 0.0, 0.0),
}


def trained(config: MmdgppConfig, seed: int = 0) -> Mmdgpp:
    """Return a model whose adapters do something; fresh ones add exactly nothing."""
    torch.manual_seed(seed)
    model = Mmdgpp(config).eval()
    for name, parameter in model.named_parameters():
        gain = "ln_" in name and name.endswith("weight")
        if "conv_pass" in name or gain or name.endswith("bias"):
            nn.init.normal_(parameter, mean=1.0 if gain else 0.0, std=0.3)
    return model


@pytest.fixture(scope="module")
def tiny() -> Mmdgpp:
    return trained(TINY)


@pytest.fixture(scope="module")
def engine(tiny: Mmdgpp) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(export_graph(tiny.deployed(), FAMILY, TINY), threads=1)


@pytest.fixture(scope="module")
def published() -> PublishedReference:
    return PublishedReference("mmdgpp")


@pytest.fixture(scope="module")
def golden(published: PublishedReference) -> dict[str, NDArray[np.float32]]:
    return published.outputs


@pytest.fixture(scope="module")
def full(published: PublishedReference) -> Mmdgpp:
    model = Mmdgpp(MmdgppConfig()).eval()
    load_into(model, Checkpoint(Path("mmdgpp.pth"), "0" * 64, published.state_dict), FAMILY)
    return model


def checkpoint(shapes: dict[str, list[int]]) -> Checkpoint:
    """Return weights of those names and shapes that take hardly any memory."""
    tensors = {
        name: torch.arange(float(shape[-1])).expand(shape) if shape else torch.zeros(())
        for name, shape in shapes.items()
    }
    return Checkpoint(Path("mmdgpp.pth"), "0" * 64, tensors)


def assert_golden(
    logits: NDArray[np.float32], golden: dict[str, NDArray[np.float32]], case: str
) -> None:
    tolerance = 4.0 * golden[f"logits_std_missing_{case}"] + 1e-4
    assert (np.abs(logits - golden[f"logits_missing_{case}"]) <= tolerance).all()


def one_by_one(form: nn.Module, inputs: tuple[Tensor, ...]) -> list[NDArray[np.float32]]:
    """Return a form's outputs, each capture run alone."""
    with torch.no_grad():
        rows = [form(*(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))]
    return [torch.cat(column).numpy() for column in zip(*rows, strict=True)]


def test_every_published_key_is_loaded_or_dropped_by_name(published, caplog):
    shapes = published.shapes
    with torch.device("meta"):
        model = Mmdgpp(MmdgppConfig())
    own = {n: list(v.shape) for n, v in model.state_dict().items()}
    assert {name: shapes[name] for name in own} == own
    model.to_empty(device="cpu")
    with caplog.at_level(logging.INFO):
        load_into(model, checkpoint(shapes), FAMILY)
    assert "dropped" in caplog.text
    assert sum(p.numel() for p in model.parameters()) <= 89_000_000


def test_a_class_token_kept_under_its_other_name_alone_is_taken(tiny, caplog):
    tensors = dict(tiny.state_dict())
    token = tensors.pop("model.visual.class_embedding")
    other = Mmdgpp(TINY)
    with caplog.at_level(logging.INFO):
        load_into(
            other, Checkpoint(Path("w"), "0" * 64, {**tensors, "class_token_1": token}), FAMILY
        )
    assert torch.equal(other.model.visual.class_embedding, token)
    assert "model.visual.class_embedding is taken from class_token_1" in caplog.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model.visual.pooler": [3]}, "1 unknown: model.visual.pooler"),
        ({"prompts_4": [5, 5, 512]}, "1 unknown: prompts_4"),
        ({"conv_pass_2.3.ln_q.weight": None}, "1 missing: conv_pass_2.3.ln_q.weight"),
        ({"pos_3": [50, 768]}, r"pos_3 is \[50, 768\], expected \[197, 768\]"),
    ],
)
def test_any_other_key_is_an_error(published, change, complaint):
    shapes = {n: s for n, s in {**published.shapes, **change}.items() if s is not None}
    with torch.device("meta"):
        model = Mmdgpp(MmdgppConfig())
    with pytest.raises(CheckpointError, match=complaint):
        load_into(model, checkpoint(shapes), FAMILY)


def test_deployment_stores_at_most_89_million_parameters():
    with torch.device("meta"):
        deployed = Mmdgpp(MmdgppConfig()).deployed()
    assert sum(p.numel() for p in deployed.parameters()) <= 89_000_000


@pytest.mark.slow
@pytest.mark.parametrize("form", ["published", "deployed"])
def test_both_forms_reproduce_the_golden_logits(form, full, published, golden):
    images = [torch.from_numpy(x) for x in published.inputs().values()]
    module = full if form == "published" else full.deployed()
    for case, present in CASES.items():
        logits, _ = one_by_one(module, (*images, torch.tensor([present, present])))
        assert_golden(logits, golden, case)


@pytest.mark.slow
def test_features_and_certainty_are_the_golden_ones(full, published, golden):
    images = [torch.from_numpy(x) for x in published.inputs().values()]
    with torch.no_grad():
        features, variances = full.encode(*images, torch.ones(2, 3))
        certainty = full.class_certainty(variances, torch.ones(2, 3, dtype=torch.bool))
    for index, name in enumerate(NAMES):
        # Two runs of 50 samples scatter these features, of magnitude 4, by about 5e-3.
        np.testing.assert_allclose(features[:, index], golden[f"feature_{name}"], atol=2e-2)
        # What the published code reports is the class token's, of whichever modality was taken.
        found = float(certainty[:, index].mean())
        assert found == pytest.approx(float(golden[f"certainty_mean_{name}"]), abs=4e-3)


@pytest.mark.slow
def test_the_full_graph_reproduces_the_golden_logits_and_stays_small(full, published, golden):
    graph = export_graph(full.deployed(), FAMILY, full.config)
    assert count_nodes(graph) <= 2500
    engine = OnnxRuntimeEngine(graph, threads=2)
    images = published.inputs()
    for case, present in CASES.items():
        inputs = {**images, "present": np.float32([present, present])}
        logits = engine.run(inputs).logits
        assert_golden(logits, golden, case)
        np.testing.assert_array_equal(engine.run(inputs).logits, logits)


@pytest.mark.parametrize("case", CASES)
def test_golden_tolerance_tells_the_cases_apart(case, golden):
    for other in CASES:
        if other != case:
            with pytest.raises(AssertionError):
                assert_golden(golden[f"logits_missing_{other}"], golden, case)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"depth": 1},
        {"patch_size": 32, "depth": 3},
        {"width": 96, "heads": 3, "feature_width": 24},
        {"adapter_dim": 16},
        {"adapter_dim": 6, "adapter_heads": 2},
        {"adapter_theta": 0.0},
        {"exp_rate": 10.0},
    ],
)
def test_the_deployed_form_is_the_same_function(changes):
    model = trained(MmdgppConfig.model_validate({**TINY.model_dump(), **changes}))
    inputs = FAMILY.example_inputs(model.config, batch=4)
    with torch.no_grad():
        for expected, found in zip(model(*inputs), model.deployed()(*inputs), strict=True):
            assert expected.shape == found.shape
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("value", [float("nan"), 1e30, 0.0])
@pytest.mark.parametrize("absent", [(0,), (1,), (2,), (1, 2), (0, 2)])
def test_an_absent_modality_changes_no_bit(absent, value, tiny, engine):
    inputs = list(FAMILY.example_inputs(TINY, batch=2))
    inputs[3] = torch.ones(2, 3)
    inputs[3][0, list(absent)] = 0.0  # the second capture has them
    changed = [x.clone() for x in inputs]
    for index in absent:
        changed[index][0] = value
    for form in (tiny, tiny.deployed()):
        with torch.no_grad():
            for before, after in zip(form(*inputs), form(*changed), strict=True):
                assert before.isfinite().all()
                assert torch.equal(before, after)

    def run(tensors: list[Tensor]) -> list[bytes]:
        named = {n: x.numpy() for n, x in zip(FAMILY.input_names, tensors, strict=True)}
        outputs = engine.run(named)
        assert outputs.certainty is not None
        return [outputs.logits.tobytes(), outputs.certainty.tobytes()]

    assert run(inputs) == run(changed)


@pytest.mark.parametrize("modality", range(3))
def test_a_present_modality_does_change_the_logits(modality, tiny):
    inputs = list(FAMILY.example_inputs(TINY, batch=1))
    with torch.no_grad():
        before, _ = tiny(*inputs)
        inputs[modality] = inputs[modality].flip(-1)
        after, _ = tiny(*inputs)
    assert (before - after).abs().max() > 1e-4


def test_a_batch_may_mix_captures_with_different_modalities_missing(tiny, engine):
    inputs = list(FAMILY.example_inputs(TINY, batch=7))
    masks = [(1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    inputs[3] = torch.tensor(masks, dtype=torch.float32)
    alone = one_by_one(tiny, tuple(inputs))
    with torch.no_grad():
        together = [x.numpy() for x in tiny.deployed()(*inputs)]
    named = {n: x.numpy() for n, x in zip(FAMILY.input_names, inputs, strict=True)}
    outputs = engine.run(named)
    assert outputs.certainty is not None
    for expected, first, second in zip(
        alone, together, (outputs.logits, outputs.certainty), strict=True
    ):
        np.testing.assert_allclose(first, expected, atol=1e-5)
        np.testing.assert_allclose(second, expected, atol=1e-5)
    # The captures differ by more than by what is missing, so the rows must not be alike.
    assert np.abs(np.diff(alone[0], axis=0)).max(axis=1).min() > 1e-4


def test_an_adapter_asks_its_own_modality_where_the_other_is_absent():
    torch.manual_seed(0)
    adapter = SelectiveAdapter(TINY)
    nn.init.normal_(adapter.adapter_up.weight)
    own, other = torch.randn(2, 1, TINY.tokens, TINY.width)
    keys = adapter.ln_k_v(adapter.act(adapter.adapter_down_k_v(own)))
    _, expected = adapter.cross_attention(keys, keys)
    with torch.no_grad():
        _, asked = adapter(own, other, torch.tensor([True]))
        added, absent = adapter(own, other, torch.tensor([False]))
        same, _ = adapter(own, torch.randn_like(other), torch.tensor([False]))
    torch.testing.assert_close(absent, expected)
    assert torch.equal(added, same)
    assert not torch.allclose(asked[..., 0], expected[..., 0])


@pytest.mark.parametrize(("surer", "other_matters"), [("other", True), ("own", False)])
def test_every_query_comes_from_the_surer_modality(surer, other_matters):
    torch.manual_seed(0)
    selection = TokenSelection(8, 8, 2.5)
    # A log variance is the mean of its token's channels: here about -1 or +1.
    nn.init.eye_(selection.get_parameter("q_linear_1.weight"))
    nn.init.eye_(selection.get_parameter("q_linear_2.weight"))
    nn.init.constant_(selection.get_parameter("std_mlp_1.weight"), 1.0 / 8)
    nn.init.constant_(selection.get_parameter("std_mlp_2.weight"), 1.0 / 8)
    own = torch.randn(1, 5, 8) + (1.0 if surer == "other" else -3.0)
    other = torch.randn(1, 5, 8) + (-3.0 if surer == "other" else 1.0)
    # Another direction in the channels, but the same mean and so the same variance.
    moved = other + torch.tensor([1.0, -1.0] * 4)
    with torch.no_grad():
        found, variances = selection(other, own)
        after, _ = selection(moved, own)
    assert bool((variances[..., 0] < variances[..., 1]).all()) == (surer == "other")
    assert torch.allclose(found, after) != other_matters


def test_many_samples_end_where_the_closed_form_starts():
    torch.manual_seed(0)
    selection = TokenSelection(8, 8, 2.5)
    token = 5.0 * torch.randn(1, 1, 8)
    with torch.no_grad():
        _, variances = selection(token, token)
        query = selection.get_submodule("q_linear_1")(token)
        mean = selection.get_submodule("mean_mlp_1")(query)
        deviation = (0.5 * selection.get_submodule("std_mlp_1")(query)).exp()
        drawn = mean + deviation * torch.randn(100_000, 1, 8)
    expected = float(variances[..., 0])
    assert float(drawn.var(dim=0).mean()) == pytest.approx(expected, rel=0.03)
    # The standard deviation, which the method's names suggest, would be another number.
    assert float(drawn.std(dim=0).mean()) != pytest.approx(expected, rel=0.03)


def test_certainty_is_zero_where_absent_and_else_falls_with_the_variance():
    model = trained(TINY)
    inputs = list(FAMILY.example_inputs(TINY, batch=2))
    inputs[3] = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    with torch.no_grad():
        _, before = model(*inputs)
        for block in range(TINY.depth):
            for modality in range(3):
                attention = model.adapter(modality, block).cross_attention
                # No spread at all is a log variance of 0: a variance of 1 in every channel.
                attention.get_parameter("std_mlp_1.weight").zero_()
                attention.get_parameter("std_mlp_2.weight").zero_()
        _, after = model(*inputs)
    present = inputs[3] > 0.5
    assert ((before > 0.0) & (before < 1.0)).equal(present)
    assert (before[~present] == 0.0).all()
    expected = torch.where(present, torch.tensor(-2.5).exp(), 0.0)
    torch.testing.assert_close(after, expected, rtol=1e-6, atol=0.0)


def test_features_have_length_one_and_are_zero_where_absent(tiny):
    inputs = list(FAMILY.example_inputs(TINY, batch=2))
    with torch.no_grad():
        features, certainty = tiny.features(*inputs)
        nothing, unsure = tiny(*inputs[:3], torch.zeros(2, 3))
    torch.testing.assert_close(features.norm(dim=-1), inputs[3])
    assert features.shape == (2, 3, TINY.feature_width)
    assert certainty.shape == (2, 3)
    assert ((certainty > 0.0) == (inputs[3] > 0.5)).all()
    # All absent: what is left is the classifier's bias, which no caller may be given as a score.
    assert torch.equal(nothing, tiny.fc_all[0].bias.expand(2, 2))
    assert not unsure.any()


def test_training_draws_nothing_and_reaches_every_parameter():
    model = trained(TINY).train()
    inputs = FAMILY.example_inputs(TINY, batch=3)
    logits, certainty = model(*inputs)
    assert torch.equal(model(*inputs)[0], logits)
    assert not certainty.requires_grad
    logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("normalization", ["symmetric", "clip"])
def test_the_normalization_a_checkpoint_saw_is_a_setting(normalization):
    config = MmdgppConfig(normalization=normalization)
    spec = FAMILY.preprocess(config)[Modality.RGB]
    expected = {
        "symmetric": ((127.5, 127.5, 127.5), (128.0, 128.0, 128.0)),
        "clip": ((122.771, 116.746, 104.094), (68.501, 66.632, 70.323)),
    }[normalization]
    assert spec.mean == pytest.approx(expected[0], abs=1e-3)
    assert spec.std == pytest.approx(expected[1], abs=1e-3)


def test_tiny_graphs_are_ones_tensorrt_builds(tiny):
    graph = export_graph(tiny.deployed(), FAMILY, TINY)
    half = convert(graph, Precision.FP16, islands_matching(graph, FAMILY.float32_islands))
    for precise in (graph, half):
        lint_tensorrt(precise)
    plan = build_plan(
        half,
        Backend.TENSORRT_RTX,
        shapes=FAMILY.input_shapes(TINY),
        max_batch=4,
        compute_capabilities=("8.6",),
    )
    assert plan.compute_capabilities == ("8.6",)
    tensors = FAMILY.example_inputs(TINY, batch=8)
    inputs = {n: x.numpy() for n, x in zip(FAMILY.input_names, tensors, strict=True)}
    report = emulate_fp16(half, [inputs], OnnxRuntimeEngine(graph).run(inputs).logits)
    assert report.finite
    assert report.max_activation < 1000.0


@pytest.mark.parametrize(("islands", "finite"), [(FAMILY.float32_islands, True), ((), False)])
def test_a_variance_beyond_half_precision_needs_the_island(islands, finite):
    model = trained(TINY)
    for modality in range(3):
        attention = model.adapter(modality, 0).cross_attention
        with torch.no_grad():
            attention.get_parameter("std_mlp_1.weight").mul_(40.0)
    graph = export_graph(model.deployed(), FAMILY, TINY)
    tensors = FAMILY.example_inputs(TINY, batch=4)
    inputs = {n: x.numpy() for n, x in zip(FAMILY.input_names, tensors, strict=True)}
    half = convert(graph, Precision.FP16, islands_matching(graph, islands))
    report = emulate_fp16(half, [inputs], OnnxRuntimeEngine(graph).run(inputs).logits)
    assert report.finite == finite


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patch_size": 9}, "image_size 64 is not a multiple of patch_size 9"),
        ({"heads": 5}, "width 64 is not a multiple of heads 5"),
        ({"adapter_dim": 9}, "adapter_dim 9 is not a multiple of adapter_heads 8"),
        ({"depth_near_mm": 1500}, "depth_near_mm 1500 must be less than depth_far_mm"),
        ({"exp_rate": 0.0}, "exp_rate"),
        ({"normalization": "sepia"}, "normalization"),
        ({"num_sample": 50}, "num_sample"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        MmdgppConfig.model_validate({**TINY.model_dump(), **changes})
