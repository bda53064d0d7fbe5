"""Claims about the path from checkpoint to verdict, measured: `make verify-main`.

Run from the project's root in its virtual environment. `--published FOLDER` names a folder in
which `mmdg` is a checkout of the published code (not part of this project) and adds the latency
comparison with it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from claims import Claim, report
from measuring import (
    REFERENCE,
    bench_json,
    fasdk_json,
    fasdk_run,
    golden_outputs,
    pytest_claim,
    softmax,
    write_golden_checkpoint,
)

from fasdk.backends.tensorrt.versions import NEWEST, OLDEST


def demo_claims(demo: Path) -> Iterator[Claim]:
    """The demo leaves what it promises, and its bundle keeps its half-precision budget."""
    start = time.perf_counter()
    shown = fasdk_json("demo", "--out", demo)
    took = time.perf_counter() - start
    left = ["demo.fasb", "demo-auto.fasb", "demo.html", "demo-auto.html"]
    left += ["checkpoint.safetensors", "captures/held-out.jsonl"]
    missing = [name for name in left if not (demo / name).is_file()]
    yield Claim("demo: promised files missing", len(missing), "==", 0, ", ".join(missing))
    yield Claim("demo: seconds, environment already made", took, "<=", 120)
    for name in ("fp16", "auto"):
        found = shown[name]
        silent = found["non_responses"]
        yield Claim(f"demo, {name}: held-out captures without a score", silent, "==", 0)
        yield Claim(
            f"demo, {name}: held-out AUC",
            found["auc"]["value"],
            ">=",
            0.99,
            f"{shown['captures']} captures of {shown['subjects']} other subjects; synthetic",
        )
    build = shown["fp16"]["build"]
    yield Claim("fp16: largest |activation|, demo", build["half_max_activation"], "<=", 16384)
    yield Claim(
        "fp16: logit drift over logits' standard deviation, demo captures",
        build["half_drift_ratio"],
        "<=",
        0.01,
        "every operator's output rounded to float16",
    )
    yield Claim("demo: plan targets", len(build["plan_targets"]), "==", 3, str(build["plan"]))


def silent_face_claims() -> Iterator[Claim]:
    """The real checkpoints' bundles give the published scores on the published photographs."""
    folder = REFERENCE / "silent-face"
    golden = json.loads((folder / "golden.json").read_text())
    models = {
        "2.7_80x80_MiniFASNetV2.pth": "minifasnet-v2",
        "4_0_0_80x80_MiniFASNetV1SE.pth": "minifasnet-v1se",
    }
    worst = 0.0
    with tempfile.TemporaryDirectory() as out:
        for checkpoint, model in models.items():
            bundle = Path(out) / f"{model}.fasb"
            build = ["build-engine", folder / checkpoint, "-o", bundle, "--model", model]
            fasdk_json(*build, "--backend", "onnxruntime")
            for image, expected in golden.items():
                face = ",".join(map(str, expected["face_box_xywh"]))
                decision = fasdk_json(
                    *("check", bundle, "--rgb", folder / image, "--face", face), ok_status=(0, 1)
                )
                found = list(decision["class_scores"].values())
                wanted = expected["models"][checkpoint]["softmax"]
                worst = max(worst, *(abs(a - b) for a, b in zip(found, wanted, strict=True)))
    yield Claim("silent-face: largest softmax error of 4 bundle answers", worst, "<=", 1e-4)


def crop_claims() -> Iterator[Claim]:
    """The crop rule where it does not clamp."""
    from fasdk.capture import FaceBox
    from fasdk.preprocess import crop_box

    face = FaceBox(300, 200, 60, 60)
    for scale, expected in ((2.7, [249, 149, 411, 311]), (4.0, [210, 110, 450, 350])):
        found = list(crop_box((640, 480), face, scale))
        yield Claim(f"crop: 640x480, box 300,200,60,60, scale {scale}", found, "==", expected)


def build_full_mmdg(folder: Path) -> Iterator[Claim]:
    """Build the full model from a .pth and watch time and memory."""
    checkpoint, bundle = folder / "mmdg.pth", folder / "mmdg.fasb"
    write_golden_checkpoint("mmdg", checkpoint)
    words = ["build-engine", checkpoint, "-o", bundle, "--model", "mmdg"]
    built = fasdk_run(*words, "--precision", "fp32", "--backend", "onnxruntime")
    yield Claim("full MMDG: build seconds, fp32, no plan", built.seconds, "<=", 120)
    yield Claim("full MMDG: build peak RSS in GB", built.peak_bytes / 1e9, "<=", 6)
    yield Claim("full MMDG: ONNX nodes", built.document["nodes"], "<=", 2500)


