"""MMDA, published and deployed form."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from fasdk.backends.engine import Backend
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.backends.tensorrt.plan import build_plan
from fasdk.bundle.manifest import Precision
from fasdk_engines.graph.emulation import emulate_fp16
from fasdk_engines.graph.export import count_nodes, export_graph
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.graph.lint import lint_tensorrt
from fasdk_engines.graph.types import infer_types, parse_graph
from fasdk_engines.models.checkpoint import Checkpoint, load_into
from fasdk_engines.models.mmda.config import LAMBDA_INIT, MmdaConfig, Routing
from fasdk_engines.models.mmda.published import (
    Alignment,
    DomainDifferenceAttention,
    Fusion,
    Gate,
    MixtureOfExperts,
    Mmda,
    RefineLayer,
)
from fasdk_engines.models.registry import get_family

from support import random_weights
from support.golden import PublishedReference
from support.requirements import Requirement

FAMILY = get_family("mmda")
TINY = FAMILY.configs["tiny"]
NAMES = ("rgb", "depth", "ir")
GOLDEN_ROUTINGS = {
    Routing.SECOND_ALWAYS: "logits_second_expert_always",
    Routing.ABOVE_THRESHOLD: "logits_second_expert_above_threshold",
}


def tiny_with(**changes: object) -> MmdaConfig:
    return MmdaConfig.model_validate({**TINY.model_dump(), **changes})


def trained(config: MmdaConfig, module: nn.Module | None = None) -> nn.Module:
    """Return a module whose gates are decided: fresh ones weigh all experts alike."""
    module = Mmda(config) if module is None else module
    random_weights.fill(module)
    for layer in module.modules():
        if isinstance(layer, Gate):
            layer.to_gates.weight.data *= 3.0
    return module.eval()


@pytest.fixture(scope="module")
def tiny() -> Mmda:
    model = trained(TINY)
    assert isinstance(model, Mmda)
    return model


@pytest.fixture(scope="module")
def tiny_graph(tiny: Mmda) -> bytes:
    return export_graph(tiny.deployed(), FAMILY, TINY)


def test_the_state_dict_is_the_published_one_without_what_only_training_needs():
    config = MmdaConfig()
    with torch.device("meta"):
        model = Mmda(config)
        model.adapter.u_align = Alignment(config, config.align_depth)
    own = {n: list(v.shape) for n, v in model.state_dict().items()}
    published = PublishedReference("mmda").shapes
    # With every alignment stage, only CLIP's text tower is left out.
    assert {n: published.get(n) for n in own} == own
    text = ("model.transformer.", "model.token_embedding.", "model.ln_final.")
    text += ("model.positional_embedding", "model.text_projection", "model.logit_scale")
    assert all(n.startswith(text) for n in published.keys() - own.keys())


def test_only_training_tensors_are_dropped_by_name(caplog):
    model = Mmda(TINY)
    published = Mmda(TINY)
    published.adapter.u_align = Alignment(TINY, TINY.align_depth)
    text = ("model.logit_scale", "model.transformer.resblocks.0.ln_1.bias")
    tensors = published.state_dict() | {n: torch.ones(1) for n in text}
    with caplog.at_level(logging.INFO):
        load_into(model, Checkpoint(Path("published"), "0" * 64, tensors), FAMILY)
    assert "dropped" in caplog.text
    assert all(torch.equal(model.state_dict()[n], tensors[n]) for n in model.state_dict())
    for name in ("adapter.u_align.refine.0.ln3.bias", "model.visual.ln_final.bias", "logit_scale"):
        assert not any(re.fullmatch(pattern, name) for pattern in FAMILY.research_only)


class Golden:
    """The published outputs, and the published weights under each routing."""

    def __init__(self) -> None:
        published = PublishedReference("mmda")
        self.outputs = published.outputs
        self.checkpoint = Checkpoint(Path("mmda.pth"), "0" * 64, published.state_dict)
        self.inputs = published.inputs()
        self.tensors = [torch.from_numpy(self.inputs[n]) for n in NAMES]

    def model(self, routing: Routing) -> Mmda:
        model = Mmda(MmdaConfig(routing=routing)).eval()
        load_into(model, self.checkpoint, FAMILY)
        return model

    def assert_logits(self, logits: np.ndarray, routing: Routing) -> None:
        if routing is not Routing.EXPECTED:
            expected = self.outputs[GOLDEN_ROUTINGS[routing]]
            np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
            return
        # A mean of 200 draws scatters by std / sqrt(200). Experts behind experts are not linear, so
        # the expected weights need not give the mean exactly; here they do within 4 of those.
        tolerance = 4.0 * self.outputs["logits_std"] / math.sqrt(200) + 1e-4
        assert (np.abs(logits - self.outputs["logits_mean"]) <= tolerance).all()


@pytest.mark.slow
def test_every_form_reproduces_the_golden_outputs():
    golden = Golden()
    for routing in Routing:
        model = golden.model(routing)
        with torch.no_grad():
            golden.assert_logits(model(*golden.tensors)[0].numpy(), routing)
            deployed = model.deployed()
            golden.assert_logits(deployed(*golden.tensors)[0].numpy(), routing)
            if routing is Routing.EXPECTED:
                features = model.encode(*golden.tensors).numpy()
                for index, name in enumerate(NAMES):
                    expected = golden.outputs[f"feature_{name}"]
                    np.testing.assert_allclose(features[:, index], expected, rtol=0, atol=1e-4)
                assert sum(p.numel() for p in deployed.parameters()) <= 125e6
        graph = export_graph(deployed, FAMILY, model.config)
        assert count_nodes(graph) <= 700
        engine = OnnxRuntimeEngine(graph, threads=2)
        whole = engine.run(golden.inputs).logits
        golden.assert_logits(whole, routing)
        for row in range(len(whole)):
            alone = engine.run({n: x[row : row + 1] for n, x in golden.inputs.items()}).logits
            np.testing.assert_allclose(alone[0], whole[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"routing": "second-always"},
        {"routing": "above-threshold"},
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"depth": 1},
        {"width": 96, "heads": 3},
        {"feature_width": 24, "attention_heads": 2, "expert_hidden": 7},
        {"experts": 1, "constant_experts": 1},
        {"experts": 3, "constant_experts": 5},
    ],
)
def test_the_deployed_form_is_the_same_function(changes):
    model = trained(tiny_with(**changes))
    inputs = FAMILY.example_inputs(model.config, batch=5)
    with torch.no_grad():
        expected, found = model(*inputs)[0], model.deployed()(*inputs)[0]
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


def test_the_routings_differ_so_that_a_wrong_one_shows():
    logits = []
    for routing in Routing:
        model = trained(tiny_with(routing=routing))
        with torch.no_grad():
            logits.append(model(*FAMILY.example_inputs(TINY, batch=8))[0])
    for index in range(3):
        assert (logits[index] - logits[index - 1]).abs().max() > 1e-3


def gate_of(routing: Routing, probabilities: list[float], threshold: float = 0.2) -> list[float]:
    """Return a gate's weights for a token with these gate probabilities."""
    count = len(probabilities) - 1
    config = tiny_with(
        routing=routing, threshold=threshold, experts=count, feature_width=8, attention_heads=2
    )
    gate = Gate(config.model_copy(update={"constant_experts": 1})).eval()
    logits = torch.log(torch.tensor(probabilities))
    gate.to_gates.weight.data.zero_()
    gate.to_gates.weight.data[:, 0] = logits
    token = torch.zeros(1, 1, 8)
    token[..., 0] = 1.0
    with torch.no_grad():
        weights: list[float] = gate(token)[0][0, 0].tolist()
    return weights


