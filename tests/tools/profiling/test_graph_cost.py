"""Operations and bytes of a graph, against other counters and by hand."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fasdk.errors import UsageError
from fasdk_engines.graph.export import export_graph
from fasdk_engines.models.registry import get_family
from fasdk_tools.profiling.graph_cost import Number, Work, cost_of, graph_cost
from fasdk_tools.profiling.reference_networks import INPUT, NETWORKS, SIDE


class EveryProduct(nn.Module):
    """Grouped, strided and transposed convolutions, linear layers, attention, an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4)
        self.upward = nn.ConvTranspose2d(16, 6, 2, stride=2)
        self.linear = nn.Linear(6, 12)
        self.head = nn.Linear(12, 2, bias=False)
        self.mix = nn.Parameter(torch.randn(12, 12))

    def forward(self, x):
        x = self.upward(torch.relu(self.grouped(self.stem(x))))
        x = self.linear(x.flatten(2).transpose(1, 2))
        scores = torch.softmax(x @ x.transpose(1, 2), dim=-1)
        x = torch.einsum("bnc,cd->bnd", scores @ x, self.mix)
        return self.head(x.mean(1))


def exported(module, sample):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (sample,), buffer, input_names=["x"], opset_version=17, dynamo=False
        )
    return buffer.getvalue()


@pytest.mark.parametrize("batch", [1, 3])
def test_the_operations_of_a_network_are_those_that_torch_counts(batch):
    module, sample = EveryProduct().eval(), torch.zeros(batch, 3, 12, 10)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(sample)
    cost = graph_cost(exported(module, sample), {"x": (batch, 3, 12, 10)})
    assert cost.operations == counter.get_total_flops()
    assert cost.batch == batch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmdg", "mmda", "bigmoe", "minifasnet-v2"])
def test_the_operations_of_a_model_are_those_of_its_listing(name):
    from fasdk_engines.models.listing import _listing

    family = get_family(name)
    label, config = list(family.configs.items())[-1]  # tiny where there is one
    graph = export_graph(family.build(config).eval().deployed(), family, config)
    shapes = {value: (1, *shape) for value, shape in family.input_shapes(config).items()}
    assert graph_cost(graph, shapes).operations == round(1e9 * _listing(family, label).gflops)


@pytest.mark.parametrize(
    ("name", "parameters"),
    # Parameters as torchvision's documentation lists them, less batch norm's, which is folded to a
    # bias of every convolution.
    [("ResNet-18", 11_689_512), ("ResNet-50", 25_557_032), ("ViT-B/16", 86_567_656)],
)
def test_a_reference_network_has_the_published_parameters(name, parameters):
    counted = cost_of(NETWORKS[name](), {INPUT: (1, 3, SIDE, SIDE)})
    assert counted.weight_bytes / 4 == pytest.approx(parameters, rel=0.002)


def graph_of(nodes, weights, *, inputs=(("x", [1, 4]),), outputs=(("y", [1, 4]),), opset=17):
    def declared(values):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in values]

    graph = helper.make_graph(
        nodes,
        "by hand",
        declared(inputs),
        declared(outputs),
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def test_a_pointwise_chain_joins_the_product_before_it_and_costs_no_bytes_between():
    weights = {"w": np.zeros((4, 8), np.float32), "b": np.zeros(8, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["q"]),
        helper.make_node("Relu", ["q"], ["y"]),
    ]
    (kernel,) = graph_cost(graph_of(nodes, weights, outputs=[("y", [1, 8])]), {"x": (1, 4)}).kernels
    assert (kernel.operations, kernel.work, kernel.number) == (64, Work.LINEAR, Number.FP32)
    assert (kernel.weights, kernel.activations) == (4 * 8 + 8, 4 + 8)
    assert (kernel.weight_bytes, kernel.activation_bytes) == (160, 48)


def test_a_value_that_two_nodes_read_ends_a_kernel():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Relu", ["p"], ["r"]),
        helper.make_node("Add", ["p", "r"], ["y"]),
    ]
    cost = graph_cost(graph_of(nodes, {"w": np.zeros((4, 4), np.float32)}), {"x": (1, 4)})
    assert [kernel.operator for kernel in cost.kernels] == ["MatMul", "Relu"]
    assert [kernel.activations for kernel in cost.kernels] == [4 + 4, 4 + 4]


