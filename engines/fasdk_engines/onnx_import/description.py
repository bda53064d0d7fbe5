"""Description, in TOML, of an ONNX file to import: its inputs, outputs and preprocessing.

    name = "lobby-net"                    # model name in the bundle
    published_in = "Doe et al., 2025"     # paper or project
    modalities = ["rgb", "ir"]            # model order
    required = ["rgb"]                    # the others may be missing; all, where left out
    labels = ["attack", "live"]           # class names in logit order
    live_index = 1
    presence = "mask"                     # optional input [batch, modalities]: 1 where present

    [inputs.rgb]
    graph_input = "input.1"               # the modality's own name, where left out
    layout = "nchw"                       # or "nhwc"; read from the file, where left out
    planes = 3                            # or 1; read from the file, where left out
    width = 112                           # from here on a PreprocessSpec's fields
    height = 112
    crop = "face"
    mean = [127.5, 127.5, 127.5]
    std = [128.0, 128.0, 128.0]
    missing_value = 0.0                   # value of an absent modality's tensor

    [output]
    name = "score"                        # the graph's only output, where left out
    kind = "probability"                  # logits, probabilities, logit or probability
    reduction = "mean"                    # or "center" or "max": for a map of scores alone

    [constants]                           # other inputs of the file, each with its one value
    length = 1

A single score per capture (`logit`, `probability`) is that of the second label. Modalities that
name the same graph input are stacked along its channels in the order of `modalities`, each with
its `planes`. Fields that the manifest has too mean the same there.
"""

from __future__ import annotations

import json
import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.capture import Modality
from fasdk.errors import ModelError
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.models.registry import ONNX_IMPORT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Constant = bool | int | float | tuple[bool, ...] | tuple[int, ...] | tuple[float, ...]
_NAMED = 3  # mistakes an error spells out


class OutputKind(str, Enum):
    """Content of the output that holds the scores."""

    LOGITS = "logits"  # [batch, classes], before a softmax
    PROBABILITIES = "probabilities"  # [batch, classes], after one
    LOGIT = "logit"  # [batch] or [batch, 1], of the second of two labels, before a sigmoid
    PROBABILITY = "probability"  # the same, after one

    @property
    def is_one_score(self) -> bool:
        """Whether there is one number per capture rather than one per class."""
        return self in (OutputKind.LOGIT, OutputKind.PROBABILITY)


class Reduction(str, Enum):
    """Reduction of a map of scores to one score per capture."""

    MEAN = "mean"  # over all positions
    CENTER = "center"  # the score at row height // 2, column width // 2
    MAX = "max"  # over all positions


class Layout(str, Enum):
    """Order of the axes of an image input."""

    NCHW = "nchw"  # batch, channels, height, width
    NHWC = "nhwc"  # batch, height, width, channels


class InputDescription(PreprocessSpec):
    """Input of one modality: its preprocessing and its place in the file.

    Attributes:
        width: Tensor width in pixels; 0 reads it from the file's shape.
        height: Tensor height in pixels; 0 reads it from the file's shape.
        graph_input: Name of the input in the file; None takes the modality's own name.
        layout: Order of the input's axes; None reads it from the file's shape.
        planes: Number of planes the network takes of the modality, 3 or 1; None reads it from the
            file's shape. One plane of RGB is its luma (ITU-R BT.601), of depth and infrared the
            first of three equal planes.
    """

    width: int = Field(default=0, ge=0, le=4096)
    height: int = Field(default=0, ge=0, le=4096)
    graph_input: str | None = None
    layout: Layout | None = None
    planes: Literal[1, 3] | None = None

    @property
    def spec(self) -> PreprocessSpec:
        """The preprocessing alone, as the manifest holds it."""
        return PreprocessSpec.model_validate(
            self.model_dump(exclude={"graph_input", "layout", "planes"})
        )


