"""CUDA kernels: compilation for every architecture, and import without a GPU.

What the kernel computes is tested on the host: `fasdk_vectors` runs the kernel's body,
`tensor_values_at`, over every vector.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.fatbin import Target, targets
from support.requirements import Requirement

ROOT = Path(__file__).parents[2]
ARCHITECTURES = {86, 87, 89, 110, 120}  # 87: Orin, 110: Thor, the others: desktop
built = importlib.util.find_spec("fasdk._cuda_preprocess") is not None
needs_module = Requirement.NVCC.mark("fasdk._cuda_preprocess was not built", lacking=not built)


def build(folder: Path, *options: str) -> str:
    configured = subprocess.run(
        ["cmake", "-S", ROOT, "-B", folder, "-DFASDK_NATIVE=OFF", "-DFASDK_CUDA=ON", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if configured.returncode:
        return configured.stderr
    done = subprocess.run(["cmake", "--build", folder], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_kernel_compiles_for_jetson_and_desktop_architectures(tmp_path):
    Requirement.NVCC.programs("nvcc")
    known = subprocess.run(
        ["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True
    ).stdout
    if not {int(n) for n in re.findall(r"sm_(\d+)\b", known)} >= ARCHITECTURES:
        Requirement.NVCC.skip(f"this nvcc knows only {known.split()}")
    assert build(tmp_path) == ""
    held = list(targets(tmp_path / "libfasdk_cuda.a"))
    assert {t.compute_capability for t in held if not t.is_ptx} == ARCHITECTURES
    assert [t.compute_capability for t in held if t.is_ptx] == [120]
    assert min(t.size for t in held) > 1000, "an entry without a kernel in it"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "native", "fails"), [("ON", "OFF", True), ("AUTO", "AUTO", False)]
)
def test_a_broken_nvcc_fails_only_the_build_that_asks_for_it(asked, native, fails, tmp_path):
    done = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path, f"-DFASDK_CUDA={asked}", f"-DFASDK_NATIVE={native}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDACXX": "/no/such/nvcc"},
    )
    assert (done.returncode != 0) is fails
    assert ("no working nvcc found" if fails else "no nvcc, left out") in done.stdout + done.stderr


@needs_module
def test_installed_module_holds_code_for_the_architectures_of_nvcc():
    held: list[Target] = []
    spec = importlib.util.find_spec("fasdk._cuda_preprocess")
    assert spec is not None
    assert spec.origin is not None
    held = list(targets(Path(spec.origin)))
    assert {t.compute_capability for t in held if not t.is_ptx} & {87}


def arguments(**changes: Any) -> dict[str, Any]:
    return {
        "frame": 4096,
        "shape": (4, 6, 3),
        "strides": (18, 3, 1),
        "region": (0, 0, 5, 3),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "swap": False,
        "input": 8192,
        "row": 0,
        "out_size": (2, 2),
        "stream": 0,
        **changes,
    }


@needs_module
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"frame": 0}, "not null"),
        ({"input": 0}, "not null"),
        ({"input": 4098}, "must start at a whole sample"),
        ({"shape": (4, 6, 2)}, "1 channel, or 3"),
        ({"region": (0, 0, 6, 3)}, "leaves the frame"),
        ({"region": (2, 0, 1, 3)}, "is empty"),
        ({"out_size": (0, 2)}, "the tensor is empty"),
        ({"region": (-1, 0, 5, 3)}, "leaves the frame"),
        ({"region": (-9, 0, -2, 3), "pad": True}, "is empty"),
        ({"region": (-(2**30), 0, 2**30, 3), "pad": True}, "is too long"),
        ({"region": None}, "a region or to_frame"),
        ({"to_frame": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}, "a region or to_frame"),
        ({"region": None, "to_frame": (1.0, 0.0, 1e7, 0.0, 1.0, 0.0)}, "too far from the frame"),
        ({"border": "mirror"}, "no border mirror"),
        ({"border_level": 256}, "no 8-bit level"),
        ({"fit": "crop"}, "no fit crop"),
        ({"interpolation": "cubic"}, "no interpolation cubic"),
    ],
)
def test_the_cuda_module_refuses_what_a_kernel_would_read_or_write_wrongly(changes, complaint):
    from fasdk import _cuda_preprocess

    with pytest.raises(ValueError, match=complaint):
        _cuda_preprocess.image(**arguments(**changes))


@needs_module
def test_depth_on_the_device_needs_its_levels():
    from fasdk import _cuda_preprocess

    taken = arguments(shape=(4, 6, 1), strides=(6, 1, 1), levels=0)
    del taken["swap"]
    with pytest.raises(ValueError, match="levels must be a device pointer"):
        _cuda_preprocess.depth(**taken)
    with pytest.raises(ValueError, match="must start at a whole sample"):
        _cuda_preprocess.depth(**taken | {"levels": 4096, "frame": 4097})


@pytest.mark.skipif(
    not built or Path("/dev/nvidiactl").exists() or Path("/dev/nvhost-gpu").exists(),
    reason="there is a GPU, or no module",
)
def test_without_a_gpu_a_launch_fails_in_cudas_words():
    from fasdk import _cuda_preprocess

    with pytest.raises(RuntimeError, match=r"kernel was not launched: .*(CUDA|driver|device)"):
        _cuda_preprocess.image(**arguments())


@pytest.mark.gpu
@needs_module
@pytest.mark.parametrize("modality", ["rgb", "depth", "ir"])
@pytest.mark.parametrize(
    "framing",
    [
        {"crop": "face"},
        {"crop": "face", "crop_scale": 3.0, "crop_bounds": "pad", "border": "reflect-101"},
        {"crop": "face", "crop_scale": 2.5, "interpolation": "area"},
        {"crop": "face", "interpolation": "area", "fit": "letterbox", "border_level": 90},
        {"crop": "frame", "fit": "letterbox-floor", "border": "replicate"},
        {"crop": "landmarks", "border": "reflect"},
    ],
)
def test_the_device_gives_the_hosts_bits(modality, framing):
    cuda = pytest.importorskip("pycuda.driver")
    import numpy as np

    from fasdk import _cuda_preprocess
    from fasdk.capture import FaceBox
    from fasdk.preprocess import DepthEncoding, PreprocessSpec, to_tensor, view_of
    from fasdk.preprocess.alignment import Alignment
    from fasdk.preprocess.spec import depth_levels

    rng = np.random.default_rng(1)
    is_depth, shape = modality == "depth", (480, 640, 3 if modality == "rgb" else 1)
    frame = rng.integers(0, 2500 if is_depth else 256, shape)
    frame = frame.astype(np.uint16 if is_depth else np.uint8)
    mean, std = (127.5, 100.0, 3.0), (128.0, 57.0, 0.3)
    encoding = DepthEncoding(near_mm=300, far_mm=1500, polarity="near-bright")
    spec = PreprocessSpec(
        width=224,
        height=224,
        mean=mean,
        std=std,
        depth=encoding if is_depth else None,
        **framing,
    )
    face = FaceBox(500, 300, 120, 160)
    landmarks = np.float32([(530, 350), (590, 345), (562, 380), (535, 420), (588, 418)])
    view = view_of((640, 480), face, landmarks, spec)
    aligned = isinstance(view, Alignment)
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        on_device = cuda.to_device(np.ascontiguousarray(frame))
        rows = cuda.mem_alloc(2 * 3 * 224 * 224 * 4)
        single = np.float32([mean, std]).tolist()
        common = {
            "frame": int(on_device),
            "shape": shape,
            "strides": (shape[1] * shape[2], shape[2], 1),
            "region": None if aligned else view,
            "to_frame": view.to_frame if aligned else None,
            "interpolation": spec.interpolation.value,
            "pad": spec.crop_bounds.value == "pad",
            "border": spec.border.value,
            "border_level": spec.border_level,
            "fit": spec.fit.value,
            "mean": single[0],
            "std": single[1],
            "input": int(rows),
            "row": 1,
            "out_size": (224, 224),
            "stream": 0,
        }
        if is_depth:
            levels = cuda.to_device(depth_levels(encoding))
            _cuda_preprocess.depth(**common, levels=int(levels))
        else:
            _cuda_preprocess.image(**common, swap=False)
        found = np.empty((2, 3, 224, 224), np.float32)
        cuda.memcpy_dtoh(found, rows)
    finally:
        context.pop()
    shown = frame if modality == "rgb" else frame[..., 0]
    expected = to_tensor(shown, face, spec, landmarks=landmarks)
    assert found[1].tobytes() == expected.tobytes()
