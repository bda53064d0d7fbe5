"""Session on a fake TensorRT in an interpreter with the base install alone.

    python -S -m support.base_session SITES BUNDLE OTHER CAPTURES.npz

SITES hold the packages that the stand-in TensorRT is made of, as the real one has a parser inside;
they are gone before the session opens. Prints one JSON document.
"""

from __future__ import annotations

import json
import math
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ABSENT = ("cv2", "onnx", "onnxruntime", "pycuda", "rich", "torch", "typer")


def put_tensorrt_in_place(sites: list[str]) -> None:
    """Make the stand-in `tensorrt` importable and its GPU the first, and forget its packages."""
    sys.path += sites
    from support.fake_gpu import FakeGpu
    from support.tensorrt_standin.module import stand_in
    from support.tensorrt_standin.settings import Behavior

    gpu = FakeGpu()
    module = stand_in(gpu, Behavior())
    module.__spec__ = ModuleSpec("tensorrt", None, origin="stand-in")
    del sys.path[-len(sites) :]
    for name, loaded in list(sys.modules.items()):
        if str(getattr(loaded, "__file__", None) or "").startswith(tuple(sites)):
            del sys.modules[name]
    sys.modules["tensorrt"] = module
    from fasdk.backends.tensorrt import opening

    opening.PyCudaDriver = lambda: gpu  # type: ignore[assignment,misc]


def captures_of(file: str) -> list[Any]:
    """Return the captures whose frames an .npz file holds as NUMBER-MODALITY, with their faces."""
    from fasdk import Capture, FaceBox, Modality
    from fasdk.capture import monotonic_ms

    with np.load(file) as arrays:
        stored = dict(arrays)
    found = []
    for number in sorted({name.split("-")[0] for name in stored}):
        frames = {m.value: stored.get(f"{number}-{m.value}") for m in Modality}
        box = stored.get(f"{number}-face")
        face = None if box is None else FaceBox.of(box.tolist())
        now_ms = monotonic_ms()
        times = {m: now_ms for m in Modality if frames[m.value] is not None}
        found.append(Capture(**frames, face=face, taken_ms=times))
    return found


def judge(bundle: Path, other: Path, captures: str, backend: Any = None) -> dict[str, Any]:
    """Return what sessions decide, with gates and without, and after a swap."""
    import fasdk

    found: dict[str, Any] = {}
    for name, limits in (("gates", fasdk.QualityLimits()), ("plain", None)):
        with fasdk.open(bundle, backend=backend, limits=limits, missing="degrade") as session:
            found[name] = [described(session.check(each)) for each in captures_of(captures)]
            if limits is None:
                session.swap(other)
                found["swapped"] = [described(session.check(c)) for c in captures_of(captures)]
    return found


def described(decision: Any) -> dict[str, Any]:
    """Return what is compared of a decision."""
    return {
        "verdict": decision.verdict.value,
        "codes": [code.value for code in decision.codes],
        "score": None if math.isnan(decision.score) else round(decision.score, 4),
        "bundle": decision.bundle_id,
    }


def main() -> None:
    """Print what the sessions decide."""
    sites, bundle, other, captures = sys.argv[1:]
    put_tensorrt_in_place(sites.split(os.pathsep))
    present = [name for name in ABSENT if name in sys.modules or find_spec(name) is not None]
    found = judge(Path(bundle), Path(other), captures)
    loaded = [name for name in ABSENT if name in sys.modules]
    print(json.dumps(found | {"present": present, "loaded": loaded}))


if __name__ == "__main__":
    main()
