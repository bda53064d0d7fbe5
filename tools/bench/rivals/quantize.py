"""Quantization of one ONNX graph by another tool, in the environment of int8_rivals.py.

Prints one JSON line: {"tool", "versions", "seconds", "notes"}. A failure of the tool ends
the process with its traceback, whose last line the benchmark records as the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np


class Reader:
    """Calibration data reader of ONNX Runtime, one capture a call as in its examples.

    Args:
        inputs: float32 [N, ...] by graph input.
    """

    def __init__(self, inputs: dict[str, np.ndarray]) -> None:
        self._inputs = inputs
        self._count = len(next(iter(inputs.values())))
        self.rewind()

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None after the last."""
        if self._next >= self._count:
            return None
        at, self._next = self._next, self._next + 1
        return {name: values[at : at + 1] for name, values in self._inputs.items()}

    def rewind(self) -> None:
        """Restart from the first capture."""
        self._next = 0


def quantize_by_onnxruntime(graph: Path, inputs: dict[str, np.ndarray], out: Path) -> list[str]:
    """`quantize_static` with the library's defaults after its documented preprocessing.

    Returns:
        Deviations from the defaults.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    notes: list[str] = []
    prepared = out.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(str(graph), str(prepared))
    except Exception as error:  # noqa: BLE001 - its documentation names this way out
        notes.append(f"symbolic shape inference failed ({type(error).__name__}), skipped")
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
    CalibrationDataReader.register(Reader)
    quantize_static(str(prepared), str(out), Reader(inputs), quant_format=QuantFormat.QDQ)
    prepared.unlink()
    return notes


def quantize_by_modelopt(graph: Path, inputs: dict[str, np.ndarray], out: Path) -> list[str]:
    """`modelopt.onnx.quantization.quantize` with its INT8 defaults, calibrated on the CPU."""
    # Type stubs of tensorrt are no tensorrt, but import as if they were.
    if getattr(find_spec("tensorrt"), "origin", None) is None:
        sys.modules["tensorrt"] = None
    from modelopt.onnx.quantization import quantize

    # The default providers add CUDA and TensorRT, which need a GPU; the arithmetic is the same.
    quantize(
        str(graph),
        quantize_mode="int8",
        calibration_data=inputs,
        calibration_eps=["cpu"],
        output_path=str(out),
        log_level="ERROR",
    )
    return []


TOOLS = {
    "onnxruntime": (quantize_by_onnxruntime, ("onnxruntime", "onnx")),
    "modelopt": (quantize_by_modelopt, ("nvidia-modelopt", "onnxruntime", "onnx")),
}


def main() -> None:
    """Quantize and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("graph", type=Path)
    parser.add_argument("inputs", type=Path, help="npz with float32 [N, ...] by graph input")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    quantize, packages = TOOLS[arguments.tool]
    with np.load(arguments.inputs) as archive:
        inputs = {name: archive[name] for name in archive.files}
    start = time.perf_counter()
    notes = quantize(arguments.graph, inputs, arguments.out)
    line = {
        "tool": arguments.tool,
        "versions": {name: version(name) for name in packages},
        "seconds": round(time.perf_counter() - start, 1),
        "notes": notes,
    }
    sys.stdout.flush()
    print(json.dumps(line))


if __name__ == "__main__":
    main()
