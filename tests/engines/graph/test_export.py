"""Export of deployed modules to ONNX."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import fasdk_engines
from fasdk.errors import ExportError
from fasdk_engines.graph.export import count_nodes, export_graph
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.models.registry import family_names, get_family


def smallest(family: Family) -> ModelConfig:
    return list(family.configs.values())[-1]


@pytest.fixture(scope="module", params=family_names())
def exported(request: pytest.FixtureRequest) -> tuple[Family, nn.Module, bytes]:
    family = get_family(request.param)
    torch.manual_seed(0)
    module = family.build(smallest(family)).eval().deployed()
    return family, module, export_graph(module, family, smallest(family))


def test_inputs_and_outputs_are_named_and_the_batch_is_symbolic(exported):
    family, _, data = exported
    graph = onnx.load_from_string(data).graph

    def described(values) -> dict[str, list[str | int]]:
        return {
            v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in values
        }

    assert described(graph.input) == {
        name: ["batch", *shape] for name, shape in family.input_shapes(smallest(family)).items()
    }
    assert [value.name for value in graph.input] == list(family.input_names)
    expected = {"logits": ["batch", len(family.labels)]}
    if family.has_certainty:
        expected["certainty"] = ["batch", len(family.modalities)]
    assert described(graph.output) == expected


def test_the_graph_is_plain_inference(exported):
    _, _, data = exported
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    operators = Counter(node.op_type for node in model.graph.node)
    banned = ("Dropout", "Random", "Bernoulli", "Multinomial", "BatchNorm", "Identity", "Constant")
    assert not [name for name in operators if name.startswith(banned)]
    assert {node.domain for node in model.graph.node} == {""}
    assert [opset.version for opset in model.opset_import] == [17]
    assert not [t for t in model.graph.initializer if t.external_data]
    assert count_nodes(data) == len(model.graph.node)


def test_layer_norms_stay_one_operator():
    family = get_family("mmdg")
    config = family.configs["tiny"]
    data = export_graph(family.build(config).eval().deployed(), family, config)
    operators = Counter(node.op_type for node in onnx.load_from_string(data).graph.node)
    # Two a block, one over the adapters' channels a block, and the last.
    assert operators["LayerNormalization"] == 3 * config.depth + 1
    assert not {"ReduceVar", "Pow", "Sqrt"} & set(operators)


def test_the_same_module_gives_the_same_bytes(exported):
    family, module, data = exported
    assert export_graph(module, family, smallest(family)) == data


def test_nothing_about_the_machine_is_left(exported):
    _, _, data = exported
    for trace in (str(Path.home()), str(Path(fasdk_engines.__file__).parent), ".py", "site-pack"):
        assert trace.encode() not in data
    model = onnx.load_from_string(data)
    assert (model.producer_name, model.doc_string, model.graph.doc_string) == ("fasdk", "", "")


class Sampler(nn.Module):
    """A model that draws at inference, as the published MMDG does."""

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        return ((rgb.mean((2, 3)) * torch.rand_like(rgb[:, :, 0, 0])),)


class Coupled(nn.Module):
    """A model whose batch is fixed when it is traced."""

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        return (rgb.mean((2, 3)).reshape(2, 3),)


class Branching(nn.Module):
    """A model that cannot be exported at all."""

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        return (torch.special.bessel_j0(rgb).mean((2, 3)),)


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (Sampler(), "random node Random"),
        (Coupled(), "fixes the batch of logits"),
        (Branching(), "cannot be exported"),
    ],
)
def test_export_refuses_a_graph_no_backend_computes_correctly(module, complaint):
    family = get_family("minifasnet-v2")
    with pytest.raises(ExportError, match=complaint) as caught:
        export_graph(module, family, family.default_config)
    assert "\n" not in str(caught.value)


def test_a_dropout_left_in_training_is_refused():
    class Forgotten(nn.Module):
        def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
            return (nn.functional.dropout(rgb.mean((2, 3)), 0.3, training=True),)

    family = replace(get_family("minifasnet-v2"), name="forgotten")
    with pytest.raises(ExportError, match="forgotten's graph has a random node Dropout"):
        export_graph(Forgotten(), family, family.default_config)
