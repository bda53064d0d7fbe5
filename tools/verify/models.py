"""Claims about the published systems, measured: `make verify-models`.

Run from the project's root in its virtual environment. `--published FOLDER` names a folder with
checkouts of the published code, one a model (mmdg, mmdgpp, mmda, bigmoe; not part of this project),
and adds the latencies against it. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from claims import Claim, report
from measuring import (
    bench_json,
    fasdk_json,
    fasdk_run,
    golden_outputs,
    published_shapes,
    pytest_claim,
    write_golden_checkpoint,
)

MODELS = ("mmdg", "mmdgpp", "mmda", "bigmoe")
_CLASSES = 2


@dataclass(frozen=True)
class GoldenCase:
    """One golden answer.

    Attributes:
        name: Name of the case: the absent modalities, or the choice of experts.
        absent: Modalities that are absent.
        expected: Expected logits, float32 [B, 2].
        tolerance: Largest logit differences allowed, float32 [B, 2].
        config: Settings that differ from the published ones.
    """

    name: str
    absent: tuple[str, ...]
    expected: np.ndarray
    tolerance: np.ndarray
    config: dict[str, Any]


def golden_cases(model: str) -> list[GoldenCase]:
    """Return a model's golden answers with the tolerances the reference grants."""
    found = golden_outputs(model)
    if model == "mmda":
        exact = np.full((int(found["batch"]), _CLASSES), 1e-4, np.float32)
        hard = {"second-always": "second_expert_always"}
        hard["above-threshold"] = "second_expert_above_threshold"
        return [
            GoldenCase(
                f"routing {routing}", (), found[f"logits_{key}"], exact, {"routing": routing}
            )
            for routing, key in hard.items()
        ] + [
            GoldenCase(
                "routing expected", (), found["logits_mean"], 4 * found["logits_std"] + 1e-4, {}
            )
        ]
    cases = []
    for key in found:
        if not key.startswith("logits_missing_"):
            continue
        missing = key.removeprefix("logits_missing_")
        absent = () if missing == "none" else tuple(missing.split("_"))
        expected = found[key]
        if model == "bigmoe":
            tolerance = np.full_like(expected, 1e-3)
        else:
            tolerance = 4 * found[f"logits_std_missing_{missing}"] + 1e-4
        cases.append(GoldenCase(f"missing {missing}", absent, expected, tolerance, {}))
    return cases


