"""Importing fasdk is cheap, and using it loads nothing a device does not need."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys

import pytest

import fasdk

WORKSTATION = {"torch", "onnx", "onnxscript", "polygraphy", "safetensors"}
BACKENDS = {"onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda"}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def loaded(code: str) -> set[str]:
    """Return the top-level modules a fresh interpreter holds after running `code`."""
    report = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    return set(json.loads(python("-c", f"{code}\n{report}").stdout))


def test_importing_loads_no_backend_and_nothing_of_the_workstations():
    found = loaded("import fasdk")
    assert "fasdk" in found
    assert not found & (WORKSTATION | BACKENDS | {"cv2", "cryptography"})


def test_every_public_name_loads_no_backend_and_nothing_of_the_workstations():
    found = loaded("from fasdk import *; Liveness, TrustPolicy")
    assert "pydantic" in found
    assert not found & (WORKSTATION | BACKENDS | {"cv2", "cryptography"})


def test_judging_a_capture_loads_one_backend_and_nothing_of_the_workstations(bundle_path):
    found = loaded(
        "import fasdk, numpy as np\n"
        f"with fasdk.open({str(bundle_path)!r}, backend=fasdk.Backend.ONNXRUNTIME) as session:\n"
        "    frame = np.full((24, 32, 3), 250, np.uint8)\n"
        "    assert session.check(fasdk.Capture(rgb=frame)).verdict is fasdk.Verdict.LIVE"
    )
    assert not found & WORKSTATION
    assert found & BACKENDS == {"onnxruntime"}


def import_ms() -> float:
    lines = python("-X", "importtime", "-c", "import fasdk").stderr.splitlines()
    cumulative = re.fullmatch(r"import time:\s*\d+ \|\s*(\d+) \| fasdk", lines[-1])
    assert cumulative is not None, lines[-1]
    return int(cumulative[1]) / 1000


def test_importing_is_quick():
    # `make verify-main` holds it to 300 ms; this bound is for a machine busy with other tests.
    assert statistics.median(import_ms() for _ in range(5)) < 600


def test_the_public_names_are_there_and_no_other():
    assert sorted(n for names in fasdk._MODULES.values() for n in names) == sorted(fasdk.__all__)
    for name in fasdk.__all__:
        assert getattr(fasdk, name).__name__ == name
    assert set(fasdk.__all__) <= set(dir(fasdk))
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        fasdk.opne  # noqa: B018