@pytest.mark.parametrize(
    ("probabilities", "routing", "weights"),
    [
        # g1 = 0.9 and g2 = 0.1, half the threshold: used every second time.
        ([0.72, 0.08, 0.15, 0.05], Routing.SECOND_ALWAYS, [0.8276, 0.0, 0.1724, 0.0]),
        ([0.72, 0.08, 0.15, 0.05], Routing.ABOVE_THRESHOLD, [0.8276, 0.0, 0.0, 0.0]),
        ([0.72, 0.08, 0.15, 0.05], Routing.EXPECTED, [0.8276, 0.0, 0.1486, 0.0]),
        ([0.06, 0.81, 0.09, 0.04], Routing.EXPECTED, [0.0, 0.9, 0.05, 0.0]),
        ([0.06, 0.81, 0.09, 0.04], Routing.SECOND_ALWAYS, [0.0, 0.9, 0.1, 0.0]),
        # Beyond the threshold all three agree.
        ([0.1, 0.2, 0.3, 0.4], Routing.EXPECTED, [0.0, 0.0, 0.4286, 0.5714]),
        ([0.1, 0.2, 0.3, 0.4], Routing.ABOVE_THRESHOLD, [0.0, 0.0, 0.4286, 0.5714]),
        ([0.1, 0.2, 0.3, 0.4], Routing.SECOND_ALWAYS, [0.0, 0.0, 0.4286, 0.5714]),
    ],
)
def test_two_experts_weigh_what_the_routing_says(probabilities, routing, weights):
    assert gate_of(routing, probabilities) == pytest.approx(weights, abs=1e-4)


