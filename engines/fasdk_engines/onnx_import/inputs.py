"""Inputs of an ONNX file: which modality feeds what, and the graph in front of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk.preprocess import PRESENCE, ChannelOrder
from fasdk_engines.graph.editing import attribute_of
from fasdk_engines.onnx_import.description import Layout
from fasdk_engines.onnx_import.interpretation import (
    DeclaredValue,
    InputInterpretation,
    read_signature,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk_engines.onnx_import.description import ImportDescription

# Weights of red, green and blue in luma, ITU-R BT.601.
LUMA = {ChannelOrder.RGB: (0.299, 0.587, 0.114), ChannelOrder.BGR: (0.114, 0.587, 0.299)}
_FLOATS = ("float32", "float16", "bfloat16", "float64")
_INTEGERS = ("uint8", "int8", "uint16", "int16", "int32", "int64", "uint32", "uint64")


@dataclass(frozen=True)
class ImageInput:
    """Image input of a file and the modalities that feed it.

    Attributes:
        declared: Input as the file declares it.
        modalities: Modalities whose planes it holds, in the order of its channels.
        planes: Number of planes of each.
        layout: Order of its axes.
        height: Height in pixels.
        width: Width in pixels.
        batched: Whether it has a batch axis.
    """

    declared: DeclaredValue
    modalities: tuple[Modality, ...]
    planes: tuple[int, ...]
    layout: Layout
    height: int
    width: int
    batched: bool

    @property
    def name(self) -> str:
        """Name in the file."""
        return self.declared.name

    @property
    def is_integer(self) -> bool:
        """Whether it takes raw 8-bit levels as integers."""
        return self.declared.element in _INTEGERS

    def shape(self, batch: int) -> tuple[int, ...]:
        """Return the input's shape for a batch of so many captures."""
        channels = sum(self.planes)
        image = (
            (channels, self.height, self.width)
            if self.layout is Layout.NCHW
            else (self.height, self.width, channels)
        )
        return (batch, *image) if self.batched else image


@dataclass(frozen=True, eq=False)
class ConstantInput:
    """Input of a file that always has one value.

    Attributes:
        name: Name in the file.
        values: Its elements in the file's type; of extent 1 along an open batch axis.
        by_capture: Whether its first axis is the open batch, along which it is repeated.
    """

    name: str
    values: NDArray[np.generic]
    by_capture: bool


@dataclass(frozen=True)
class FileInputs:
    """All inputs of a file, bound to what feeds them.

    Attributes:
        images: Image inputs in the order in which the description names them.
        presence: Input [batch, modalities] that marks which modalities a capture holds, or None.
        constants: Inputs that always have one value.
        fixed_batch: Batch the file fixes, or None where it declares none.
        description: Description with the images' sizes filled in.
    """

    images: tuple[ImageInput, ...]
    presence: str | None
    constants: tuple[ConstantInput, ...]
    fixed_batch: int | None
    description: ImportDescription

    def interpretations(self) -> tuple[InputInterpretation, ...]:
        """Return the planes that each modality feeds, in model order."""
        found = {}
        for image in self.images:
            first = 0
            for modality, planes in zip(image.modalities, image.planes, strict=True):
                found[modality] = InputInterpretation(
                    modality, image.declared, image.layout, planes, first
                )
                first += planes
        return tuple(found[modality] for modality in self.description.modalities)

    def feeds(
        self,
        captures: Mapping[str, NDArray[np.float32]],
        types: Mapping[str, str] | None = None,
    ) -> dict[str, NDArray[np.generic]]:
        """Return the file's inputs for a batch of captures, computed apart from any graph.

        Args:
            captures: float32 [B, 3, H, W] by modality and, where it is taken, presence
                [B, modalities].
            types: NumPy type of each input to feed, where they are not all the file's own.

        Returns:
            Arrays in the file's types and layouts by the file's names.
        """
        fed: dict[str, NDArray[np.generic]] = {}
        count = len(next(iter(captures.values())))
        for image in self.images:
            parts = []
            for modality, planes in zip(image.modalities, image.planes, strict=True):
                pixels = captures[modality.value]
                if planes == 3:
                    parts.append(pixels)
                elif modality.value == "rgb":
                    weights = LUMA[self.description.inputs[modality].channel_order]
                    luma = np.array(weights, np.float32)
                    gray = (pixels * luma[:, None, None]).sum(axis=1, keepdims=True)
                    parts.append(np.rint(gray) if image.is_integer else gray)
                else:
                    parts.append(pixels[:, :1])
            stacked = np.concatenate(parts, axis=1)
            if image.layout is Layout.NHWC:
                stacked = stacked.transpose(0, 2, 3, 1)
            if not image.batched:
                stacked = stacked[0]
            element = (types or {}).get(image.name, image.declared.element)
            element = {"bfloat16": "float32"}.get(element, element)
            fed[image.name] = np.ascontiguousarray(stacked.astype(element))
        if self.presence is not None:
            fed[self.presence] = captures[PRESENCE]
        for constant in self.constants:
            values = constant.values
            if constant.by_capture:
                values = np.broadcast_to(values, (count, *values.shape[1:]))
            fed[constant.name] = np.ascontiguousarray(values)
        if types is not None:
            fed = {name: value.astype(types[name]) for name, value in fed.items() if name in types}
        return fed


