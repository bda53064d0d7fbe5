"""Draft of an ONNX file's description: what the file states, what is guessed, what must be told."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

from fasdk.capture import Modality
from fasdk.errors import ExportError
from fasdk.preprocess import CropRule
from fasdk_engines.graph.types import infer_types
from fasdk_engines.onnx_import.description import Layout, OutputKind, Reduction
from fasdk_engines.onnx_import.interpretation import DeclaredValue, read_signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fasdk_engines.onnx_import.onnx_file import OnnxFile

TomlValue = str | int | float | bool | tuple["TomlValue", ...] | dict[str, "TomlValue"]

# Words of an input's name that say which sensor feeds it.
_NAMES = {
    Modality.DEPTH: re.compile(r"depth|dpt|(?<![a-z])d(?![a-z])|disparity", re.IGNORECASE),
    Modality.IR: re.compile(r"(?<![a-z])n?ir(?![a-z])|infrared|thermal", re.IGNORECASE),
    Modality.RGB: re.compile(r"rgb|bgr|colou?r|visible|(?<![a-z])vis(?![a-z])", re.IGNORECASE),
}
_SCORES = re.compile(r"logit|score|prob|softmax|class|cls|live|spoof|pred", re.IGNORECASE)
_IMAGE_AXES = 4
_WIDTH = 78  # columns of the document
_LARGEST_STACK = 9
_MOST_LABELS = 1000  # that a draft names; a damaged file states billions
_MOST_CLASSES = 16  # an output of more numbers is an embedding


class Origin(Enum):
    """Where a field of a draft comes from."""

    FILE = "file"  # the file states it
    FREE = "free"  # any name will do
    GUESS = "guess"  # usual, not stated anywhere
    MEASURED = "measured"  # the best of those tried on labeled captures
    MISSING = "missing"  # must be told


_PREFIXES = {Origin.GUESS: "GUESS: "}


@dataclass(frozen=True)
class DraftField:
    """One line of a draft.

    Attributes:
        section: Section of the description; "" at its top.
        key: Name of the field.
        value: Its value; None where it must be told.
        origin: Where it comes from.
        comment: What a reader should know of it, such as the choices; may be empty.
    """

    section: str
    key: str
    value: TomlValue | None
    origin: Origin
    comment: str = ""

    @property
    def name(self) -> str:
        """Section and key, such as inputs.rgb.crop."""
        return f"{self.section}.{self.key}" if self.section else self.key

    def lines(self) -> list[str]:
        """Return the lines of TOML; a field that must be told is one that does not parse.

        A comment that is too long for the line stands above it.
        """
        missing = self.origin is Origin.MISSING or self.value is None
        text = f"{self.key} = {'?' if missing or self.value is None else _toml(self.value)}"
        prefix = "MUST BE TOLD: " if missing else _PREFIXES.get(self.origin, "")
        comment = f"{prefix}{self.comment}" if self.comment else ""
        if not comment:
            return [text]
        if len(text) + len(comment) + 4 <= _WIDTH:
            return [f"{text}  # {comment}"]
        wrapped = textwrap.wrap(comment, _WIDTH - 2, break_long_words=False)
        return [*(f"# {line}" for line in wrapped), text]


@dataclass(frozen=True)
class Draft:
    """Description of a file as far as it is known.

    Attributes:
        fields: Fields in the order of the document.
        images: Number of image inputs of the file.
        notes: Plain lines at its top.
    """

    fields: tuple[DraftField, ...]
    images: int
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[DraftField, ...]:
        """The fields that must be told."""
        return tuple(field for field in self.fields if field.origin is Origin.MISSING)

    @property
    def guesses(self) -> tuple[DraftField, ...]:
        """The fields that are guessed."""
        return tuple(field for field in self.fields if field.origin is Origin.GUESS)

    def get(self, name: str) -> DraftField | None:
        """Return a field by section and key, or None."""
        return next((field for field in self.fields if field.name == name), None)

    def value(self, name: str) -> TomlValue | None:
        """Return a field's value by section and key; None where it is missing."""
        found = self.get(name)
        return None if found is None else found.value

    def updated(self, fields: Sequence[DraftField]) -> Draft:
        """Return the draft with fields replaced where it has them, else put after the one before.

        Args:
            fields: The new fields; one that the draft lacks follows the one before it here.
        """
        new = {field.name: field for field in fields}
        kept = [new.get(field.name, field) for field in self.fields]
        present = [field.name for field in kept]
        for before, field in pairwise(fields):
            if field.name not in present:
                place = present.index(before.name) + 1
                kept.insert(place, field)
                present.insert(place, field.name)
        return replace(self, fields=tuple(kept))

    def text(self) -> str:
        """Return the TOML document."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for note in self.notes:
            yield f"# {note}"
        section = ""
        for field in self.fields:
            if field.section != section:
                section = field.section
                yield ""
                yield f"[{section}]"
            yield from field.lines()


def draft_description(
    file: OnnxFile,
    *,
    modalities: Sequence[Modality] = (),
    size: tuple[int, int] | None = None,
    output: str | None = None,
    is_masked: bool = True,
) -> Draft:
    """Return what an ONNX file tells of its description.

    Args:
        file: The file.
        modalities: Modalities of its inputs in the file's order, as far as they were told.
        size: Width and height in pixels of inputs whose size is dynamic, or None.
        output: Name of the output that is taken for the scores; None takes the only one, or the
            only one whose name says scores.
        is_masked: Whether an input of one number an image is taken for the presence mask; else
            for a constant, 1.
    """
    signature = read_signature(file.model)
    images = [value for value in signature.inputs if _is_image(value)]
    others = [value for value in signature.inputs if not _is_image(value)]
    masks = [value for value in others if _is_mask(value, len(images))]
    stem = file.path.stem
    fields = [
        DraftField("", "name", stem, Origin.FREE, "free; here the file's name"),
        DraftField("", "published_in", stem, Origin.FREE, "free; paper or project"),
    ]
    assigned, where = _assign(images, modalities)
    if assigned is None:
        fields.append(DraftField("", "modalities", None, Origin.MISSING, where))
    else:
        names = tuple(m.value for m, _ in assigned)
        origin = Origin.FILE if not where else Origin.GUESS
        fields.append(DraftField("", "modalities", names, origin, where))
    scores, answer = _output_fields(file, signature.outputs, output)
    fields += _label_fields(answer)
    if len(masks) == 1 and is_masked:
        others.remove(masks[0])
        comment = f"one number an image, 1 where the capture has it: {masks[0]}"
        fields.append(DraftField("", "presence", masks[0].name, Origin.GUESS, comment))
    for modality, value in assigned or ():
        fields += _input_fields(modality, value, size, shared=len(assigned or ()) > len(images))
    fields += scores
    fields += [
        DraftField(
            "constants",
            json.dumps(value.name) if not re.fullmatch(r"[\w-]+", value.name) else value.name,
            1.0 if value in masks else None,
            Origin.GUESS if value in masks else Origin.MISSING,
            f"value of input {value}, which is no image",
        )
        for value in others
    ]
    notes = (f"{file.path.name}, opset {signature.opset}", *_legend())
    return Draft(tuple(fields), len(images), notes)


def _legend() -> tuple[str, ...]:
    return (
        "A line with GUESS is not stated in the file: check it.",
        "A line with = ? must be filled in, or the file is refused.",
    )


def _is_image(value: DeclaredValue) -> bool:
    return value.shape is None or len(value.shape) == _IMAGE_AXES


def _is_mask(value: DeclaredValue, images: int) -> bool:
    """Return whether an input has one number for each of several images."""
    return images > 1 and value.shape is not None and value.shape[1:] == (images,)


def score_outputs(file: OnnxFile) -> tuple[str, ...]:
    """Return the names of the outputs that can be scores: at most a few numbers a capture."""
    return tuple(
        value.name
        for value in read_signature(file.model).outputs
        if value.shape is None
        or len(value.shape) == 1
        or (len(value.shape) == 2 and not _is_long(value.shape[1]))
    )


def _is_long(extent: object) -> bool:
    return isinstance(extent, int) and extent > _MOST_CLASSES


def layout_of(value: DeclaredValue) -> Layout | None:
    """Return the layout an image's shape shows, or None where it shows none."""
    if value.shape is None or len(value.shape) != _IMAGE_AXES:
        return None
    second, last = value.shape[1], value.shape[3]
    first_fits, last_fits = (
        isinstance(extent, int) and 1 <= extent <= _LARGEST_STACK for extent in (second, last)
    )
    if first_fits == last_fits:
        return Layout.NCHW if first_fits and second == 3 else None
    return Layout.NCHW if first_fits else Layout.NHWC