def test_views_and_what_depends_on_weights_alone_cost_nothing():
    weights = {"w": np.zeros((8, 4), np.float32), "shape": np.array([1, 2, 2], np.int64)}
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["p"]),
        helper.make_node("Reshape", ["p", "shape8"], ["y"]),
    ]
    weights["shape8"] = np.array([1, 2, 4], np.int64)
    (kernel,) = graph_cost(
        graph_of(nodes, weights, outputs=[("y", [1, 2, 4])]), {"x": (1, 4)}
    ).kernels
    assert (kernel.work, kernel.operations, kernel.activations) == (Work.LINEAR, 64, 4 + 8)


def quantized(name, zero):
    return [
        helper.make_node("QuantizeLinear", [name, "s", zero], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "s", zero], [f"{name}_d"]),
    ]


def test_a_product_of_two_dequantized_operands_is_int8_and_moves_bytes_of_one():
    weights = {
        "wq": np.zeros((4, 4), np.int8),
        "s": np.float32(0.1),
        "z": np.int8(0),
    }
    nodes = [
        *quantized("x", "z"),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["w"]),
        helper.make_node("MatMul", ["x_d", "w"], ["y"]),
    ]
    quantizer, product = graph_cost(graph_of(nodes, weights), {"x": (1, 4)}).kernels
    assert (quantizer.operator, quantizer.activation_bytes) == ("QuantizeLinear", 4 * 4 + 4)
    assert (product.number, product.work) == (Number.INT8, Work.LINEAR)
    assert (product.weight_bytes, product.activation_bytes) == (16, 4 + 4 * 4)


def test_a_product_of_two_computed_values_is_attention_and_half_is_fp16():
    half = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "h"], ["p"]),
        helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = graph_of(half, {}, inputs=[("x", [4, 4])], outputs=[("y", [4, 4])])
    cost = graph_cost(graph, {"x": (4, 4)})
    assert cost.operations_by_work() == {(Work.ATTENTION, Number.FP16): 2 * 4 * 4 * 4}


RECURRENT = helper.make_node("RNN", ["x", "w", "w"], ["y"], hidden_size=4)
DATA_DEPENDENT = [
    helper.make_node("NonZero", ["x"], ["n"]),
    helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
    helper.make_node("MatMul", ["w", "f"], ["y"]),
]


@pytest.mark.parametrize(
    ("nodes", "shape", "weight", "named"),
    [
        ([RECURRENT], (1, 1, 4), (1, 4, 4), "RNN"),
        (DATA_DEPENDENT, (1, 4), (4, 2), "depends on the data"),
        (
            [helper.make_node("Einsum", ["x", "w"], ["y"], equation="...i,ij->...j")],
            *((1, 4), (4, 2), "Einsum"),
        ),
    ],
    ids=["an operator that is not counted", "a shape that depends on data", "a general einsum"],
)
def test_what_cannot_be_counted_is_refused_by_name(nodes, shape, weight, named):
    graph = graph_of(
        nodes,
        {"w": np.zeros(weight, np.float32)},
        inputs=[("x", shape)],
        outputs=[("y", None)],
    )
    with pytest.raises(UsageError, match=named) as raised:
        graph_cost(graph, {"x": shape})
    assert "fasdk profile" in str(raised.value)


def test_the_graph_given_is_not_changed():
    model = onnx.load_from_string(graph_of([helper.make_node("Relu", ["x"], ["y"])], {}))
    before = model.SerializeToString()
    cost_of(model, {"x": (1, 4)})
    assert model.SerializeToString() == before
