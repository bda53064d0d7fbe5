"""Times of a plan's layers by TensorRT's profiler, and what its engine inspector tells of them."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasdk.errors import BackendError
from fasdk_tools.profiling.layers import Layer, LayerProfile

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.backends.tensorrt.layer_times import LayerReport

_UNKNOWN = "unknown"
_REFORMAT_TYPE = "Reformat"
_REFORMAT_NAME = "Reformatting CopyNode"  # how TensorRT names the layers that it adds
# Words of "Format/Datatype", such as "Row major linear FP16 format" or "Half NCHW".
_PRECISIONS = {
    "FP32": "float",
    "FLOAT": "float",
    "FP16": "float16",
    "HALF": "float16",
    "BF16": "bfloat16",
    "BFLOAT16": "bfloat16",
    "FP8": "float8",
    "INT8": "int8",
    "INT4": "int4",
    "FP4": "float4",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
NAMES_ONLY = (
    "type and precision of layers: the plan was built without detailed profiling verbosity, so "
    "that it names its layers alone and a reformat is told by its name; build the bundle again, or "
    "delete its plan cache, for a plan that tells both"
)


@dataclass(frozen=True)
class LayerDescription:
    """What the inspector tells of a layer.

    Attributes:
        operator: Type of the layer, such as "CaskConvolution", or "unknown".
        precision: Type of its first output, or "unknown".
        is_reformat: Whether it only changes a layout or a type.
    """

    operator: str
    precision: str
    is_reformat: bool


def tensorrt_layers(
    engine: TensorRtEngine,
    inputs: Mapping[str, NDArray[np.float32]],
    *,
    calls: int,
    warmup_calls: int,
) -> LayerProfile:
    """Run a loaded plan under TensorRT's profiler.

    Args:
        engine: Engine of TensorRT or TensorRT-RTX; one that times its calls on the device gives a
            whole call without the copies.
        inputs: One batch, as the engine takes it.
        calls: Calls to count.
        warmup_calls: Calls before them.

    Raises:
        BackendError: TensorRT failed, or told no layer.
    """
    report = engine.profile_layers(inputs, calls=calls, warmup_calls=warmup_calls)
    return read_report(report, batch=len(next(iter(inputs.values()))))


def read_report(report: LayerReport, *, batch: int) -> LayerProfile:
    """Return the layers in what TensorRT reported.

    Args:
        report: Times and the inspector's JSON.
        batch: Captures in one call.

    Raises:
        BackendError: No layer was reported, or the inspector's text is no JSON of an engine.
    """
    descriptions = read_inspector(report.information)
    calls = [_by_name(call) for call in report.calls]
    if not calls or not calls[0]:
        raise BackendError("TensorRT's profiler reported no layer: leave --layers out")
    layers = []
    for name in calls[0]:
        told = descriptions.get(name) or _by_its_name(name)
        layers.append(
            Layer(
                name=name,
                operator=told.operator,
                precision=told.precision,
                ms=statistics.median(call.get(name, 0.0) for call in calls),
                is_reformat=told.is_reformat,
            )
        )
    is_told = any(each.operator != _UNKNOWN for each in layers)
    return LayerProfile(
        batch=batch,
        calls=len(calls),
        whole_ms=statistics.median(report.whole_ms),
        layers=tuple(sorted(layers, key=lambda layer: -layer.ms)),
        not_told=() if is_told else (NAMES_ONLY,),
    )


def read_inspector(text: str) -> dict[str, LayerDescription]:
    """Return the layers that an engine inspector's JSON describes, by name.

    A layer is an object of a plan that was built with detailed profiling verbosity, else its name;
    without any verbosity there is no layer.

    Raises:
        BackendError: It is no such JSON.
    """
    try:
        layers = json.loads(text)["Layers"]
        return {
            name: told
            for layer in layers
            for name, told in (_describe(layer) if isinstance(layer, dict) else _named(layer))
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BackendError(
            f"TensorRT's engine inspector gave no JSON of layers ({error!r}): leave --layers out"
        ) from error


def _describe(layer: Mapping[str, Any]) -> list[tuple[str, LayerDescription]]:
    name, operator = layer["Name"], layer.get("LayerType", _UNKNOWN)
    outputs = layer.get("Outputs") or [{}]
    is_reformat = operator == _REFORMAT_TYPE or name.startswith(_REFORMAT_NAME)
    precision = _precision(outputs[0].get("Format/Datatype", ""))
    return [(name, LayerDescription(operator, precision, is_reformat))]


def _named(name: str) -> list[tuple[str, LayerDescription]]:
    return [(name, _by_its_name(name))]


def _by_its_name(name: str) -> LayerDescription:
    return LayerDescription(_UNKNOWN, _UNKNOWN, name.startswith(_REFORMAT_NAME))


def _precision(text: str) -> str:
    words = re.findall(r"[A-Z]+\d*", text.upper())
    return next((_PRECISIONS[word] for word in words if word in _PRECISIONS), _UNKNOWN)


def _by_name(call: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """Return milliseconds by name; layers that share one are added up."""
    found: dict[str, float] = {}
    for name, ms in call:
        found[name] = found.get(name, 0.0) + ms
    return found