def bind_inputs(model: onnx.ModelProto, description: ImportDescription) -> FileInputs:
    """Bind every input of a file to what the description says feeds it.

    Raises:
        ExportError: An input is absent, left over, or of a shape or type that cannot be fed; the
            message has the lines to write where lines help.
    """
    signature = read_signature(model)
    by_name = {value.name: value for value in signature.inputs}
    groups: dict[str, list[Modality]] = {}
    for modality in description.modalities:
        name = description.inputs[modality].graph_input or modality.value
        groups.setdefault(name, []).append(modality)
    for name, modalities in groups.items():
        _require(by_name, name, f"inputs.{modalities[0].value}.graph_input")
    images = tuple(
        _bind_image(model, by_name[name], modalities, description)
        for name, modalities in groups.items()
    )
    taken = set(groups)
    if description.presence is not None:
        _require(by_name, description.presence, "presence")
        if description.presence in taken:
            raise ExportError(
                f"input {description.presence!r} cannot be both an image and presence: correct "
                "presence in the description"
            )
        taken.add(description.presence)
    for name in description.constants:
        _require(by_name, name, f"constants.{name}")
        if name in taken:
            raise ExportError(f"input {name!r} cannot be both fed and constant: remove one of them")
    sizes = {
        modality: {"width": image.width, "height": image.height}
        for image in images
        for modality in image.modalities
    }
    filled = {m: d.model_copy(update=sizes[m]) for m, d in description.inputs.items()}
    batches = {
        image.name: extent
        for image in images
        if image.batched and (extent := _fixed((image.declared.shape or (None,))[0])) is not None
    }
    if len(set(batches.values())) > 1:
        raise ExportError(
            f"the graph's inputs fix different batches, {batches}: export with one batch"
        )
    batch = next(iter(batches.values()), None)
    constants = []
    for name, value in by_name.items():
        if name in taken:
            continue
        if name not in description.constants:
            raise ExportError(
                f"nothing is described for graph input {name!r}, which is {value.element} "
                f"{_extents(value.shape)}: give a modality inputs.MODALITY.graph_input = {name!r}, "
                f"or where it always has one value write [constants] and {name!r} = VALUE"
            )
        constants.append(_constant(value, description.constants[name], batch))
    return FileInputs(
        images,
        description.presence,
        tuple(constants),
        batch,
        description.model_copy(update={"inputs": filled}),
    )


def _require(by_name: Mapping[str, DeclaredValue], name: str, field: str) -> None:
    if name not in by_name:
        raise ExportError(
            f"the graph has no input {name!r}, only {', '.join(map(repr, by_name))}: "
            f"correct {field} in the description"
        )