class OutputDescription(BaseModel):
    """Output that holds the scores.

    Attributes:
        name: Name of the output in the file; None where the file has only one.
        kind: Content of the output.
        reduction: Reduction of a map of scores; None where the output is no map.
        certainty: Name of an output [batch, modalities] in [0, 1] that says how certain the network
            is of each sensor, or None. It was called `reliability` once, and still may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    kind: OutputKind = OutputKind.LOGITS
    reduction: Reduction | None = None
    certainty: str | None = Field(
        default=None, validation_alias=AliasChoices("certainty", "reliability")
    )


class ImportDescription(ModelConfig):
    """Description of an ONNX file to import.

    Attributes:
        name: Model name in the bundle.
        published_in: Paper or project that defines the model.
        modalities: Modalities in the column order of `presence` and of a certainty output.
        required: Modalities without which a capture is refused; None takes all.
        labels: Class names in logit order.
        live_index: Index of the bona fide label.
        inputs: Input and preprocessing by modality.
        output: Output that holds the scores.
        presence: Graph input [batch, modalities], 1 where a capture holds the modality, or None.
        constants: Value of every other input of the file, by its name: a number or true or false
            for all its elements, or a list of its elements in the order of the file.
        float32_islands: Regular expressions found in the names of nodes that stay float32 in a
            half-precision graph.
    """

    name: str = Field(min_length=1)
    published_in: str
    modalities: tuple[Modality, ...] = Field(min_length=1)
    required: tuple[Modality, ...] | None = None
    labels: tuple[str, ...] = Field(min_length=2)
    live_index: int = Field(ge=0)
    inputs: dict[Modality, InputDescription]
    output: OutputDescription = OutputDescription()
    presence: str | None = None
    constants: dict[str, Constant] = Field(default_factory=dict)
    float32_islands: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ImportDescription:
        for what in ("modalities", "required", "labels"):
            names = getattr(self, what) or ()
            if len(set(names)) != len(names):
                raise ValueError(f"{what} names one thing twice")
        if set(self.inputs) != set(self.modalities):
            raise ValueError(
                f"modalities are {', '.join(m.value for m in self.modalities)} but there are "
                f"sections for {', '.join(f'[inputs.{m.value}]' for m in self.inputs) or 'none'}"
            )
        if not set(self.required or ()) <= set(self.modalities):
            raise ValueError("required names a modality that modalities lacks")
        if self.live_index >= len(self.labels):
            raise ValueError(f"live_index {self.live_index} is outside labels {self.labels}")
        if self.output.kind.is_one_score and len(self.labels) != 2:
            raise ValueError(
                f"output.kind {self.output.kind.value!r} is one score of the second of two labels, "
                f"but there are {len(self.labels)} labels"
            )
        for modality, spec in self.inputs.items():
            if (spec.depth is not None) != (modality is Modality.DEPTH):
                raise ValueError(
                    f"inputs.{modality.value}: a depth encoding belongs to depth alone, and depth "
                    "must have one"
                )
        return self

    def family(self) -> Family:
        """Return the model family of the description; it has no module."""
        return Family(
            name=ONNX_IMPORT,
            published_in=self.published_in,
            modalities=self.modalities,
            required=self.modalities if self.required is None else self.required,
            labels=self.labels,
            live_index=self.live_index,
            has_certainty=self.output.certainty is not None,
            config_type=ImportDescription,
            configs={self.name: self},
            build=_no_module,
            preprocess=_preprocess,
            takes_presence=self.presence is not None,
            float32_islands=self.float32_islands,
        )


def read_description(path: Path) -> ImportDescription:
    """Read a TOML description.

    Raises:
        ModelError: No such file, no TOML, or a field that is unknown, missing, of the wrong type
            or at odds with another; the file and the field are named.
    """
    try:
        text = read_bounded(path, FileKind.DESCRIPTION).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ModelError(f"{path} is not a TOML file: it is not UTF-8 text") from None
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ModelError(f"{path} is not a description: its values are nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        unfilled = re.findall(r"(?m)^\s*([\w\".-]+)\s*=\s*\?", text)
        if unfilled:
            raise ModelError(
                f"{path}: fill in {', '.join(unfilled)}: each line with = ? says what it may be"
            ) from None
        raise ModelError(f"{path} is not a TOML file: {error}") from None
    try:
        # Through JSON, so that strict types still let a string name an enum's member.
        return ImportDescription.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        mistakes = [_mistake(details) for details in error.errors(include_url=False)]
        more = f" (and {len(mistakes) - _NAMED} more)" if len(mistakes) > _NAMED else ""
        raise ModelError(f"{path}: {'; '.join(mistakes[:_NAMED])}{more}") from None


def _mistake(details: ErrorDetails) -> str:
    """Return one mistake as text: the field, what is wrong, and how to fix it."""
    path = [str(part) for part in details["loc"]]
    field = ".".join(path)
    if details["type"] == "extra_forbidden":
        return f"unknown field {field}: known here are {', '.join(_fields_at(path[:-1]))}"
    if details["type"] == "missing":
        return f"field {field} is missing: add it"
    reason = details["msg"].removeprefix("Value error, ")
    if not field:
        return reason
    found = f", found {details['input']!r}" if not isinstance(details["input"], dict) else ""
    return f"field {field}: {reason}{found}"


def _fields_at(path: list[str]) -> list[str]:
    """Return the fields of the section a path leads to."""
    model: type[BaseModel] = ImportDescription
    if path[:1] == ["output"]:
        model = OutputDescription
    elif path[:1] == ["inputs"]:
        model = InputDescription
        if path[2:3] == ["depth"]:
            from fasdk.preprocess import DepthEncoding

            model = DepthEncoding
    return list(model.model_fields)


def _preprocess(description: ImportDescription) -> dict[Modality, PreprocessSpec]:
    return {m: description.inputs[m].spec for m in description.modalities}


def _no_module(_config: object) -> NoReturn:
    raise ModelError(
        f"an imported ONNX file has no module to load weights into: use --model {ONNX_IMPORT} with "
        "--preprocess FILE.toml"
    )
