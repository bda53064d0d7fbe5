"""Graph rewriting that folds channel smoothing into activations, weights and biases.

The rewritten graph computes the same function as the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk_engines.graph.editing import fresh_name
from fasdk_engines.quantization.graph.layers import weight_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.quantization.graph.layers import WeightedNode
    from fasdk_engines.quantization.graph.recipe import GroupRecipe

_ADDED_BIAS = 1  # rank of what a Gemm adds when it is a bias, not a residual


class GraphRewriter:
    """A copy of a graph whose layers can be rewritten one by one.

    Attributes:
        model: The copy; a valid graph again after `finish`.

    Args:
        model: Float32 graph; it is not changed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self._nodes = {node.name: node for node in graph.node}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self._taken |= set(self._weights) | {node.name for node in graph.node}
        self._before: dict[str, list[onnx.NodeProto]] = {}
        self._instead: dict[str, list[onnx.NodeProto]] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._outputs = {output.name for output in graph.output}

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add an initializer, float64 stored as float32, and return its name."""
        import onnx

        name = self.fresh(name)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.model.graph.initializer.append(tensor)
        return name

    def weight(self, name: str) -> NDArray[np.float32]:
        """Return the value of an initializer."""
        import onnx

        return onnx.numpy_helper.to_array(self._weights[name])

    def fresh(self, name: str) -> str:
        """Return an unused name that starts with `name`."""
        return fresh_name(name, self._taken)

    def insert(
        self, before: str, operator: str, inputs: Iterable[str], stem: str, **attributes: int
    ) -> str:
        """Insert a node in front of the node called `before`; return the name of its output."""
        output = self.fresh(stem)
        return self.place(before, make_node(operator, list(inputs), [output], output, **attributes))

    def place(self, before: str, node: onnx.NodeProto) -> str:
        """Insert a finished node in front of the node called `before`; return its first output."""
        self._before.setdefault(before, []).append(node)
        return str(node.output[0])

    def fold_norm(self, recipe: GroupRecipe) -> None:
        """Fold channel smoothing into the LayerNormalization in front of an activation group."""
        node = self._nodes[recipe.group.foldable_norm]
        gain, shift = (self.weight(name).astype(np.float64) for name in node.input[1:3])
        smoothing = recipe.smoothing
        node.input[1] = self.constant(f"{node.name}.smoothed_gain", gain * smoothing.factor)
        node.input[2] = self.constant(
            f"{node.name}.smoothed_shift", (shift - smoothing.shift) * smoothing.factor
        )

    def smooth_activation(self, recipe: GroupRecipe, before: str) -> str:
        """Insert the smoothing of a group's activation in front of a node; return its output."""
        group, smoothing = recipe.group, recipe.smoothing
        value, stem = group.activation, f"{group.activation}_smoothed"
        shape = (-1,) if group.channel_axis == -1 else (1, -1, 1, 1)
        if group.channel_axis == 1 and smoothing.is_shifted and group.pads and any(group.pads):
            top, left, bottom, right = group.pads
            pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
            value = self.insert(before, "Pad", [value, self.constant(f"{stem}_pads", pads)], stem)
        if smoothing.is_shifted:
            shift = _compact(smoothing.shift).reshape(shape)
            value = self.insert(before, "Sub", [value, self.constant(f"{stem}_shift", shift)], stem)
        if smoothing.is_scaled:
            factor = _compact(smoothing.factor).reshape(shape)
            value = self.insert(
                before, "Mul", [value, self.constant(f"{stem}_factor", factor)], stem
            )
        return value

    def rewrite(
        self,
        node: WeightedNode,
        activation: str,
        weight: str | NDArray[np.float64],
        bias: str | NDArray[np.float64],
        *,
        is_padded: bool,
        residual: str = "",
    ) -> tuple[str, ...]:
        """Make a layer read another activation, with another weight and an additional bias.

        Args:
            node: Layer to rewrite.
            activation: Name of the activation to read.
            weight: float64 [K, N], or the name of a value shaped as `shaped_weight` returns it.
            bias: float64 [N] to add, or the name of such a value.
            is_padded: Whether the activation already holds the padding of a Conv.
            residual: Name of an activation whose product with the same weight is added; empty for
                none.

        Returns:
            Names of the nodes that multiply; the first is the layer's own.
        """
        if isinstance(weight, np.ndarray):
            weight = self.constant(f"{node.layer.name}.weight", shaped_weight(node, weight))
        original = self._nodes[node.layer.name]
        if node.window is not None:
            self._rewrite_conv(original, activation, weight, bias, is_padded=is_padded)
        else:
            self._rewrite_linear(original, activation, weight, bias)
        if not residual:
            return (node.layer.name,)
        return node.layer.name, self._add_residual(original, residual, weight)

    def _add_residual(self, original: onnx.NodeProto, residual: str, weight: str) -> str:
        """Add the product of a residual activation to a rewritten layer; return its node's name."""
        made = self._instead.setdefault(original.name, [_copy(original)])
        first = made[0]
        twin = _copy(first)
        twin.name = self.fresh(f"{original.name}_residual")
        del twin.input[:]
        twin.input.extend([residual, weight])
        target = first.output[0]
        first.output[0] = self.fresh(f"{target}_coarse")
        twin.output[0] = self.fresh(f"{target}_residual")
        total = make_node(
            "Add", [first.output[0], twin.output[0]], [target], self.fresh(f"{original.name}_sum")
        )
        made[1:1] = [twin, total]
        return twin.name

    def _rewrite_conv(
        self,
        original: onnx.NodeProto,
        activation: str,
        weight: str,
        bias: str | NDArray[np.float64],
        *,
        is_padded: bool,
    ) -> None:
        own = original.input[2] if len(original.input) > 2 and original.input[2] else None
        if isinstance(bias, np.ndarray):
            total = bias if own is None else bias + self.weight(own)
            name = self.constant(f"{original.name}.bias", total)
        else:
            name = bias
            if own is not None:
                name = self.insert(original.name, "Add", [bias, own], f"{original.name}.bias")
        del original.input[:]
        original.input.extend([activation, weight, name])
        for attribute in original.attribute:
            if attribute.name == "pads" and is_padded:
                attribute.ints[:] = [0] * len(attribute.ints)

    def _rewrite_linear(
        self,
        original: onnx.NodeProto,
        activation: str,
        weight: str,
        bias: str | NDArray[np.float64],
    ) -> None:
        output = original.output[0]
        addend = original.input[2] if original.op_type == "Gemm" and original.input[2:] else ""
        constant = isinstance(bias, np.ndarray)
        if isinstance(bias, np.ndarray):
            if addend in self._weights and len(self._weights[addend].dims) == _ADDED_BIAS:
                bias, addend = bias + self.weight(addend), ""
            elif not addend and self._absorb(output, bias):
                bias = np.zeros_like(bias)
        terms = []
        if not isinstance(bias, np.ndarray):
            terms.append(bias)
        elif np.any(bias != 0.0):
            terms.append(self.constant(f"{original.name}.bias", bias))
        if addend:
            terms.append(addend)
        if not constant and addend and self._is_vector(addend):
            terms.reverse()
        made = []
        current = self.fresh(f"{output}_product") if terms else output
        made.append(make_node("MatMul", [activation, weight], [current], original.name))
        for number, term in enumerate(terms):
            last = number == len(terms) - 1
            summed = output if last else self.fresh(f"{output}_sum")
            made.append(
                make_node("Add", [current, term], [summed], self.fresh(f"{original.name}_add"))
            )
            current = summed
        self._instead[original.name] = made

    def _is_vector(self, name: str) -> bool:
        return name in self._weights and len(self._weights[name].dims) == _ADDED_BIAS

    def _absorb(self, output: str, bias: NDArray[np.float64]) -> bool:
        """Fold a bias into the bias Add that follows, if there is one; return whether there was."""
        readers = self._readers.get(output, [])
        if len(readers) != 1 or readers[0].op_type != "Add" or output in self._outputs:
            return False
        add = readers[0]
        other = add.input[1] if add.input[0] == output else add.input[0]
        if not self._is_vector(other) or len(self.weight(other)) != len(bias):
            return False
        slot = list(add.input).index(other)
        add.input[slot] = self.constant(f"{add.name}.bias", bias + self.weight(other))
        return True

    def finish(self) -> onnx.ModelProto:
        """Return the model with its new nodes in place, without initializers that nothing reads."""
        graph = self.model.graph
        nodes = []
        for node in graph.node:
            nodes += self._before.get(node.name, [])
            nodes += self._instead.get(node.name, [node])
        replace_nodes(graph, nodes)
        drop_unread(self.model)
        return self.model


