"""INT8: which layers compute in eight bits, on which scale, and the graph that says so.

`Quantiser.prepare` reads a float32 graph and calibration captures; `write` makes the typed graph;
`probe` tries layers out; `run_as_written` judges what was written.
"""

from fasdk_calibration.ranges import RangeMethod
from fasdk_engines.quantisation.layers import Layer
from fasdk_engines.quantisation.probe import Probe
from fasdk_engines.quantisation.quantiser import ActivationRange, Quantiser, share_of_macs
from fasdk_engines.quantisation.recipe import Options
from fasdk_engines.quantisation.written import WrittenRunner, run_as_written

__all__ = [
    "ActivationRange",
    "Layer",
    "Options",
    "Probe",
    "Quantiser",
    "RangeMethod",
    "WrittenRunner",
    "run_as_written",
    "share_of_macs",
]