def test_training_draws_the_second_expert_as_often_as_published():
    torch.manual_seed(0)
    gate = Gate(tiny_with(feature_width=8, attention_heads=2)).train()
    gate.to_gates.weight.data.zero_()
    gate.to_gates.weight.data[:, 0] = torch.log(
        torch.tensor([0.81, 0.09, 0.02, 0.02, 0.02, 0.02, 0.02])
    )
    tokens = torch.zeros(4000, 1, 8)
    tokens[..., 0] = 1.0
    weights, loss = gate(tokens)
    second = weights[:, 0, 1]
    assert sorted(set(second.tolist())) == pytest.approx([0.0, 0.1], abs=1e-4)
    assert (second > 0).float().mean() == pytest.approx(0.5, abs=0.03)  # 0.1 / 0.2
    # Balance: 7^2 * mean over experts of (share of first choices) * (mean probability), here
    # 49 * 0.81 / 7; the logits' log-sum-exp is 0.
    assert loss.item() == pytest.approx(1e-2 * 49 * 0.81 / 7, rel=1e-4)
    gate.eval()
    assert gate(tokens)[1].item() == 0.0


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def test_a_mixture_is_the_weighed_sum_of_its_two_best_experts():
    mixture = trained(TINY, MixtureOfExperts(TINY))
    x = np.random.default_rng(0).standard_normal((6, TINY.feature_width))
    state = {n: v.double().numpy() for n, v in mixture.state_dict().items()}
    expected = np.zeros_like(x)
    for row, token in enumerate(x):
        scores = np.exp(state["gate.to_gates.weight"] @ token)
        first, second = np.argsort(-scores)[:2]
        g1, g2 = scores[[first, second]] / (scores[first] + scores[second])
        for expert, weight in ((first, g1), (second, g2 * min(1.0, g2 / 0.2))):
            prefix = f"experts.experts.{expert}."
            if f"{prefix}const" in state:
                expected[row] += weight * state[f"{prefix}const"]
                continue
            net = [state.get(f"{prefix}net.{i}.weight") for i in range(4)]
            bias = [state.get(f"{prefix}net.{i}.bias") for i in range(4)]
            hidden = net[1] @ (token / np.sqrt(np.mean(token**2) + 1e-6) * net[0]) + bias[1]
            value, gate = np.split(hidden, 2)
            activated = value * gate * 0.5 * (1.0 + erf(gate / math.sqrt(2.0)))
            activated *= state[f"{prefix}net.2.mult_bias"]
            expected[row] += weight * (net[3] @ activated + bias[3])
    with torch.no_grad():
        found, _ = mixture(torch.from_numpy(x).float().reshape(2, 3, -1))
    np.testing.assert_allclose(found.reshape(6, -1).numpy(), expected, rtol=0, atol=1e-5)


