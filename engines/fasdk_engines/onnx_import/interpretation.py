"""What an ONNX file declares, and what an import takes its inputs and output to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.capture import Modality
from fasdk.errors import ExportError
from fasdk_engines.onnx_import.description import Layout, OutputKind, Reduction

if TYPE_CHECKING:
    import onnx

Extent = int | str | None
"""Extent of one axis: fixed, symbolic by its name, or not declared."""


@dataclass(frozen=True)
class DeclaredValue:
    """Input or output as a file declares it.

    Attributes:
        name: Name in the file.
        element: Element type, such as "float32"; "unknown" where none is declared.
        shape: Extent of each axis, the batch included; None where no shape is declared.
    """

    name: str
    element: str
    shape: tuple[Extent, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name} ({self.element}, shape not declared)"
        extents = ", ".join("?" if extent is None else str(extent) for extent in self.shape)
        return f"{self.name} ({self.element} [{extents}])"


@dataclass(frozen=True)
class FileSignature:
    """Inputs and outputs of a file.

    Attributes:
        inputs: Inputs in the file's order; weights that are listed as inputs, too, are left out.
        outputs: Outputs in the file's order.
        opset: Opset version of the file.
    """

    inputs: tuple[DeclaredValue, ...]
    outputs: tuple[DeclaredValue, ...]
    opset: int


@dataclass(frozen=True)
class InputInterpretation:
    """Planes of a file's input that one modality feeds.

    Attributes:
        modality: Modality that feeds them.
        declared: Input as the file declares it.
        layout: Order of the input's axes.
        planes: Number of planes the modality takes of the input.
        first_plane: Index of the first of them along the channel axis; greater than 0 only for an
            input in which modalities are stacked.
    """

    modality: Modality
    declared: DeclaredValue
    layout: Layout
    planes: int
    first_plane: int


@dataclass(frozen=True)
class OutputInterpretation:
    """Output that holds the scores.

    Attributes:
        declared: Output as the file declares it.
        kind: Content of the output.
        reduction: Reduction of a score map to one value, or None where the output is no map.
    """

    declared: DeclaredValue
    kind: OutputKind
    reduction: Reduction | None


@dataclass(frozen=True)
class Interpretation:
    """What an import took a file to be.

    Attributes:
        inputs: Inputs by modality, in model order.
        constants: Values of the inputs that are held constant, as text, by the input's name.
        output: Output that holds the scores.
        opset: Opset version of the file.
        graph_opset: Opset version of the imported graph.
        fixed_batch: Batch that the file fixes, or None where it declares none.
        max_batch: Largest batch the imported graph takes; None for any.
    """

    inputs: tuple[InputInterpretation, ...]
    constants: dict[str, str]
    output: OutputInterpretation
    opset: int
    graph_opset: int
    fixed_batch: int | None
    max_batch: int | None


def read_signature(model: onnx.ModelProto) -> FileSignature:
    """Return what a model declares."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return FileSignature(
        inputs=tuple(declared(v) for v in model.graph.input if v.name not in weights),
        outputs=tuple(declared(v) for v in model.graph.output),
        opset=opset_of(model),
    )


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses; 0 where it states none."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def declared(value: onnx.ValueInfoProto) -> DeclaredValue:
    """Return what a file declares of one input or output.

    Raises:
        ExportError: Its name is no text.
    """
    if not isinstance(value.name, str):  # protobuf gives bytes that are no UTF-8 as they are
        raise ExportError(f"the name of an input or output is no text: {value.name!r:.60}")
    if not value.type.HasField("tensor_type"):
        return DeclaredValue(value.name, "unknown", None)
    tensor = value.type.tensor_type
    shape: tuple[Extent, ...] | None = None
    if tensor.HasField("shape"):
        shape = tuple(
            d.dim_value if d.HasField("dim_value") else d.dim_param or None
            for d in tensor.shape.dim
        )
    return DeclaredValue(value.name, element_name(tensor.elem_type), shape)


def element_name(element: int) -> str:
    """Return an element type as NumPy spells it, such as "float32".

    Args:
        element: Member of `onnx.TensorProto.DataType`.
    """
    import onnx

    name = str(onnx.TensorProto.DataType.Name(element)).lower()
    return {"float": "float32", "double": "float64", "undefined": "unknown"}.get(name, name)