def mmdg_golden_claims(folder: Path) -> Iterator[Claim]:
    """Full MMDG against the published implementation's outputs, in torch and in the bundle."""
    import torch

    from fasdk.backends.onnxruntime import OnnxRuntimeEngine
    from fasdk.bundle.bundle import open_bundle
    from fasdk_engines.models.checkpoint import load_checkpoint, load_into
    from fasdk_engines.models.registry import get_family
    from fasdk_engines.models.seeded import seeded_inputs

    golden = golden_outputs("mmdg")
    inputs = seeded_inputs(int(golden["batch"]), 224, int(golden["inputs_seed"]))
    family = get_family("mmdg")
    module = family.build(family.default_config).eval()
    load_into(module, load_checkpoint(folder / "mmdg.pth"), family)
    deployed = module.deployed().eval()
    bundle = open_bundle(folder / "mmdg.fasb")
    engine = OnnxRuntimeEngine(bundle.graph, threads=2)

    def in_torch(form: torch.nn.Module, case: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            tensors = [torch.from_numpy(case[m.value]) for m in family.modalities]
            return np.asarray(form(*tensors)[0].numpy())

    forms: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]] = {
        "torch, published form": partial(in_torch, module),
        "torch, deployed form": partial(in_torch, deployed),
        "bundle's ONNX": lambda case: engine.run(case).logits,
    }
    for name, run in forms.items():
        worst = 0.0
        for absent in ("none", "depth", "ir"):
            case = {m: np.zeros_like(x) if m == absent else x.copy() for m, x in inputs.items()}
            mean = golden[f"logits_missing_{absent}"]
            std = golden[f"logits_std_missing_{absent}"]
            worst = max(worst, float((np.abs(run(case) - mean) / (4 * std + 1e-4)).max()))
        yield Claim(f"full MMDG golden, {name}: error over (4 std + 1e-4)", worst, "<=", 1.0)

    first = engine.run(inputs)
    again = OnnxRuntimeEngine(bundle.graph, threads=2).run(inputs)
    same = first.logits.tobytes() == again.logits.tobytes()
    yield Claim("full MMDG: two runs are bit-identical", same, "==", True)
    eight = seeded_inputs(8, 224, 11)
    whole = softmax(engine.run(eight).logits)
    worst = 0.0
    for size in (1, 3):
        for start in range(0, 8, size):
            part = {m: x[start : start + size] for m, x in eight.items()}
            drift = np.abs(softmax(engine.run(part).logits) - whole[start : start + size])
            worst = max(worst, float(drift.max()))
    yield Claim("full MMDG: largest score difference, batch 1 and 3 against 8", worst, "<=", 1e-5)


def latency_claims(published: Path | None) -> Iterator[Claim]:
    """One engine call against the published forward and against pure GEMM time."""
    arguments = [] if published is None else ["--published", published / "mmdg"]
    found = bench_json("latency.py", "mmdg", *arguments)
    if published is None:
        print("not measured: PUBLISHED=folder adds the published forward", file=sys.stderr)
    else:
        yield Claim(
            "full MMDG: published forward over one engine call, medians of 10 pairs",
            found["speedup"],
            ">=",
            7.0,
            f"{found['published_ms']} and {found['ours_ms']} ms, pure GEMM {found['gemm_ms']} ms",
        )
    yield Claim("full MMDG: engine call over pure GEMM time", found["gemm_ratio"], "<=", 1.4)