def test_difference_attention_takes_the_domain_away():
    attention = trained(TINY, DomainDifferenceAttention(TINY))
    rng = np.random.default_rng(0)
    width, heads = TINY.feature_width, TINY.attention_heads
    x, partner = rng.standard_normal((2, 3, width))
    state = {n: v.double().numpy() for n, v in attention.state_dict().items()}

    def softmax(scores: np.ndarray) -> np.ndarray:
        powers = np.exp(scores)
        return powers / powers.sum(-1, keepdims=True)

    share = np.exp(state["lambda_q1"] @ state["lambda_k1"]) + LAMBDA_INIT
    share -= np.exp(state["lambda_q2"] @ state["lambda_k2"])
    mixed = np.zeros_like(x)
    for columns in np.split(np.arange(width), heads):
        own, domain = (
            softmax(
                (tokens @ state[f"w_{a}qs.weight"].T)[:, columns]
                @ (tokens @ state[f"w_{a}ks.weight"].T)[:, columns].T
                / np.sqrt(width)
            )
            for tokens, a in ((x, ""), (partner, "d"))
        )
        mixed[:, columns] = (own - share * domain) @ (x @ state["w_vs.weight"].T)[:, columns]
    expected = mixed / np.sqrt(np.mean(mixed**2, -1, keepdims=True) + 1e-5) * state["ln.weight"]
    expected *= 1.0 - (0.8 - 0.6 * math.exp(-3.6))
    with torch.no_grad():
        found = attention(*(torch.from_numpy(t).float()[None] for t in (x, partner)))
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-5)


