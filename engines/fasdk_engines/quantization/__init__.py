"""INT8: which layers compute in eight bits, on which scale, and the graph that says so.

`Quantizer.prepare` reads a float32 graph and calibration captures; `write` makes the typed graph;
`probe` tries layers out; `run_as_written` judges what was written.
"""

from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.quantization.calibration.recipe import Options
from fasdk_engines.quantization.graph.layer_switch import Probe
from fasdk_engines.quantization.graph.layers import Layer
from fasdk_engines.quantization.graph.qdq_reference import WrittenRunner, run_as_written
from fasdk_engines.quantization.quantizer import ActivationRange, Quantizer, share_of_macs

__all__ = [
    "ActivationRange",
    "Layer",
    "Options",
    "Probe",
    "Quantizer",
    "RangeMethod",
    "WrittenRunner",
    "run_as_written",
    "share_of_macs",
]