def shaped_weight(node: WeightedNode, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a [K, N] weight in the shape its operator reads: [K, N], or [N, C, kh, kw]."""
    if node.window is None:
        return weight
    shaped: NDArray[np.float64] = weight.T.reshape(weight.shape[1], -1, *node.window.kernel)
    return shaped


def float_consumer_weights(
    node: WeightedNode, recipe: GroupRecipe, weights: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weight and bias of a floating-point layer that reads a folded LayerNormalization.

    Args:
        node: Floating-point layer that reads the norm's output.
        recipe: Recipe of its activation group, folded into the norm.
        weights: Initializers by name.

    Returns:
        float64 [K, N] and float64 [N].
    """
    weight = weight_matrix(weights[node.weight], transposed=node.transposed)
    return weight / recipe.smoothing.factor[:, None], recipe.smoothing.shift @ weight


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Replace all nodes of a graph; its own may be among the new ones."""
    copies = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def drop_unread(model: onnx.ModelProto) -> None:
    """Delete the initializers that no node reads and all value types, in place."""
    graph = model.graph
    read = set(read_names(graph.node))
    read |= {output.name for output in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
    del graph.value_info[:]


def read_names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Yield the names that nodes read, in the branches of an If too."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from read_names(attribute.g.node)


def _compact(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one value where all are equal, else all."""
    return values[:1] if np.all(values == values[0]) else values


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def make_node(
    operator: str, inputs: list[str], outputs: list[str], name: str, **attributes: int
) -> onnx.NodeProto:
    """Return an ONNX node."""
    from onnx import helper

    return helper.make_node(operator, inputs, outputs, name=name, **dict[str, Any](attributes))


@dataclass(frozen=True)
class Branch:
    """One branch of an ONNX If.

    Attributes:
        nodes: Nodes of the branch, in order; they may read any value of the surrounding graph.
        yields: Names of the float32 outputs it yields.
    """

    nodes: Sequence[onnx.NodeProto]
    yields: Sequence[str]

    @classmethod
    def of(cls, *nodes: onnx.NodeProto) -> Branch:
        """Return a branch that yields the first output of its last node."""
        return cls(nodes, [nodes[-1].output[0]])

    @classmethod
    def same(cls, values: Sequence[str], stem: str) -> Branch:
        """Return a branch that yields existing values unchanged."""
        names = [f"{stem}:{value}" for value in values]
        pairs = zip(values, names, strict=True)
        return cls([make_node("Identity", [value], [name], name) for value, name in pairs], names)


def make_if(flag: str, then: Branch, otherwise: Branch, outputs: Sequence[str]) -> onnx.NodeProto:
    """Return an If node; only the branch taken is computed.

    Args:
        flag: Name of a bool of one element.
        then: Branch taken where it is true.
        otherwise: Branch taken where it is false; it yields as many values.
        outputs: Names of the results; the first is also the name of the node.
    """
    from onnx import helper

    branches = {
        name: helper.make_graph(
            list(branch.nodes), f"{outputs[0]}:{name}", [], [float_value(x) for x in branch.yields]
        )
        for name, branch in (("then_branch", then), ("else_branch", otherwise))
    }
    return helper.make_node("If", [flag], list(outputs), name=outputs[0], **branches)


def float_value(name: str) -> onnx.ValueInfoProto:
    """Return the declaration of a float32 value of any shape."""
    from onnx import TensorProto, TypeProto, ValueInfoProto

    float32 = TypeProto.Tensor(elem_type=TensorProto.FLOAT)
    return ValueInfoProto(name=name, type=TypeProto(tensor_type=float32))
