"""Engine inspector documents in the form that NVIDIA's documentation shows, with times of layers.

Keys, types of layers and names of formats follow the section "Engine Inspector" of the TensorRT
documentation and what trtexec exports; the figures are made up.
"""

from __future__ import annotations

LINEAR_FP32 = "Row major linear FP32 format"
LINEAR_FP16 = "Row major linear FP16 format"
PACKED_FP16 = "Channel major FP16 format where channel % 8 == 0"
PACKED_INT8 = "Thirty-two wide channel vectorized row major Int8 format"

Timed = tuple[dict[str, object], float]


def tensor(name: str, kind: str) -> dict[str, object]:
    """Return a tensor of a layer."""
    return {
        "Name": name,
        "Location": "Device",
        "Dimensions": [1, 16, 8, 8],
        "Format/Datatype": kind,
    }


def layer(name: str, operator: str, given: str, made: str, ms: float) -> Timed:
    """Return a layer with one input and one output, and its milliseconds."""
    told = {
        "Name": name,
        "LayerType": operator,
        "Inputs": [tensor(f"{name} in", given)],
        "Outputs": [tensor(f"{name} out", made)],
        "ParameterType": "Reformat" if operator == "Reformat" else "Convolution",
        "TacticValue": "0x00000000000003ea",
        "StreamId": 0,
        "Metadata": "",
    }
    return told, ms


def reformat(to: str, given: str, made: str, ms: float) -> Timed:
    """Return the layer that TensorRT puts before another one to change a layout or type."""
    name = f"Reformatting CopyNode for Input Tensor 0 to {to}"
    told, _ = layer(name, "Reformat", given, made, ms)
    return told | {"Origin": "REFORMAT"}, ms


def engine(*, reformat_ms: float) -> list[Timed]:
    """Return a network of two convolutions whose reformats take so long, together."""
    return [
        reformat("stem", LINEAR_FP32, PACKED_FP16, reformat_ms / 2),
        layer("stem + relu", "CaskConvolution", PACKED_FP16, PACKED_INT8, 0.4),
        layer("body", "CaskConvolution", PACKED_INT8, PACKED_INT8, 0.5),
        reformat("head", PACKED_INT8, LINEAR_FP16, reformat_ms / 2),
        layer("head", "gemm", LINEAR_FP16, LINEAR_FP32, 0.1),
    ]