def channels_of(value: DeclaredValue) -> int | None:
    """Return the number of planes an image's shape shows, or None."""
    layout = layout_of(value)
    if layout is None or value.shape is None:
        return None
    found = value.shape[1 if layout is Layout.NCHW else 3]
    return found if isinstance(found, int) else None


def size_of(value: DeclaredValue) -> tuple[int, int] | None:
    """Return width and height where the file fixes both, else None."""
    if value.shape is None or len(value.shape) != _IMAGE_AXES:
        return None
    layout = layout_of(value) or Layout.NCHW
    height, width = value.shape[2:] if layout is Layout.NCHW else value.shape[1:3]
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return width, height
    return None


def _assign(
    images: Sequence[DeclaredValue], told: Sequence[Modality]
) -> tuple[list[tuple[Modality, DeclaredValue]] | None, str]:
    """Return the inputs by modality, and what to say about it; None where it must be told."""
    choices = ", ".join(f'"{m.value}"' for m in Modality)
    listed = "; ".join(str(value) for value in images)
    ask = f"[{choices}] in the order of the planes or inputs of {listed}"
    if told and len(images) == 1:  # all of them stacked, if there are several
        return [(modality, images[0]) for modality in told], ""
    if told:
        fits = len(told) == len(images)
        pairs = list(zip(told, images, strict=False)) if fits else None
        return pairs, "" if fits else f"{ask}: {len(told)} were told"
    named = [_modality_by_name(value.name) for value in images]
    if len(images) == 1 and channels_of(images[0]) in (None, 3) and named == [None]:
        return [(Modality.RGB, images[0])], "one color image"
    stacked = len(images) == 1 and channels_of(images[0]) not in (None, 1, 3)
    found = [(m, value) for m, value in zip(named, images, strict=True) if m is not None]
    if stacked or len({m for m, _ in found}) != len(images) or not images:
        return None, ask
    return found, "by name"


