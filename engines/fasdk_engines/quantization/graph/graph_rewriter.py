"""Rewrite a graph's layers to read mapped activations with mapped weights: the same function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk_engines.quantization.graph.rows import weight_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.quantization.calibration.recipe import SiteRecipe
    from fasdk_engines.quantization.graph.layers import WeightedNode

_ADDED_BIAS = 1  # rank of what a Gemm adds when it is a bias, not a residual


class Rewriter:
    """A copy of a graph on its way to another form.

    Attributes:
        model: The copy; whole again after `finish`.

    Args:
        model: Float32 graph, left as it is.
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
        """Add a weight, float64 as float32, and return its name."""
        import onnx

        name = self.fresh(name)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.model.graph.initializer.append(tensor)
        return name

    def weight(self, name: str) -> NDArray[np.float32]:
        """Return a weight's value."""
        import onnx

        return onnx.numpy_helper.to_array(self._weights[name])

    def fresh(self, name: str) -> str:
        """Return a name nothing has."""
        candidate, number = name, 1
        while candidate in self._taken:
            candidate, number = f"{name}_{number}", number + 1
        self._taken.add(candidate)
        return candidate

    def insert(
        self, before: str, operator: str, inputs: Iterable[str], stem: str, **attributes: int
    ) -> str:
        """Put a node in front of the node called `before`; return its output."""
        output = self.fresh(stem)
        return self.place(before, make_node(operator, list(inputs), [output], output, **attributes))

    def place(self, before: str, node: onnx.NodeProto) -> str:
        """Put a finished node in front of the node called `before`; return its first output."""
        self._before.setdefault(before, []).append(node)
        return str(node.output[0])

    def fold_norm(self, recipe: SiteRecipe) -> None:
        """Let the LayerNormalization in front of a site write the mapped activation."""
        node = self._nodes[recipe.site.norm]
        gain, shift = (self.weight(name).astype(np.float64) for name in node.input[1:3])
        affine = recipe.affine
        node.input[1] = self.constant(f"{node.name}.mapped_gain", gain * affine.factor)
        node.input[2] = self.constant(
            f"{node.name}.mapped_shift", (shift - affine.shift) * affine.factor
        )

    def map_activation(self, recipe: SiteRecipe, before: str) -> str:
        """Compute a site's mapped activation in front of a node; return its name."""
        site, affine = recipe.site, recipe.affine
        value, stem = site.value, f"{site.value}_mapped"
        shape = (-1,) if site.channel_axis == -1 else (1, -1, 1, 1)
        if site.channel_axis == 1 and affine.is_shifted and site.pads and any(site.pads):
            top, left, bottom, right = site.pads
            pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
            value = self.insert(before, "Pad", [value, self.constant(f"{stem}_pads", pads)], stem)
        if affine.is_shifted:
            shift = _compact(affine.shift).reshape(shape)
            value = self.insert(before, "Sub", [value, self.constant(f"{stem}_shift", shift)], stem)
        if affine.is_scaled:
            factor = _compact(affine.factor).reshape(shape)
            value = self.insert(
                before, "Mul", [value, self.constant(f"{stem}_factor", factor)], stem
            )
        return value

    def rewrite(
        self,
        node: WeightedNode,
        value: str,
        weight: str | NDArray[np.float64],
        bias: str | NDArray[np.float64],
        *,
        is_padded: bool,
        second: str = "",
    ) -> tuple[str, ...]:
        """Make a layer read another activation with another weight and one more bias.

        Args:
            node: Which.
            value: Activation to read.
            weight: float64 [K, N], or the name of a value shaped as `shaped_weight` makes it.
            bias: float64 [N] to add, or the name of such a value.
            is_padded: Whether the activation holds a Conv's padding already.
            second: Activation whose product with the same weight is added; none if empty.

        Returns:
            The names of the nodes that multiply; the first is the layer's own.
        """
        if isinstance(weight, np.ndarray):
            weight = self.constant(f"{node.layer.name}.weight", shaped_weight(node, weight))
        original = self._nodes[node.layer.name]
        if node.window is not None:
            self._rewrite_conv(original, value, weight, bias, is_padded=is_padded)
        else:
            self._rewrite_linear(original, value, weight, bias)
        if not second:
            return (node.layer.name,)
        return node.layer.name, self._add_second(original, second, weight)

    def _add_second(self, original: onnx.NodeProto, second: str, weight: str) -> str:
        """Add the product of a second activation to what a layer has become; return its node."""
        made = self._instead.setdefault(original.name, [_copy(original)])
        first = made[0]
        twin = _copy(first)
        twin.name = self.fresh(f"{original.name}_second")
        del twin.input[:]
        twin.input.extend([second, weight])
        target = first.output[0]
        first.output[0] = self.fresh(f"{target}_first")
        twin.output[0] = self.fresh(f"{target}_second")
        total = make_node(
            "Add", [first.output[0], twin.output[0]], [target], self.fresh(f"{original.name}_both")
        )
        made[1:1] = [twin, total]
        return twin.name

    def _rewrite_conv(
        self,
        original: onnx.NodeProto,
        value: str,
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
        original.input.extend([value, weight, name])
        for attribute in original.attribute:
            if attribute.name == "pads" and is_padded:
                attribute.ints[:] = [0] * len(attribute.ints)

    def _rewrite_linear(
        self, original: onnx.NodeProto, value: str, weight: str, bias: str | NDArray[np.float64]
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
        made.append(make_node("MatMul", [value, weight], [current], original.name))
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
        """Add a bias to the one that is added next anyway, if there is one."""
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
        """Put the new nodes in place, drop weights nothing reads, and return the model."""
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


def mapped_bystander(
    node: WeightedNode, recipe: SiteRecipe, weights: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight [K, N] and bias [N] of a floating-point layer that reads a folded norm."""
    weight = weight_matrix(weights[node.weight], transposed=node.transposed)
    return weight / recipe.affine.factor[:, None], recipe.affine.shift @ weight


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Put nodes, the graph's own among them, in place of all a graph has."""
    copies = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def drop_unread(model: onnx.ModelProto) -> None:
    """Delete the weights no node reads and the types noted of values, in place."""
    graph = model.graph
    read = set(read_names(graph.node))
    read |= {output.name for output in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
    del graph.value_info[:]


def read_names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Yield what nodes read, those in their branches too."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from read_names(attribute.g.node)


def _compact(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one value where all are equal."""
    return values[:1] if np.all(values == values[0]) else values


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def make_node(
    operator: str, inputs: list[str], outputs: list[str], name: str, **attributes: int
) -> onnx.NodeProto:
    """Return a node."""
    from onnx import helper

    return helper.make_node(operator, inputs, outputs, name=name, **dict[str, Any](attributes))


@dataclass(frozen=True)
class Branch:
    """One branch of an If.

    Attributes:
        nodes: What it computes, in order; they may read any value around it.
        yields: Which of their outputs, float32, it yields.
    """

    nodes: Sequence[onnx.NodeProto]
    yields: Sequence[str]

    @classmethod
    def of(cls, *nodes: onnx.NodeProto) -> Branch:
        """Return a branch that yields its last node's first output."""
        return cls(nodes, [nodes[-1].output[0]])

    @classmethod
    def same(cls, values: Sequence[str], stem: str) -> Branch:
        """Return a branch that yields values as they are."""
        names = [f"{stem}:{value}" for value in values]
        pairs = zip(values, names, strict=True)
        return cls([make_node("Identity", [value], [name], name) for value, name in pairs], names)


def make_choice(
    flag: str, then: Branch, otherwise: Branch, outputs: Sequence[str]
) -> onnx.NodeProto:
    """Return an If of which only the branch taken is computed.

    Args:
        flag: One bool.
        then: What is yielded where it is true.
        otherwise: What is yielded where it is not, as many values.
        outputs: Names of the results; the first is the node's too.
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
    """Return how a graph declares a float32 value of any shape."""
    from onnx import TensorProto, TypeProto, ValueInfoProto

    float32 = TypeProto.Tensor(elem_type=TensorProto.FLOAT)
    return ValueInfoProto(name=name, type=TypeProto(tensor_type=float32))