def _bind_image(
    model: onnx.ModelProto,
    value: DeclaredValue,
    modalities: Sequence[Modality],
    description: ImportDescription,
) -> ImageInput:
    specs = [description.inputs[m] for m in modalities]
    sections = " and ".join(f"[inputs.{m.value}]" for m in modalities)
    if value.element not in (*_FLOATS, *_INTEGERS):
        raise ExportError(
            f"input {value.name!r} is {value.element}, which holds no image: export an input of "
            "float32 or uint8"
        )
    for field in ("width", "height", "layout"):
        said = {getattr(spec, field) for spec in specs} - {0, None}
        if len(said) > 1:
            raise ExportError(
                f"{sections} share input {value.name!r} but have different {field}: write one"
            )
    width = max(spec.width for spec in specs)
    height = max(spec.height for spec in specs)
    layout = next((spec.layout for spec in specs if spec.layout is not None), None)
    shape = value.shape
    if shape is None:
        shape = (None, None, None, None)
    if len(shape) not in (3, 4):
        raise ExportError(
            f"input {value.name!r} is {_extents(value.shape)}, expected [batch, channels, height, "
            "width] or [batch, height, width, channels]: export it with one image in four axes"
        )
    image = [_fixed(extent) for extent in shape[-3:]]
    by_weights = _channels_of_reader(model, value.name)
    if by_weights is not None and image[0] in (None, by_weights):
        image[0] = by_weights
        layout = layout or Layout.NCHW
    fits = []
    for candidate in (layout,) if layout is not None else (Layout.NCHW, Layout.NHWC):
        channels, *size = image if candidate is Layout.NCHW else [image[2], image[0], image[1]]
        if all(a in (None, b) or b == 0 for a, b in zip(size, (height, width), strict=True)):
            splits = _plane_splits(channels, modalities, [spec.planes for spec in specs])
            fits += [(candidate, size, split) for split in splits]
    if len(fits) > 1:
        lines = 'layout = "nchw" (or "nhwc")' if len({f[0] for f in fits}) > 1 else ""
        planes = "planes = 3 (or 1)" if len({f[2] for f in fits}) > 1 else ""
        raise ExportError(
            f"input {value.name!r} is {_extents(value.shape)}, which may be read in more than one "
            f"way: write {' and '.join(filter(None, (lines, planes)))} under {sections}"
        )
    if not fits:
        raise ExportError(_misfit(value, image, width, height, layout, sections, len(modalities)))
    chosen, size, split = fits[0]
    found_height, found_width = size[0] or height, size[1] or width
    if not (found_height and found_width):
        raise ExportError(
            f"input {value.name!r} is {_extents(value.shape)}, so its size is the description's to "
            f"say: write width = PIXELS and height = PIXELS under {sections}"
        )
    bound = ImageInput(
        value, tuple(modalities), split, chosen, found_height, found_width, len(shape) == 4
    )
    _require_values(bound, description)
    return bound


def _misfit(
    value: DeclaredValue,
    image: Sequence[int | None],
    width: int,
    height: int,
    layout: Layout | None,
    sections: str,
    modalities: int,
) -> str:
    """Return what is wrong with an input that no reading fits."""
    found = f"input {value.name!r} is {_extents(value.shape)}"
    counts = {3 * modalities, modalities, modalities + 2}
    for candidate in (layout,) if layout is not None else (Layout.NCHW, Layout.NHWC):
        channels, *size = image if candidate is Layout.NCHW else [image[2], image[0], image[1]]
        if channels in counts and None not in size and size != [height, width]:
            return (
                f"{found}, but {sections} says width {width} and height {height}: write "
                f"width = {size[1]} and height = {size[0]}"
            )
    return (
        f"{found}, expected [batch, {3 * modalities}, {height}, {width}]: a modality gives 3 "
        "planes or 1, and modalities that are stacked in one input name the same graph_input; "
        "correct layout, planes, width and height in the description"
    )