def half_precision_claims(folder: Path) -> Iterator[Claim]:
    """Claims about graphs in FP16: builds in TensorRT-RTX for three targets, and rounding."""
    import onnx

    from fasdk.backends.engine import Backend
    from fasdk.backends.onnxruntime import OnnxRuntimeEngine
    from fasdk.backends.tensorrt.plan import build_plan
    from fasdk.bundle.manifest import Precision
    from fasdk_engines.graph.emulation import emulate_fp16
    from fasdk_engines.graph.export import export_graph
    from fasdk_engines.graph.fp16 import convert
    from fasdk_engines.graph.islands import islands_matching
    from fasdk_engines.graph.lint import lint_tensorrt
    from fasdk_engines.models.checkpoint import load_checkpoint, load_into, resolve_config
    from fasdk_engines.models.registry import get_family

    silent = REFERENCE / "silent-face"
    sources = {
        "mmdg full": ("mmdg", folder / "mmdg.pth"),
        "mmdg tiny": ("mmdg", folder / "demo" / "checkpoint.safetensors"),
        "minifasnet-v2": ("minifasnet-v2", silent / "2.7_80x80_MiniFASNetV2.pth"),
        "minifasnet-v1se": ("minifasnet-v1se", silent / "4_0_0_80x80_MiniFASNetV1SE.pth"),
    }
    for name, (model, path) in sources.items():
        family = get_family(model)
        checkpoint = load_checkpoint(path)
        config = resolve_config(family, checkpoint, None)
        module = family.build(config).eval()
        load_into(module, checkpoint, family)
        fp32 = export_graph(module.deployed().eval(), family, config)
        fp16 = convert(fp32, Precision.FP16, islands_matching(fp32, family.float32_islands))
        for precision, graph in (("fp32", fp32), ("fp16", fp16)):
            lint_tensorrt(graph)
            plan = build_plan(
                graph,
                Backend.TENSORRT_RTX,
                shapes=family.input_shapes(config),
                max_batch=8,
                compute_capabilities=("8.6", "8.9", "12.0"),
            )
            yield Claim(
                f"{name} {precision}: compute capabilities of its TensorRT-RTX plan",
                len(plan.compute_capabilities),
                "==",
                3,
                f"{plan.version}, {len(onnx.load_from_string(graph).graph.node)} nodes, "
                f"{len(plan.data) / 1e6:.0f} MB, {plan.seconds:.0f} s; passes the {OLDEST} lint",
            )
        tensors = family.example_inputs(config, 4, 3)
        inputs = {m.value: x.numpy() for m, x in zip(family.modalities, tensors, strict=True)}
        half = emulate_fp16(fp16, [inputs], OnnxRuntimeEngine(fp32).run(inputs).logits)
        yield Claim(f"{name} fp16: finite with every output rounded", half.finite, "==", True)
        yield Claim(
            f"{name} fp16: largest |activation|",
            half.max_activation,
            "<=",
            16384,
            half.worst_tensor,
        )


def import_claims() -> Iterator[Claim]:
    """`import fasdk` is light."""
    times_ms = []
    for _ in range(7):
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import fasdk"],
            capture_output=True,
            text=True,
            check=True,
        )
        times_ms.append(int(ran.stderr.strip().splitlines()[-1].split("|")[1]) / 1000)
    yield Claim("import fasdk: ms, median of 7", statistics.median(times_ms), "<=", 300)
    code = (
        "import sys, fasdk; print([m for m in ('torch','onnx','onnxruntime','tensorrt',"
        "'tensorrt_rtx','pycuda','cv2') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    yield Claim("import fasdk: heavy modules loaded", loaded, "==", "[]")


def suite_claims() -> Iterator[Claim]:
    """Claims that the test suite shows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        yield pytest_claim(
            "tests of sdk/ that fail or skip", "tests/sdk", "--cov", f"--cov-report=json:{path}"
        )
        covered = json.loads(path.read_text())["totals"]["percent_covered"]
    yield Claim("coverage of sdk/ in percent, by its own tests", covered, ">=", 90)
    yield pytest_claim("bad inputs: tests that fail or skip", "tests/tools/cli/test_bad_input.py")
    yield pytest_claim(
        "planted half-precision overflow: tests that fail or skip",
        "tests/engines/graph/test_emulation.py",
    )
    yield pytest_claim(
        f"TensorRT attributes in {OLDEST}, {NEWEST} and RTX: tests that fail or skip",
        "tests/tensorrt_bindings",
    )
    yield pytest_claim(
        f"TensorRT {OLDEST} lint: tests that fail or skip", "tests/engines/graph/test_lint.py"
    )
    yield pytest_claim(
        "device install, aarch64 wheels and qemu vectors: tests that fail or skip",
        *("-m", "slow", "tests/sdk/test_device_install.py", "tests/native"),
    )


def main() -> int:
    """Measure everything and return 1 on any miss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path)
    published = parser.parse_args().published
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return report(
            {
                "full MMDG build": partial(build_full_mmdg, folder),
                "full MMDG golden": partial(mmdg_golden_claims, folder),
                "latency": partial(latency_claims, published),
                "silent-face": silent_face_claims,
                "crop": crop_claims,
                "demo": partial(demo_claims, folder / "demo"),
                "half precision": partial(half_precision_claims, folder),
                "import": import_claims,
                "suite": suite_claims,
            }
        )


if __name__ == "__main__":
    sys.exit(main())