def _modality_by_name(name: str) -> Modality | None:
    """Return the modality that an input's name says, or None where it says none or several."""
    named = [m for m, pattern in _NAMES.items() if pattern.search(name)]
    return named[0] if len(named) == 1 else None


def _input_fields(
    modality: Modality, value: DeclaredValue, size: tuple[int, int] | None, *, shared: bool
) -> list[DraftField]:
    section = f"inputs.{modality.value}"
    fields = []
    if value.name != modality.value or shared:
        fields.append(DraftField(section, "graph_input", value.name, Origin.FILE, str(value)))
    if layout_of(value) is None:
        choices = '"nchw" (torch) or "nhwc" (TensorFlow)'
        fields.append(DraftField(section, "layout", None, Origin.MISSING, f"{choices}: {value}"))
    if shared:
        planes = "3 or 1 planes of the stacked input"
        fields.append(DraftField(section, "planes", None, Origin.MISSING, planes))
    found = size_of(value)
    for index, key in enumerate(("width", "height")):
        if found is not None:
            fields.append(DraftField(section, key, found[index], Origin.FILE))
        elif size is not None:
            fields.append(DraftField(section, key, size[index], Origin.GUESS, "as --size"))
        else:
            what = "pixels; the file leaves it open: --size WIDTHxHEIGHT"
            fields.append(DraftField(section, key, None, Origin.MISSING, what))
    fields += [
        DraftField(
            section,
            "crop",
            None,
            Origin.MISSING,
            f"{' or '.join(json.dumps(rule.value) for rule in CropRule)}: the face box, the whole "
            "image, or another rule that the training code has",
        ),
        DraftField(
            section,
            "crop_scale",
            None,
            Origin.MISSING,
            "factor on the face box, such as 1.0 or 2.7; drop the line for another crop",
        ),
    ]
    if modality is Modality.RGB and channels_of(value) != 1:
        choices = '"rgb" (PIL, torchvision) or "bgr" (OpenCV)'
        fields.append(DraftField(section, "channel_order", None, Origin.MISSING, choices))
    if modality is Modality.DEPTH:
        encoding: dict[str, TomlValue] = {
            "near_mm": 300,
            "far_mm": 1500,
            "polarity": "near-bright",
        }
        comment = "millimeters drawn as 255 and 1, as the training set drew depth"
        fields.append(DraftField(section, "depth", encoding, Origin.GUESS, comment))
    levels = value.element.startswith(("int", "uint"))
    for key, number, comment in (
        (
            "mean",
            0.0,
            "[.., .., ..] subtracted from the planes, in 8-bit levels (0..1 values x 255)",
        ),
        ("std", 1.0, "[.., .., ..] divisors of the planes after that, likewise"),
    ):
        if levels:  # no other number fits the type
            stated = (number,) * 3
            fields.append(DraftField(section, key, stated, Origin.FILE, f"as {value.element}"))
        else:
            fields.append(DraftField(section, key, None, Origin.MISSING, comment))
    return fields