def test_a_capture_is_its_own_partner_unless_training_names_another():
    fusion = trained(TINY, Fusion(TINY))
    x, other = torch.randn(2, 4, 3, TINY.feature_width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone, _ = fusion(x)
        torch.testing.assert_close(fusion(x, x)[0], alone)
        assert (fusion(x, other)[0] - alone).abs().max() > 1e-3


def test_alignment_attends_only_along_what_it_is_given():
    layer = trained(TINY, RefineLayer(TINY))
    x = torch.randn(4, 1, TINY.feature_width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        captures, _ = layer(x)
        torch.testing.assert_close(layer(x[:1])[0], captures[:1])
        # The published layer took a batch for one sequence, which coupled its captures.
        coupled, _ = layer(x.transpose(0, 1))
    assert (coupled.transpose(0, 1) - captures).abs().max() > 1e-3


def test_the_classifier_reads_the_outermost_stages_alone():
    deep = trained(TINY, Alignment(TINY, 3))
    x = torch.randn(2, 1, TINY.feature_width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = deep(x)
        for inner in (*deep.refine[1:], *deep.remapping[1:]):
            random_weights.fill(inner, seed=1)
        torch.testing.assert_close(deep(x), before, rtol=0.0, atol=0.0)
        random_weights.fill(deep.remapping[0], seed=1)
        assert (deep(x) - before).abs().max() > 1e-3


def test_the_checkpoints_own_threshold_counts(tiny):
    model = trained(TINY)
    inputs = FAMILY.example_inputs(TINY, batch=8)
    for layer in model.modules():
        if isinstance(layer, Gate):
            layer.threshold_eval[1] = 0.9
    with torch.no_grad():
        moved = model(*inputs)[0]
        assert (moved - tiny(*inputs)[0]).abs().max() > 1e-3
        torch.testing.assert_close(model.deployed()(*inputs)[0], moved, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("order", [[0], [3, 1], [4, 2, 0, 1, 3], [2, 2, 2]])
def test_a_score_does_not_depend_on_batch_mates(order, tiny):
    inputs = FAMILY.example_inputs(TINY, batch=5)
    with torch.no_grad():
        alone = torch.cat([tiny(*(x[i : i + 1] for x in inputs))[0] for i in range(5)])
        for form in (tiny, tiny.deployed()):
            found = form(*(x[order] for x in inputs))[0]
            torch.testing.assert_close(found, alone[order], rtol=0.0, atol=1e-5)


def test_the_fused_feature_is_what_the_alignment_starts_from(tiny):
    inputs = FAMILY.example_inputs(TINY, batch=2)
    with torch.no_grad():
        fused = tiny.features(*inputs)
        assert fused.shape == (2, TINY.feature_width)
        logits, _ = tiny.adapter.classifier(tiny.adapter.u_align(fused[:, None]))
        torch.testing.assert_close(tiny(*inputs)[0], logits)


def test_training_draws_and_reaches_every_parameter():
    model = trained(TINY).train()
    inputs = FAMILY.example_inputs(TINY, batch=16)
    first = model(*inputs)[0]
    assert not torch.equal(first, model(*inputs)[0])
    first.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(*inputs)[0], model(*inputs)[0])


def test_an_absent_modality_is_a_black_image():
    for spec in FAMILY.preprocess(MmdaConfig()).values():
        assert spec.missing_value == -0.99609375
    assert FAMILY.required == ()


def test_gates_what_they_read_and_the_residual_stream_stay_float32_in_half_precision(tiny_graph):
    half = convert(tiny_graph, Precision.FP16, islands_matching(tiny_graph, FAMILY.float32_islands))
    types = infer_types(parse_graph(half))
    float16 = 10
    nodes = [n for n in parse_graph(half).graph.node if n.op_type != "Cast"]
    gates = [n for n in nodes if "/gate/" in n.name]
    assert sum(n.op_type == "TopK" for n in gates) == 4
    for node in gates:
        assert all(types[v].element != float16 for v in (*node.input, *node.output) if v), node.name
    before = [n for n in nodes if n.name.startswith(("/fusion/", "/refine/", "/remap/"))]
    before = [n for n in before if "/mixture/" not in n.name] + [
        n for n in nodes if n.name == "/Add"
    ]
    assert {"/fusion/ln_2/LayerNormalization", "/remap/Add_2", "/Add"} <= {n.name for n in before}
    assert all(types[v].element != float16 for n in before for v in n.output), (
        "float16 before gates"
    )
    trunk = [n for n in nodes if n.name.startswith("/visual/blocks")]
    stream = [n for n in trunk if n.op_type in ("Add", "LayerNormalization")]
    assert len(stream) == 8
    assert all(types[v].element != float16 for n in stream for v in n.output), "float16 stream"
    layers = [n for n in trunk if n.op_type in ("Gemm", "MatMul")]
    assert all(types[v].element == float16 for n in layers for v in n.output), "float32 layers"
    experts = [
        *(n for n in nodes if n.op_type == "Gemm" and "/classify/" in n.name),
        *(n for n in nodes if n.name in ("/fusion/mixture/Gemm", "/refine/mixture/Gemm")),
    ]
    assert len(experts) >= 4
    assert all(types[n.output[0]].element == float16 for n in experts if "logits" not in n.output)


def test_tiny_graphs_are_ones_tensorrt_builds(tiny_graph):
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    islands = islands_matching(tiny_graph, FAMILY.float32_islands)
    half = convert(tiny_graph, Precision.FP16, islands)
    for graph in (tiny_graph, half):
        lint_tensorrt(graph)
        plan = build_plan(
            graph,
            Backend.TENSORRT_RTX,
            shapes=FAMILY.input_shapes(TINY),
            max_batch=4,
            compute_capabilities=("8.6",),
        )
        assert plan.compute_capabilities == ("8.6",)
    tensors = FAMILY.example_inputs(TINY, batch=8)
    inputs = {n: x.numpy() for n, x in zip(FAMILY.input_names, tensors, strict=True)}
    reference = OnnxRuntimeEngine(tiny_graph, threads=1).run(inputs).logits
    report = emulate_fp16(half, [inputs], reference, threads=1)
    assert report.finite
    assert report.max_activation < 1000.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patch_size": 9}, "image_size 64 is not a multiple of patch_size 9"),
        ({"heads": 5}, "width 64 is not a multiple of heads 5"),
        ({"attention_heads": 5}, "feature_width 32 is not a multiple of attention_heads 5"),
        ({"depth_near_mm": 1500}, "depth_near_mm 1500 must be less than depth_far_mm"),
        ({"routing": "random"}, "routing"),
        ({"threshold": 1.5}, "threshold"),
        ({"align_depth": 0}, "align_depth"),
        ({"layers": 3}, "layers"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        tiny_with(**changes)
