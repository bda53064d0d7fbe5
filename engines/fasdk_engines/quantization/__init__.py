"""INT8 quantization: calibration, Q/DQ graphs and mixed precision within an error-rate budget.

`Quantizer.prepare` calibrates a float32 graph; `write` makes the typed graph; `switchable_graph`
tries layers in INT8 one by one; `run_qdq_reference` runs a quantized graph without fusing Q/DQ.
"""

from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.quantization.calibration.options import QuantizerOptions
from fasdk_engines.quantization.graph.layer_switch import SwitchableGraph
from fasdk_engines.quantization.graph.layers import ExclusionReason, Layer, int8_share
from fasdk_engines.quantization.graph.qdq_reference import QdqReferenceRunner, run_qdq_reference
from fasdk_engines.quantization.quantizer import ActivationForm, ActivationRange, Quantizer

__all__ = [
    "ActivationForm",
    "ActivationRange",
    "ExclusionReason",
    "Layer",
    "QdqReferenceRunner",
    "Quantizer",
    "QuantizerOptions",
    "RangeMethod",
    "SwitchableGraph",
    "int8_share",
    "run_qdq_reference",
]
