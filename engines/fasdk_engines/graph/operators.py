"""ONNX operators and types that the parser of the oldest supported TensorRT takes.

Source: github.com/onnx/onnx-tensorrt, docs/operators.md at tag release/10.1-GA, brought to
`versions.OLDEST` by docs/Changelog.md: the release between adds no operator or type, the oldest
supported one only that `Slice` takes tensor `axes`.
Operators that a deployment graph never uses are left out: control flow, random numbers, Dropout.
The range of opsets is the one NVIDIA documents for that release.
"""

from __future__ import annotations

_FLOATS = frozenset(["FLOAT", "FLOAT16", "BFLOAT16"])
_HALVES = frozenset(["FLOAT", "FLOAT16"])
_NUMBERS = _FLOATS | {"INT32", "INT64"}
_ANY = _NUMBERS | {"BOOL"}

MIN_OPSET, MAX_OPSET = 9, 20
MAX_IR_VERSION = 10  # ONNX 1.16, which the oldest supported parser is built with

_BY_TYPES: tuple[tuple[frozenset[str], str], ...] = (
    (
        _FLOATS,
        "Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv "
        "ConvTranspose Cos Cosh CumSum Einsum Elu Erf Exp Floor GRU Gemm GlobalAveragePool "
        "GlobalLpPool GlobalMaxPool GroupNormalization HardSigmoid HardSwish Hardmax "
        "InstanceNormalization IsInf LRN LSTM LayerNormalization LeakyRelu Log LogSoftmax "
        "LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization PRelu Pow QuantizeLinear "
        "RNN Reciprocal Resize Round Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan "
        "Tanh ThresholdedRelu Upsample",
    ),
    (
        _NUMBERS,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less "
        "LessOrEqual Max Mean Min Mod Mul Neg Pad Range ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu "
        "Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK",
    ),
    (
        _ANY,
        "Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND "
        "Identity OneHot Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose "
        "Trilu Unsqueeze Where",
    ),
    (_HALVES, "DeformConv GridSample Mish NonMaxSuppression NonZero RoiAlign"),
    (frozenset(["BOOL"]), "And Not Or Xor"),
    (_ANY | {"UINT8"}, "Cast"),
    (frozenset(["INT8"]), "DequantizeLinear"),
)

# Types its data operands may have, by operator; an operator that is not here is not supported.
OPERATOR_TYPES: dict[str, frozenset[str]] = {
    operator: types for types, operators in _BY_TYPES for operator in operators.split()
}

# Types a value may have at all.
VALUE_TYPES = _ANY | {"INT8", "UINT8"}

# Inputs that must be known when the plan is built, by operator: (index, name).
CONSTANT_INPUTS: dict[str, tuple[int, str]] = {
    "CumSum": (1, "axis"),
    "OneHot": (1, "depth"),
    "Pad": (3, "axes"),
    "Squeeze": (1, "axes"),
    "Unsqueeze": (1, "axes"),
    **{
        f"Reduce{kind}": (1, "axes")
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum")
    },
    "ReduceSumSquare": (1, "axes"),
}

# Operators of which only the first output is written.
ONE_OUTPUT = frozenset(["LayerNormalization", "MaxPool"])

# Attributes with but one allowed value, by operator; absent is that value.
FIXED_ATTRIBUTES: dict[str, dict[str, int]] = {
    "BatchNormalization": {"training_mode": 0},
    "GRU": {"layout": 0},
    "LSTM": {"layout": 0, "input_forget": 0},
    "Resize": {"antialias": 0},
    "TopK": {"sorted": 1},
}

# Operators whose `dilations` must all be one, over two or three axes.
POOLS = frozenset(["AveragePool", "LpPool", "MaxPool"])

# Words an attribute may hold, by operator; absent is always allowed.
ATTRIBUTE_CHOICES: dict[str, dict[str, frozenset[str]]] = {
    "Resize": {
        "coordinate_transformation_mode": frozenset(
            [
                "align_corners",
                "asymmetric",
                "half_pixel",
                "pytorch_half_pixel",
                "tf_half_pixel_for_nn",
            ]
        ),
        "mode": frozenset(["nearest", "linear"]),
        "nearest_mode": frozenset(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
        "keep_aspect_ratio_policy": frozenset(["stretch"]),
    },
    "ScatterND": {"reduction": frozenset(["none"])},
}