@dataclass(frozen=True)
class Answer:
    """Output that a draft takes for the scores.

    Attributes:
        value: Output as the file declares it.
        columns: Number of numbers a capture; None where it is not declared.
    """

    value: DeclaredValue
    columns: int | None


def _output_fields(
    file: OnnxFile, outputs: Sequence[DeclaredValue], told: str | None
) -> tuple[list[DraftField], Answer | None]:
    named = [
        value
        for value in outputs
        if (_SCORES.search(value.name) if told is None else value.name == told)
    ]
    chosen = outputs[0] if len(outputs) == 1 else named[0] if len(named) == 1 else None
    fields = []
    if chosen is None:
        choices = ", ".join(str(value) for value in outputs)
        fields.append(DraftField("output", "name", None, Origin.MISSING, f"one of {choices}"))
        fields.append(_missing_kind())
        return fields, None
    if len(outputs) > 1:
        fields.append(DraftField("output", "name", chosen.name, Origin.GUESS, str(chosen)))
    shape = chosen.shape
    if shape is None or None in shape[1:]:
        shape = _inferred_shape(file, chosen.name) or shape
    is_map = shape is not None and len(shape) > 2 and any(e != 1 for e in shape[2:])
    columns = shape[1] if shape is not None and len(shape) > 1 and not is_map else None
    if shape is not None and len(shape) == 1:
        columns = 1
    if is_map:
        names = ", ".join(f'"{r.value}"' for r in Reduction)
        fields.append(
            DraftField("output", "reduction", None, Origin.MISSING, f"{chosen} is a map: {names}")
        )
    found = columns if isinstance(columns, int) and columns <= _MOST_LABELS else None
    fields.append(_kind(file, chosen.name, found))
    return fields, Answer(chosen, found)


def _inferred_shape(file: OnnxFile, name: str) -> tuple[int | None, ...] | None:
    """Return an output's shape as its operators give it, or None where they do not."""
    try:
        found = infer_types(file.model, strict=False).get(name)
    except ExportError:
        return None
    return None if found is None else found.shape


def _missing_kind() -> DraftField:
    kinds = ", ".join(f'"{kind.value}"' for kind in OutputKind)
    return DraftField("output", "kind", None, Origin.MISSING, kinds)


def _kind(file: OnnxFile, name: str, columns: int | None) -> DraftField:
    """Return the kind of an output, read from the operator that makes it."""
    makers = {output: node for node in file.model.graph.node for output in node.output}
    node = makers.get(name)
    while node is not None and node.op_type in _SHAPE_ONLY:
        node = makers.get(node.input[0])
    last = "" if node is None else node.op_type
    one = columns == 1
    if last == "Softmax" and not one:
        kind, comment = OutputKind.PROBABILITIES, "the file ends in Softmax"
    elif last == "Sigmoid" and one:
        kind, comment = OutputKind.PROBABILITY, "the file ends in Sigmoid"
    elif last in ("Sigmoid", "Softmax") or columns is None:
        return replace(_missing_kind(), comment=f"{_missing_kind().comment}; ends in {last}")
    else:
        kind = OutputKind.LOGIT if one else OutputKind.LOGITS
        return DraftField("output", "kind", kind.value, Origin.GUESS, f"the file ends in {last}")
    return DraftField("output", "kind", kind.value, Origin.FILE, comment)


_SHAPE_ONLY = frozenset(["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast"])


def _label_fields(answer: Answer | None) -> list[DraftField]:
    columns = None if answer is None else answer.columns
    live = "index of the class that means a genuine face"
    if columns is None:
        names = 'class names in order, such as ["attack", "live"]'
        return [
            DraftField("", "labels", None, Origin.MISSING, names),
            DraftField("", "live_index", None, Origin.MISSING, live),
        ]
    if columns <= 1:
        comment = "1: the score is of a genuine face; 0: it is of an attack"
        labels: tuple[TomlValue, ...] = ("class 0", "class 1")
        return [
            DraftField(
                "", "labels", labels, Origin.FREE, "names are free; the score is of the second"
            ),
            DraftField("", "live_index", None, Origin.MISSING, comment),
        ]
    labels = tuple(f"class {index}" for index in range(columns))
    return [
        DraftField("", "labels", labels, Origin.FREE, "names are free, their number is the file's"),
        DraftField("", "live_index", None, Origin.MISSING, f"{live}, 0 to {columns - 1}"),
    ]


def _toml(value: TomlValue) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)
