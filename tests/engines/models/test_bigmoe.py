"""BIG-MoE, published and deployed form."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fasdk.backends.engine import Backend
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.backends.tensorrt.plan import build_plan
from fasdk.bundle.manifest import Precision
from fasdk.errors import ParityError
from fasdk_engines.graph.emulation import emulate_fp16
from fasdk_engines.graph.export import count_nodes, export_graph
from fasdk_engines.graph.fp16 import convert, convert_to_half
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.graph.lint import lint_tensorrt
from fasdk_engines.graph.parity import graph_parity, selection_session, torch_parity
from fasdk_engines.graph.types import infer_types, parse_graph
from fasdk_engines.models.bigmoe.config import BigMoeConfig
from fasdk_engines.models.bigmoe.published import BigMoe, ExpertAdapter
from fasdk_engines.models.expert_selection import (
    ProductKeySelection,
    count_differing,
    expert_selections,
    forced_experts,
    recorded_experts,
    recording,
)
from fasdk_engines.models.registry import get_family

from support.golden import PublishedReference
from support.requirements import Requirement

FAMILY = get_family("bigmoe")
TINY = FAMILY.configs["tiny"]
ORDER = ("rgb", "ir", "depth")  # of the published forward
CASES = ("none", "depth", "ir")  # which modality is zeroed in the golden outputs


def trained(config: BigMoeConfig, seed: int = 0) -> BigMoe:
    """Return a model whose prompts, gains and gates all do something."""
    torch.manual_seed(seed)
    model = BigMoe(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma") or ("ln_" in name and name.endswith("weight")):
            nn.init.normal_(parameter, mean=1.0, std=0.2)
        elif name.endswith(("keys", "modality_prompt", "P_s", "class_token")):
            nn.init.normal_(parameter)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
        elif name.startswith(("adaptors", "VP_learner")):
            nn.init.normal_(parameter, std=2.0 * parameter[0].numel() ** -0.5)
    return model


@pytest.fixture(scope="module")
def tiny() -> BigMoe:
    return trained(TINY)


@pytest.fixture(scope="module")
def tiny_graph(tiny: BigMoe) -> bytes:
    return export_graph(tiny.deployed(), FAMILY, TINY)


@pytest.fixture(scope="module")
def published() -> PublishedReference:
    return PublishedReference("bigmoe")


@pytest.fixture(scope="module")
def golden(published: PublishedReference) -> dict[str, np.ndarray]:
    return published.outputs


@pytest.fixture(scope="module")
def full(published: PublishedReference) -> BigMoe:
    model = BigMoe(BigMoeConfig()).eval()
    model.load_state_dict(published.state_dict)
    return model


def golden_inputs(published: PublishedReference, missing: str) -> dict[str, np.ndarray]:
    inputs = published.inputs(missing)
    return {name: inputs[name] for name in ORDER}


def assert_golden(logits: np.ndarray, golden: dict[str, np.ndarray], missing: str) -> None:
    assert (np.abs(logits - golden[f"logits_missing_{missing}"]) <= 1e-3).all()


def test_the_state_dict_is_the_published_one(published):
    with torch.device("meta"):
        own = {n: list(v.shape) for n, v in BigMoe(BigMoeConfig()).state_dict().items()}
    assert own == published.shapes
    assert len(own) == 371


@pytest.mark.slow
@pytest.mark.parametrize("missing", CASES)
def test_both_forms_reproduce_the_golden_logits(missing, full, published, golden):
    inputs = [torch.from_numpy(x) for x in golden_inputs(published, missing).values()]
    with torch.no_grad():
        for form in (full, full.deployed()):
            assert_golden(form(*inputs)[0].numpy(), golden, missing)


@pytest.mark.slow
def test_the_published_argument_order_is_rgb_ir_depth(full, published, golden):
    rgb, ir, depth = golden_inputs(published, "none").values()
    with torch.no_grad():
        (swapped,) = full(*(torch.from_numpy(x) for x in (rgb, depth, ir)))
    assert (np.abs(swapped.numpy() - golden["logits_missing_none"]) > 1e-2).any()


@pytest.mark.slow
def test_the_full_graph_reproduces_the_golden_logits_and_stays_small(full, published, golden):
    deployed = full.deployed()
    graph = export_graph(deployed, FAMILY, full.config)
    lint_tensorrt(graph)
    assert count_nodes(graph) <= 1500
    engine = OnnxRuntimeEngine(graph, threads=2)
    for missing in CASES:
        inputs = golden_inputs(published, missing)
        logits = engine.run(inputs).logits
        assert_golden(logits, golden, missing)
        np.testing.assert_array_equal(engine.run(inputs).logits, logits)
    del engine
    inputs = FAMILY.example_inputs(full.config, batch=3, seed=1)
    torch_parity(full, deployed, [tensor[:1] for tensor in inputs])
    graph_parity(graph, deployed, inputs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"depth": 1},  # nothing but the class token is owed
        {"depth": 2},  # no prompt is handed on
        {"depth": 5},
        {"patch_size": 8},
        {"width": 96, "heads": 3, "mlp_width": 40},
        {"adapter_dim": 4, "prompt_width": 8},
        {"adapter_theta": 0.0},
        {"experts": 16, "expert_heads": 1, "experts_per_head": 3},
        {"expert_heads": 3},
    ],
)
def test_the_deployed_form_is_the_same_function(changes):
    model = trained(BigMoeConfig.model_validate({**TINY.model_dump(), **changes}))
    inputs = FAMILY.example_inputs(model.config, batch=3)
    deployed = model.deployed()
    assert torch_parity(model, deployed, inputs) <= 2e-5
    with torch.no_grad():
        whole = deployed(*inputs)[0]
        assert whole.shape == (3, 2)
        # In a batch, and left to choose for itself.
        torch.testing.assert_close(whole, model(*inputs)[0], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        "adapter.gating.keys",
        "adapter.experts.table",
        "adapter.update.band",
        "adapter.update.asked",
        "adapter.asked_bias",
        "adapter.up",
        "share",
    ],
)
def test_a_wrong_fold_is_refused_by_parity(wrong, tiny):
    deployed = tiny.deployed()
    with torch.no_grad():
        deployed.get_parameter(f"blocks.0.{wrong}").mul_(1.05)
    with pytest.raises(ParityError, match="do not deploy"):
        torch_parity(tiny, deployed, FAMILY.example_inputs(TINY, batch=2))


def test_the_prompt_is_transposed_once_a_block():
    model = trained(TINY.model_copy(update={"depth": 1}))
    adapter = model.adaptors[0]
    assert isinstance(adapter, ExpertAdapter)
    grid, width = TINY.grid, TINY.prompt_width
    gate = torch.zeros(1, grid**2, TINY.gate_width)
    prompt = torch.zeros(1, grid**2, width)
    with torch.no_grad():
        before = adapter.VP_block(prompt, gate).clone()
        prompt[0, 3] = 5.0  # first row, last column
        changed = (adapter.VP_block(prompt, gate) - before).abs().amax(-1)[0]
    # Channel attention reaches every place a little; the place itself most, transposed.
    assert int(changed.argmax()) in (3 * grid, 2 * grid, 3 * grid + 1)
    assert int(changed.argmax()) not in (3, 2, grid + 3)


def test_a_class_token_in_the_last_block_owes_its_adapter_nothing(tiny):
    inputs = FAMILY.example_inputs(TINY, batch=2)
    with torch.no_grad():
        before = tiny(*inputs)[0].clone()
        changed = trained(TINY)
        for parameter in changed.adaptors[-1].parameters():
            parameter.add_(1.0)
        for parameter in changed.adaptors[-2].get_submodule("VP_block").parameters():
            parameter.add_(1.0)
        torch.testing.assert_close(changed(*inputs)[0], before, rtol=0.0, atol=0.0)
        for parameter in changed.adaptors[-2].get_submodule("conv_up").parameters():
            parameter.add_(1.0)
        assert (changed(*inputs)[0] - before).abs().max() > 1e-3


def test_the_graph_chooses_and_scores_as_the_module_does(tiny, tiny_graph):
    lint_tensorrt(tiny_graph)
    inputs = FAMILY.example_inputs(TINY, batch=3)
    deployed = tiny.deployed()
    graph_parity(tiny_graph, deployed, inputs)
    session, names = selection_session(tiny_graph)
    assert len(names) == len(expert_selections(deployed)) == TINY.depth - 1
    one = {n: x[:1].numpy() for n, x in zip(ORDER, inputs, strict=True)}
    with recording(tiny) as places, torch.no_grad():
        tiny(*(x[:1] for x in inputs))
        published = recorded_experts(places)
    found = [torch.from_numpy(x) for x in session.run(names, one)]
    assert [count_differing(a, b) for a, b in zip(found, published, strict=False)] == [0] * len(
        found
    )
    assert len({int(i) for x in found for i in x.flatten()}) > 10  # no trivial gate


def test_no_optimizer_of_onnx_runtime_fuses_anything_in_the_gate(tiny_graph, tmp_path):
    def gate(graph: onnx.ModelProto) -> Counter[tuple[str, str]]:
        nodes = (node for node in graph.graph.node if "/gating/" in node.name)
        # Reshaping and index arithmetic move values; they compute none.
        computing = ("MatMul", "ReduceSum", "Sqrt", "Clip", "Div", "TopK", "Add", "Softmax")
        return Counter((n.domain, n.op_type) for n in nodes if n.op_type in computing or n.domain)

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(tiny_graph, options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx")
    assert gate(optimized) == gate(onnx.load_from_string(tiny_graph))
    assert {n.domain for n in optimized.graph.node} > {""}  # elsewhere it does fuse


def test_a_graph_of_other_weights_is_refused(tiny):
    other = trained(TINY, seed=1)
    graph = export_graph(other.deployed(), FAMILY, TINY)
    with pytest.raises(ParityError, match="do not deploy"):
        graph_parity(graph, tiny.deployed(), FAMILY.example_inputs(TINY, batch=3))


def test_no_score_depends_on_who_else_is_in_the_batch_or_where(tiny, tiny_graph):
    eight = FAMILY.example_inputs(TINY, batch=8, seed=4)
    engine = OnnxRuntimeEngine(tiny_graph, threads=1)

    def logits(rows: list[int]) -> np.ndarray:
        named = zip(ORDER, eight, strict=True)
        return engine.run({n: np.ascontiguousarray(x[rows].numpy()) for n, x in named}).logits

    alone = np.concatenate([logits([row]) for row in range(8)])
    assert alone.std(axis=0).min() > 1e-3  # captures do differ
    for rows in ([0, 1, 2], [7, 0, 3, 3], [6, 5, 4, 3, 2, 1, 0, 7]):
        np.testing.assert_allclose(logits(rows), alone[rows], atol=1e-5)
        with torch.no_grad():
            np.testing.assert_allclose(tiny(*(x[rows] for x in eight))[0], alone[rows], atol=1e-5)


def place(first: Tensor, second: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    indices, scores = ProductKeySelection(first.shape[-1], 1, count)(first, second)
    return indices, scores


def test_experts_are_those_of_the_largest_sums():
    torch.manual_seed(0)
    first, second = torch.randn(2, 50, 1, 6)
    indices, scores = place(first, second, 3)
    every = (first[..., :, None] + second[..., None, :]).flatten(-2)
    expected = every.topk(3)
    torch.testing.assert_close(scores, expected.values)
    assert torch.equal(indices, expected.indices)


def test_forced_experts_are_taken_and_what_they_cost_is_noted():
    choice = ProductKeySelection(2, 1, 1)
    first, second = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 3.0]]])
    assert choice(first, second)[0].item() == 1
    with forced_experts(choice, [torch.tensor([[[2]]])]):
        indices, scores = choice(first, second)
        assert (indices.item(), scores.item()) == (2, 0.0)
        spread = float(first.std() + second.std())
        assert choice.score_deficit == pytest.approx(4.0 / spread)
    with forced_experts(choice, [torch.tensor([[[1]]])]):
        choice(first, second)
        assert choice.score_deficit == 0.0
    assert choice(first, second)[0].item() == 1


def test_choices_are_compared_as_sets_pick_by_pick():
    first = torch.tensor([[[1, 2], [3, 4]]])
    assert count_differing(first, torch.tensor([[[2, 1], [3, 4]]])) == 0
    assert count_differing(first, torch.tensor([[[2, 1], [3, 5]]])) == 1
    assert count_differing(first, torch.tensor([[[3, 4], [1, 2]]])) == 4


def test_parity_lets_two_forms_differ_in_experts_that_are_as_good_as_tied():
    model = trained(TINY)
    with torch.no_grad():
        for adapter in model.adaptors:
            keys = adapter.get_parameter("adaptor.keys")
            keys[:, 1::2] = keys[:, 0::2]  # every second expert scores as the one before
        deployed = model.deployed()
        for name, parameter in deployed.named_parameters():
            if name.endswith("gating.keys"):
                parameter.mul_(1.0 + 1e-6 * torch.randn_like(parameter))
        inputs = FAMILY.example_inputs(TINY, batch=2)
        assert (deployed(*inputs)[0] - model(*inputs)[0]).abs().max() > 1e-2
    assert torch_parity(model, deployed, inputs) <= 1e-4


def test_parity_refuses_experts_that_are_worse(tiny):
    deployed = tiny.deployed()
    with torch.no_grad():
        deployed.get_parameter("blocks.0.adapter.gating.keys").neg_()
    with pytest.raises(ParityError, match="standard deviations worse than the best"):
        torch_parity(tiny, deployed, FAMILY.example_inputs(TINY, batch=1))


def test_half_precision_leaves_the_gate_in_float32(tiny_graph):
    islands = islands_matching(tiny_graph, FAMILY.float32_islands)
    half = convert(tiny_graph, Precision.FP16, islands)
    lint_tensorrt(half)
    types = infer_types(parse_graph(half))
    float16 = 10
    gated = [
        n for n in parse_graph(half).graph.node if "/gating/" in n.name and n.op_type != "Cast"
    ]
    assert {n.op_type for n in gated} >= {"TopK", "MatMul", "Div", "Softmax"}
    for node in gated:
        assert all(types[v].element != float16 for v in (*node.input, *node.output) if v), node.name
    assert types["/blocks.0/attention/Softmax_output_0"].element == float16
    # Without its islands it would lose a weight of the gate.
    lost = convert_to_half(tiny_graph).lost
    assert any("/gating/" in node for weight in lost for node in weight.nodes)


def test_half_precision_stays_finite_and_near(tiny_graph):
    half = convert(tiny_graph, Precision.FP16, islands_matching(tiny_graph, FAMILY.float32_islands))
    inputs = FAMILY.example_inputs(TINY, batch=8, seed=2)
    batch = {n: x.numpy() for n, x in zip(ORDER, inputs, strict=True)}
    reference = OnnxRuntimeEngine(tiny_graph, threads=1).run(batch).logits
    report = emulate_fp16(half, [batch], reference, threads=1)
    assert report.finite
    assert report.logit_drift < 0.2


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_tensorrt_rtx_builds_the_graph(precision, tiny_graph):
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    islands = islands_matching(tiny_graph, FAMILY.float32_islands)
    plan = build_plan(
        convert(tiny_graph, precision, islands),
        Backend.TENSORRT_RTX,
        shapes=FAMILY.input_shapes(TINY),
        max_batch=8,
        compute_capabilities=("8.9",),
    )
    assert plan.data


def test_training_blanks_modalities_and_tells_the_prompt():
    model = trained(TINY.model_copy(update={"modality_dropout": 0.5})).train()
    inputs = FAMILY.example_inputs(model.config, batch=8)
    copies = [tensor.clone() for tensor in inputs]
    torch.manual_seed(3)
    first = model(*inputs)[0]
    assert not torch.equal(first, model(*inputs)[0])
    assert all(torch.equal(a, b) for a, b in zip(inputs, copies, strict=True))
    images, code = model._blank(torch.stack(inputs, dim=1))
    for row, bits in zip(images, code.tolist(), strict=True):
        assert [not bool(image.any()) for image in row] == [bool(bits >> m & 1) for m in range(3)]
    assert len(set(code.tolist())) > 2
    first.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    # The last adapter and the last prompt updates reach no logit, as published.
    assert {n.split(".")[1] for n in without} <= {"1", "2"}
    assert all(".VP_block." in n for n in without if n.startswith("adaptors.1."))


def test_evaluation_takes_the_prompt_of_a_complete_capture(tiny):
    inputs = [torch.zeros_like(x) for x in FAMILY.example_inputs(TINY, batch=1)]
    with torch.no_grad():
        before = tiny(*inputs)[0].clone()
        other = trained(TINY)
        other.VP_learner.modality_prompt[1:].add_(5.0)
        torch.testing.assert_close(other(*inputs)[0], before, rtol=0.0, atol=0.0)
        other.VP_learner.modality_prompt[0].add_(5.0)
        assert (other(*inputs)[0] - before).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patch_size": 9}, "image_size 64 is not a multiple of patch_size 9"),
        ({"heads": 5}, "width 64 is not a multiple of heads 5"),
        ({"experts": 60}, "experts 60 is not a square number"),
        ({"experts": 4, "experts_per_head": 3}, "experts_per_head 3 is more than the 2 keys"),
        ({"depth_near_mm": 1500}, "depth_near_mm 1500 must be less than depth_far_mm"),
        ({"modality_dropout": 1.0}, "modality_dropout"),
        ({"layers": 3}, "layers"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        BigMoeConfig.model_validate({**TINY.model_dump(), **changes})
