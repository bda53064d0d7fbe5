"""Freeing of a batch that a graph fixes."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk_engines.graph.editing import (
    Additions,
    attribute_of,
    constant_of,
    copy_of,
    replace_nodes,
    set_attribute,
)
from fasdk_engines.graph.types import infer_types, label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from fasdk_engines.graph.types import ValueType

_FACTOR = 13  # between the two batches compared: no extent is another's multiple by chance
_LARGEST_END = 2**63 - 1
_MOST_CHANGES = 2000
# They read the extents of a value and not its elements.
_OF_EXTENTS = frozenset(["Shape", "Size"])
_ELEMENTWISE = frozenset(
    [
        *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"),
    ]
)
# Of one operand, and of any rank.
_ONE_BY_ONE = frozenset(["Cast", "Clip", "Identity", "LeakyRelu", "Relu", "Sigmoid", "Tanh"])
_RECURRENT = frozenset(["GRU", "LSTM", "RNN"])


class BatchReading(Enum):
    """Reading of reshapes that leave open where the batch goes."""

    AS_WRITTEN = "as written"
    """The axis the file leaves open, -1, takes the batch."""
    LEADING = "leading"
    """The axis where the batch was before takes it, if its extent is a multiple of the batch."""


def free_batch(model: onnx.ModelProto, batch: int, reading: BatchReading) -> int:
    """Make a graph run at any batch, in place; running it has to prove that it then does.

    The graph's shapes are compared at its own batch and at a multiple; the first node behind which
    the batch is lost is changed until there is none.

    Args:
        model: Model whose inputs have the batch as their first extent.
        batch: That batch.
        reading: Reading of reshapes.

    Returns:
        The number of nodes changed.

    Raises:
        ExportError: The batch cannot be freed; it names the node.
    """
    for count in range(_MOST_CHANGES):
        freeing = _Freeing(model, batch, reading)
        node = freeing.first_fixed()
        if node is None:
            return count
        if not freeing.change(node):
            raise ExportError(f"node {label(node)} fixes the batch at {batch}")
    raise ExportError(f"more than {_MOST_CHANGES} nodes fix the batch at {batch}")


def state_squeezed_axes(model: onnx.ModelProto) -> None:
    """Write the axes of every Squeeze that names none, in place.

    Args:
        model: Model all of whose inputs have fixed extents.
    """
    types = infer_types(model, strict=False)
    for node in model.graph.node:
        shape = types[node.input[0]].shape if node.input[0] in types else None
        if node.op_type == "Squeeze" and len(node.input) == 1 and shape is not None:
            axes = [axis for axis, extent in enumerate(shape) if extent == 1]
            node.input.append(Additions(model.graph, "batch").constant("axes", axes))


class _Freeing:
    """One step: the shapes at two batches, and the change of one node."""

    def __init__(self, model: onnx.ModelProto, batch: int, reading: BatchReading) -> None:
        self._graph = model.graph
        self._batch = batch
        self._reading = reading
        self._outputs = {value.name for value in model.graph.output}
        self._before = _shapes_at(model, batch)
        self._after = _shapes_at(model, batch * _FACTOR)
        self._outer: dict[str, int] = {}
        self._follow_outer()

    def first_fixed(self) -> onnx.NodeProto | None:
        """Return the first node that reads a batch and passes none on, or the wrong axis."""
        nodes: Sequence[onnx.NodeProto] = self._graph.node
        for node in nodes:
            axes = [self._axis(name) for name in node.input]
            if node.op_type in _OF_EXTENTS or all(axis is None for axis in axes):
                continue
            output = node.output[0]
            if self._known(self._before, output) is None:
                continue  # nothing to compare with: the run decides
            found = self._axis(output)
            if found is None:
                return node
            if node.op_type in _RECURRENT and self._fixed_states(node):
                return node
            if node.op_type == "Reshape" and self._misplaced(node, found):
                return node
        return None

    def change(self, node: onnx.NodeProto) -> bool:
        """Change one node so that it passes the batch on; return whether a way is known."""
        if node.op_type in _ELEMENTWISE or node.op_type in ("Concat", "GridSample", "MatMul"):
            return self._repeat_operands(node)
        if node.op_type in _RECURRENT:
            return self._repeat_states(node)
        ways = {
            "Reshape": self._change_reshape,
            "Expand": self._change_expand,
            "Squeeze": self._change_squeeze,
            "Slice": self._change_slice,
            "Resize": self._change_resize,
            "Flatten": self._change_flatten,
            "Gather": self._change_gather,
            "Gemm": self._repeat_operands,
        }
        way = ways.get(node.op_type)
        return way is not None and way(node)

    def _axis(self, name: str) -> int | None:
        """Return the axis along which a value has the batch, or None."""
        before, after = self._known(self._before, name), self._known(self._after, name)
        if before is None or after is None or len(before) != len(after):
            return None
        moved = [axis for axis, extent in enumerate(before) if after[axis] != extent]
        if len(moved) != 1 or after[moved[0]] != before[moved[0]] * _FACTOR:
            return None
        return moved[0]

    @staticmethod
    def _known(types: Mapping[str, ValueType], name: str) -> tuple[int, ...] | None:
        shape = types[name].shape if name in types else None
        if shape is None or None in shape:
            return None
        return tuple(extent for extent in shape if extent is not None)

    def _follow_outer(self) -> None:
        """Note, of every value, how many rows of its batch axis lie outside the batch.

        An axis that joins T positions and the batch as T times batch has T of them; a reshape that
        parts them again is known by that.
        """
        nodes: Sequence[onnx.NodeProto] = self._graph.node
        for node in nodes:
            source = next((name for name in node.input if self._axis(name) is not None), None)
            axis = self._axis(node.output[0])
            if source is None or axis is None:
                continue
            outer = self._outer.get(source, 1)
            if node.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
                made = self._known(self._before, node.output[0])
                leading = self._leading(source)
                if made is None or leading is None:
                    continue
                outer = max(1, leading // int(np.prod(made[:axis], dtype=np.int64)))
            self._outer[node.output[0]] = outer

    def _leading(self, name: str) -> int | None:
        """Return how many times a value's batch is repeated by what lies outside it."""
        axis, shape = self._axis(name), self._known(self._before, name)
        if axis is None or shape is None:
            return None
        return int(np.prod(shape[:axis], dtype=np.int64)) * self._outer.get(name, 1)

    def _place(self, source: str, made: Sequence[int]) -> int | None:
        """Return the axis of a reshape's result along which the batch of its source lies."""
        axis, given = self._axis(source), self._known(self._before, source)
        leading = self._leading(source)
        if axis is None or given is None or leading is None or 0 in made:
            return None
        before = [int(np.prod(made[:i], dtype=np.int64)) for i in range(len(made))]
        fits = [
            i
            for i, extent in enumerate(made)
            if leading % before[i] == 0 and (before[i] * extent) % (leading * self._batch) == 0
        ]
        alone = [i for i in fits if before[i] == leading]
        pure = [i for i in alone if made[i] == self._batch]
        if axis in pure or (pure and len(made) >= len(given)):
            return axis if axis in pure else pure[0]
        if len(made) == len(given) and axis in alone:
            return axis
        trailing = int(np.prod(given, dtype=np.int64)) // (leading * self._batch)
        joined = [
            i
            for i in fits
            if i not in alone and int(np.prod(made[i + 1 :], dtype=np.int64)) == trailing
        ]
        return next(iter([*joined, *alone, *fits]), None)

    def _misplaced(self, node: onnx.NodeProto, found: int) -> bool:
        """Whether a reshape passes the batch on along another axis than the one it lies along."""
        made = self._known(self._before, node.output[0])
        place = None if made is None else self._place(node.input[0], made)
        if place is None or made is None or place == found:
            return False
        # An axis of the batch's own extent is the batch's, as in [1, -1] of a batch of one.
        return self._reading is BatchReading.LEADING or made[place] == self._batch

    def _change_reshape(self, node: onnx.NodeProto) -> bool:
        made = self._known(self._before, node.output[0])
        target = None if made is None else self._place(node.input[0], made)
        if made is None or target is None:
            return False
        shape = [-1 if i == target else extent for i, extent in enumerate(made)]
        if self._shape_of(node) == shape:
            return False
        node.input[1] = Additions(self._graph, "batch").constant("shape", shape)
        set_attribute(node, "allowzero", None)
        return True

    def _shape_of(self, node: onnx.NodeProto) -> list[int] | None:
        known = constant_of(self._graph, node.input[1])
        return None if known is None else [int(extent) for extent in np.ravel(known)]

    def _change_expand(self, node: onnx.NodeProto) -> bool:
        axis = self._axis(node.input[0])
        given = self._known(self._before, node.input[0])
        target = self._shape_of(node)
        if axis is None or given is None or target is None:
            return False
        axis += len(target) - len(given)  # both end at the same axis
        if not 0 <= axis < len(target) or target[axis] != self._batch:
            return False
        target[axis] = 1
        node.input[1] = Additions(self._graph, "batch").constant("shape", target)
        return True

    def _change_squeeze(self, node: onnx.NodeProto) -> bool:
        """Keep the batch axis where nothing but elementwise nodes follow up to an output."""
        axis = self._axis(node.input[0])
        given = self._known(self._before, node.input[0])
        if axis is None or given is None:
            return False
        axes = list(range(len(given)))
        if len(node.input) > 1 and node.input[1]:
            known = constant_of(self._graph, node.input[1])
            if known is None:
                return False
            axes = [int(i) % len(given) for i in np.ravel(known)]
        kept = [i for i in axes if given[i] == 1 and i != axis]
        if not self._leads_out(node.output[0]):
            return False
        if kept:
            del node.input[1:]
            node.input.append(Additions(self._graph, "batch").constant("axes", kept))
        else:
            node.op_type = "Identity"
            del node.input[1:]
        return True

    def _change_gather(self, node: onnx.NodeProto) -> bool:
        """Take the rows of a batch of one, not its only row, where that leads to an output."""
        index = constant_of(self._graph, node.input[1])
        axis = self._axis(node.input[0])
        chosen = attribute_of(node, "axis", 0)
        if self._batch != 1 or axis != chosen or index is None or index.ndim != 0:
            return False
        if int(index) not in (0, -1) or not self._leads_out(node.output[0]):
            return False
        node.op_type = "Identity"
        del node.input[1:]
        del node.attribute[:]
        return True

    def _leads_out(self, name: str) -> bool:
        """Whether a value reaches only outputs, through nodes that work on any rank.

        A softmax over its one axis becomes one over the last.
        """
        if name in self._outputs:
            return True
        readers = [node for node in self._graph.node if name in node.input]
        if len(readers) != 1:
            return False
        node, shape = readers[0], self._known(self._before, name)
        if node.op_type.endswith("Softmax"):
            if shape is None or len(shape) != 1:
                return False
            set_attribute(node, "axis", -1)
        elif node.op_type == "MatMul" or node.op_type in _ELEMENTWISE:
            if not self._takes_more_axes(node, name):
                return False
        elif node.op_type not in _ONE_BY_ONE and node.op_type != "Reshape":
            return False
        return self._leads_out(node.output[0])

    def _takes_more_axes(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether a node does the same to a value with one more axis in front."""
        if node.op_type == "MatMul":
            other = self._known(self._before, node.input[1])
            return node.input[0] == name and other is not None and len(other) == 2
        others = [self._known(self._before, one) for one in node.input if one != name]
        return all(other is not None and len(other) <= 1 for other in others)

    def _change_slice(self, node: onnx.NodeProto) -> bool:
        axis = self._axis(node.input[0])
        given = self._known(self._before, node.input[0])
        operands = [constant_of(self._graph, name) if name else None for name in node.input[1:]]
        if axis is None or given is None or operands[0] is None or operands[1] is None:
            return False
        starts, ends = (np.ravel(one).astype(np.int64) for one in operands[:2] if one is not None)
        axes = list(range(len(starts)))
        if len(operands) > 2 and operands[2] is not None:
            axes = [int(i) % len(given) for i in np.ravel(operands[2])]
        if axis not in axes:
            return False
        position = axes.index(axis)
        if starts[position] != 0 or ends[position] < self._batch:
            return False
        if ends[position] == _LARGEST_END:
            return False
        changed = [int(end) for end in ends]
        changed[position] = _LARGEST_END
        node.input[2] = Additions(self._graph, "batch").constant("ends", changed)
        return True

    def _change_resize(self, node: onnx.NodeProto) -> bool:
        axis = self._axis(node.input[0])
        sizes = constant_of(self._graph, node.input[3]) if len(node.input) > 3 else None
        if axis is None or sizes is None or attribute_of(node, "axes") is not None:
            return False
        added = Additions(self._graph, "batch")
        batch = self._extent(added, node.input[0], axis)
        target = [int(size) for size in np.ravel(sizes)]
        node.input[3] = _shape_with(added, target, axis, batch)
        self._insert_before(node, added)
        return True

    def _change_flatten(self, node: onnx.NodeProto) -> bool:
        axis = self._axis(node.input[0])
        if self._batch != 1 or axis != 0 or attribute_of(node, "axis", 1) != 0:
            return False
        set_attribute(node, "axis", 1)
        return True

    def _repeat_operands(self, node: onnx.NodeProto) -> bool:
        """Repeat, or reduce to one row, operands that hold the file's batch of equal rows."""
        made = self._known(self._before, node.output[0])
        operands = [*node.input]
        ranks = {n: self._known(self._before, n) for n in operands if n}
        source = next((n for n in operands if n and self._axis(n) is not None), None)
        if source is None or made is None:
            return False
        axis, shape = self._axis(source), ranks[source]
        assert axis is not None and shape is not None  # noqa: S101 - found just above
        from_end = axis - len(shape)
        added = Additions(self._graph, "batch")
        changed = False
        for index, name in enumerate(operands):
            found = ranks.get(name)
            if not name or found is None or self._axis(name) is not None:
                continue
            place = axis if node.op_type == "GridSample" else len(found) + from_end
            if place < 0 or place >= len(found) or found[place] != self._batch:
                continue
            if node.op_type not in ("Concat", "GridSample") and self._batch == 1:
                continue  # an extent of one is repeated by the operator itself
            node.input[index] = self._repeated(
                added,
                name,
                found,
                place,
                source,
                axis,
                all_rows=node.op_type in ("Concat", "GridSample"),
            )
            changed = True
        if changed:
            self._insert_before(node, added)
        return changed

    def _fixed_states(self, node: onnx.NodeProto) -> bool:
        """Whether a recurrent layer begins with states of the file's own batch."""
        for name in node.input[5:7]:
            found = self._known(self._before, name) if name else None
            if found is not None and self._axis(name) is None and found[1] == self._batch:
                return True
        return False

    def _repeat_states(self, node: onnx.NodeProto) -> bool:
        """Repeat the initial states of a recurrent layer, [directions, batch, hidden]."""
        axis = self._axis(node.input[0])
        if axis is None:
            return False
        added = Additions(self._graph, "batch")
        changed = False
        for index in (5, 6):
            name = node.input[index] if index < len(node.input) else ""
            found = self._known(self._before, name) if name else None
            if found is not None and self._axis(name) is None and found[1] == self._batch:
                node.input[index] = self._repeated(
                    added, name, found, 1, node.input[0], axis, all_rows=True
                )
                changed = True
        if changed:
            self._insert_before(node, added)
        return changed

    def _repeated(
        self,
        added: Additions,
        name: str,
        shape: Sequence[int],
        place: int,
        source: str,
        axis: int,
        *,
        all_rows: bool,
    ) -> str:
        """Return a value's first row, repeated as often as `source` has rows where asked to."""
        if self._batch > 1:
            bounds = [
                added.constant(part, [number])
                for part, number in (("first", 0), ("end", 1), ("axis", place))
            ]
            name = added.node("Slice", [name, *bounds], "one_row")
        if not all_rows:
            return name
        target = _shape_with(added, [*shape], place, self._extent(added, source, axis))
        return added.node("Expand", [name, target], "rows")

    @staticmethod
    def _extent(added: Additions, name: str, axis: int) -> str:
        extents = added.node("Shape", [name], "shape")
        bounds = [added.constant("first", [axis]), added.constant("end", [axis + 1])]
        return added.node("Slice", [extents, *bounds], "extent")

    def _insert_before(self, node: onnx.NodeProto, added: Additions) -> None:
        own = node.output[0]
        index = next(i for i, one in enumerate(self._graph.node) if one.output[0] == own)
        replace_nodes(
            self._graph, [*self._graph.node[:index], *added.nodes, *self._graph.node[index:]]
        )


def _shape_with(added: Additions, shape: Sequence[int], axis: int, batch: str) -> str:
    """Return a shape whose extent along one axis is computed."""
    parts = [batch]
    if axis:
        parts.insert(0, added.constant("before", list(shape[:axis])))
    if axis + 1 < len(shape):
        parts.append(added.constant("after", list(shape[axis + 1 :])))
    return batch if len(parts) == 1 else added.node("Concat", parts, "target", axis=0)


def _shapes_at(model: onnx.ModelProto, batch: int) -> dict[str, ValueType]:
    """Return every value's shape with the first extent of each batched input set."""
    sizes = {}
    for value in model.graph.input:
        extents = value.type.tensor_type.shape.dim
        sizes[value.name] = (batch, *(d.dim_value for d in extents[1:]))
    copy = copy_of(model)
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return infer_types(copy, sizes, strict=False)