def _plane_splits(
    channels: int | None, modalities: Sequence[Modality], said: Sequence[int | None]
) -> list[tuple[int, ...]]:
    """Return the numbers of planes by modality that fill so many channels, the natural ones alone.

    Where several do, RGB has 3 and the others have equally many; where none of these is left, or
    more than one, all that fill them are returned.
    """
    choices = [(planes,) if planes is not None else (3, 1) for planes in said]
    splits = [split for split in product(*choices) if channels is None or sum(split) == channels]
    natural = []
    for split in splits:
        others = {p for m, p in zip(modalities, split, strict=True) if m.value != "rgb"}
        color = {p for m, p in zip(modalities, split, strict=True) if m.value == "rgb"}
        if len(others) <= 1 and color <= {3}:
            natural.append(split)
    return natural if len(natural) == 1 else splits


def _channels_of_reader(model: onnx.ModelProto, name: str) -> int | None:
    """Return the channels that a convolution right behind an input fixes, or None."""
    readers = [node for node in model.graph.node if name in node.input]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in readers:
        if node.op_type == "Conv" and node.input[0] == name and node.input[1] in weights:
            group = attribute_of(node, "group", 1)
            return int(weights[node.input[1]].dims[1]) * int(group)
    return None


def _require_values(image: ImageInput, description: ImportDescription) -> None:
    """Refuse numbers that an input of this type or number of planes does not take."""
    for modality, planes in zip(image.modalities, image.planes, strict=True):
        spec = description.inputs[modality]
        if image.is_integer and (set(spec.mean) != {0.0} or set(spec.std) != {1.0}):
            raise ExportError(
                f"input {image.name!r} is {image.declared.element}, so it takes raw 8-bit levels: "
                f"write mean = [0.0, 0.0, 0.0] and std = [1.0, 1.0, 1.0] under "
                f"[inputs.{modality.value}]"
            )
        one_plane = modality.value == "rgb" and planes == 1
        if one_plane and (len(set(spec.mean)) > 1 or len(set(spec.std)) > 1):
            raise ExportError(
                f"input {image.name!r} takes one plane of rgb, its luma: write the same mean and "
                "the same std three times under [inputs.rgb]"
            )


def _constant(value: DeclaredValue, given: object, batch: int | None) -> ConstantInput:
    if value.element not in (*_FLOATS, *_INTEGERS, "bool"):
        raise ExportError(
            f"constants.{value.name}: the input is {value.element}, which no constant can have"
        )
    element = {"bfloat16": "float32"}.get(value.element, value.element)
    shape = value.shape
    if shape is None:
        raise ExportError(
            f"constants.{value.name}: the file declares no shape for this input: export one"
        )
    fixed = tuple(
        _fixed(extent) if _fixed(extent) is not None else 1 if axis == 0 else None
        for axis, extent in enumerate(shape)
    )
    if None in fixed:
        raise ExportError(
            f"constants.{value.name}: the input is {_extents(shape)}, of which only the first axis "
            "may be open: export it with fixed sizes"
        )
    extents = tuple(extent for extent in fixed if extent is not None)
    array = np.array(given)
    one_row = extents[1:] if extents and extents[0] == (batch or 1) else extents
    for target in (extents, one_row):
        if array.size == 1:
            array = np.full(extents, array.reshape(-1)[0])
        if array.size == int(np.prod(target)):
            array = np.broadcast_to(array.reshape(target), extents)
            break
    else:
        raise ExportError(
            f"constants.{value.name} has {array.size} elements but the input is "
            f"{_extents(shape)}: give one value, or {int(np.prod(extents))}"
        )
    converted = array.astype(element)
    if not np.array_equal(converted.astype(np.float64), array.astype(np.float64)) and (
        value.element in (*_INTEGERS, "bool")
    ):
        raise ExportError(
            f"constants.{value.name} does not fit the input's type, {value.element}: give such "
            "values"
        )
    open_batch = bool(shape) and _fixed(shape[0]) is None
    return ConstantInput(value.name, np.ascontiguousarray(converted), open_batch)


def _fixed(extent: int | str | None) -> int | None:
    """Return an extent that a file fixes; exporters write 0 and -1 for one that is open."""
    return extent if isinstance(extent, int) and extent > 0 else None


def _extents(shape: Sequence[int | str | None] | None) -> str:
    if shape is None:
        return "of no declared shape"
    return f"[{', '.join('?' if _fixed(e) is None else str(e) for e in shape)}]"