def golden_inputs(model: str, absent: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the golden captures as the model's graph takes them, some modalities absent."""
    from fasdk.preprocess import PRESENCE
    from fasdk_engines.models.registry import get_family
    from fasdk_engines.models.seeded import seeded_inputs

    family = get_family(model)
    golden = golden_outputs(model)
    batch = int(golden["batch"])
    images = seeded_inputs(batch, 224, int(golden["inputs_seed"]))
    inputs = {m.value: images[m.value].copy() for m in family.modalities}
    for name in absent:
        inputs[name][:] = 0.0  # every published evaluation the golden answers come from
    if family.takes_presence:
        row = [float(m.value not in absent) for m in family.modalities]
        inputs[PRESENCE] = np.tile(np.array(row, np.float32), (batch, 1))
    return inputs


def golden_claims(folder: Path, model: str) -> Iterator[Claim]:
    """A model's answers in torch, as published and as deployed, and in its bundle's graph."""
    import onnxruntime as ort
    import torch

    from fasdk.bundle.bundle import open_bundle
    from fasdk_engines.models.checkpoint import load_checkpoint, load_into
    from fasdk_engines.models.registry import get_family

    family = get_family(model)
    worst: dict[str, float] = {}
    by_config: dict[str, list[GoldenCase]] = {}
    for case in golden_cases(model):
        by_config.setdefault(json.dumps(case.config), []).append(case)
    options = ort.SessionOptions()
    if model == "bigmoe":  # as the reference says: a hard choice of experts
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for settings, cases in by_config.items():
        bundle = folder / f"{model}.golden.fasb"
        build_bundle(folder, model, bundle, json.loads(settings))
        session = ort.InferenceSession(bytes(open_bundle(bundle).graph), options)
        config = family.config_type.model_validate_json(settings)
        module = family.build(config).eval()
        load_into(module, load_checkpoint(checkpoint_of(folder, model)), family)
        forms = {"torch, published form": module, "torch, deployed form": module.deployed().eval()}
        for case in cases:
            inputs = golden_inputs(model, case.absent)
            tensors = [torch.from_numpy(value) for value in inputs.values()]
            with torch.no_grad():
                answers = {name: form(*tensors)[0].numpy() for name, form in forms.items()}
            answers["bundle's ONNX"] = session.run(["logits"], inputs)[0]
            for name, logits in answers.items():
                error = float((np.abs(logits - case.expected) / case.tolerance).max())
                worst[name] = max(worst.get(name, 0.0), error)
    for form, error in worst.items():
        yield Claim(f"{model} golden, {form}: error over tolerance", error, "<=", 1.0)


def checkpoint_of(folder: Path, model: str) -> Path:
    """Return the golden weights' file, written at first use."""
    path = folder / f"{model}.pth"
    if not path.is_file():
        write_golden_checkpoint(model, path)
    return path


def build_bundle(folder: Path, model: str, out: Path, config: dict[str, Any]) -> None:
    """Build a bundle of the golden weights, without a plan."""
    words = ["build-engine", checkpoint_of(folder, model), "-o", out, "--model", model]
    if config:
        settings = out.with_suffix(".json")
        settings.write_text(json.dumps(config))
        words += ["--config", settings]
    fasdk_json(*words, "--backend", "onnxruntime", "--precision", "fp32")


def build_claims(folder: Path, model: str) -> Iterator[Claim]:
    """The full model builds in FP32 and FP16, TensorRT-RTX plan included, within its memory."""
    for precision in ("fp32", "fp16"):
        out = folder / f"{model}.{precision}.fasb"
        words = ["build-engine", checkpoint_of(folder, model), "-o", out, "--model", model]
        run = fasdk_run(*words, "--precision", precision, "--backend", "tensorrt-rtx")
        built = run.document
        plan_seconds = built["phase_seconds"]["plan"]
        yield Claim(
            f"{model} {precision}: build peak RSS in GB, TensorRT-RTX plan included",
            run.peak_bytes / 1e9,
            "<=",
            6,
            f"{built['plan']}, {built['nodes']} nodes, plan {built['plan_bytes'] / 1e6:.0f} MB in "
            f"{plan_seconds:.0f} s, whole build {run.seconds:.0f} s",
        )
        yield Claim(
            f"{model} {precision}: compute capabilities of its plan",
            len(built["plan_targets"]),
            "==",
            3,
        )
        if precision == "fp16":
            yield Claim(
                f"{model} fp16: largest |activation|, every output rounded",
                built["half_max_activation"],
                "<=",
                16384,
            )
        out.unlink()


def size_claims() -> Iterator[Claim]:
    """What is deployed of the published state dict, in parameters."""
    listed = {
        row["model"]: row
        for row in fasdk_json("models")["models"]
        if row["config"] in ("full", "published")
    }
    for model in MODELS:
        shapes = published_shapes(model)
        published = sum(int(np.prod(shape)) for shape in shapes.values())
        limit = {"mmda": 125e6, "mmdgpp": 89e6}.get(model, float(published) * 1.01)
        yield Claim(
            f"{model}: parameters deployed",
            listed[model]["deployed_parameters"],
            "<=",
            round(limit),
            f"published state dict {published:,}",
        )
    lacking = [
        f"{name}.{field}"
        for name, row in listed.items()
        for field in ("parameters", "deployed_parameters", "gflops", "inputs", "published_in")
        if not row.get(field)
    ]
    yield Claim("fasdk models: fields missing", len(lacking), "==", 0, ", ".join(lacking))


def latency_claims(published: Path | None) -> Iterator[Claim]:
    """One engine call against the published forward and against pure GEMM time."""
    for model, speedup, gemm_ratio in (
        ("mmdg", 9.0, 1.25),
        ("mmda", 6.0, 1.25),
        ("mmdgpp", 2.4, 1.25),
        ("bigmoe", 2.0, 1.5),
    ):
        arguments = [] if published is None else ["--published", published / model]
        found = bench_json("latency.py", model, *arguments)
        note = (
            f"{found['published_ms']} and {found['ours_ms']} ms, pure GEMM {found['gemm_ms']} ms, "
            f"load {found['load_average']}"
        )
        rest = list(found["others_ms"].items())[:4]
        if published is None:
            print("not measured: PUBLISHED=folder adds the published forwards", file=sys.stderr)
        else:
            claim = f"{model}: published forward over one engine call, medians of 10 pairs"
            yield Claim(claim, found["speedup"], ">=", speedup, note)
        yield Claim(
            f"{model}: engine call over pure GEMM time",
            found["gemm_ratio"],
            "<=",
            gemm_ratio,
            f"products {found['products_ms']} ms; then "
            + ", ".join(f"{name} {ms} ms" for name, ms in rest),
        )


def flip_claims() -> Iterator[Claim]:
    """BIG-MoE's hard choice of experts survives ONNX Runtime's default optimizer."""
    found = bench_json("bigmoe_flips.py")
    yield Claim(
        "bigmoe: decision flips, torch against ONNX Runtime's default optimizer",
        found["decision_flips"],
        "==",
        0,
        f"{found['inputs']} random-field inputs, {found['expert_choices_differ']} of "
        f"{found['expert_choices']} expert choices differ, largest logit difference "
        f"{found['largest_logit_difference']:.2g}",
    )


def suite_claims() -> Iterator[Claim]:
    """What the tests show."""
    for claim, selection in {
        "properties of every model": ["tests/engines/models/test_properties.py"],
        "each model's own": [f"tests/engines/models/test_{model}.py" for model in MODELS],
        "anyone's model": [
            "tests/engines/onnx_import",
            *(f"tests/engines/models/test_{name}.py" for name in ("registry", "cdcn", "matching")),
        ],
        "ReGrad by hand": ["tests/engines/training/test_regrad.py"],
        "SSP, RS2 and ADP against NumPy": ["tests/engines/training/test_losses.py"],
        "resume after a kill": ["tests/engines/training/test_resume.py"],
        "training": [
            f"tests/engines/training/test_{name}.py"
            for name in ("trainer", "initial", "methods", "text")
        ],
        "protocols": ["tests/calibration/test_protocols.py", "tests/tools/protocols/test_run.py"],
        "bad inputs": ["tests/tools/cli/test_bad_input.py"],
    }.items():
        yield pytest_claim(f"{claim}: tests that fail or skip", *selection)


def main() -> int:
    """Measure everything and return 1 on any miss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        groups: dict[str, Callable[[], Iterator[Claim]]] = {
            "latency": partial(latency_claims, arguments.published),
            "sizes": size_claims,
        }
        for model in MODELS:
            groups[f"{model} golden"] = partial(golden_claims, folder, model)
            groups[f"{model} builds"] = partial(build_claims, folder, model)
        groups |= {"flips": flip_claims, "suite": suite_claims}
        if arguments.only is not None:
            groups = {arguments.only: groups[arguments.only]}
        return report(groups)


if __name__ == "__main__":
    sys.exit(main())
