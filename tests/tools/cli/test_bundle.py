"""Verbs on a tiny bundle, and their JSON documents."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from fasdk.bundle.signing import build_signer
from fasdk.telemetry import Stage

from support.requirements import Requirement

FACE = ["--face", "80,40,150,160"]

STAGES = [stage.value for stage in Stage]


def document(ran, status=0):
    assert ran.status == status, ran.stderr
    return json.loads(ran.stdout)


def test_a_build_reports_parity_and_says_why_there_is_no_threshold(fasdk, checkpoint, tmp_path):
    out = tmp_path / "tiny.fasb"
    ran = fasdk(
        *("build-engine", checkpoint, "-o", out, "--model", "mmdg", "--json"),
        *("--backend", "onnxruntime", "--precision", "fp16"),
    )
    built = document(ran)
    assert built["torch_parity"] < 1e-4
    assert built["graph_parity"] < 1e-4
    assert built["half_max_activation"] < 16384
    assert built["plan"] is None
    assert built["operating_points"] == {}
    assert "no evaluation data" in built["operating_points_note"]
    assert built["size_bytes"] == out.stat().st_size


def test_two_builds_of_one_checkpoint_are_the_same_bytes(fasdk, checkpoint, bundle, tmp_path):
    out = tmp_path / "again.fasb"
    fasdk("build-engine", checkpoint, "-o", out, "--model", "mmdg", "--backend", "onnxruntime")
    assert out.read_bytes() == bundle.read_bytes()


def test_a_build_with_rtx_carries_a_plan_for_every_target(fasdk, checkpoint, tmp_path):
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    out = tmp_path / "tiny.fasb"
    built = document(
        fasdk(
            *("build-engine", checkpoint, "-o", out, "--model", "mmdg", "--json"),
            *("--backend", "tensorrt-rtx", "--precision", "fp16"),
        )
    )
    assert built["plan_targets"] == ["8.6", "8.9", "12.0"]
    shown = document(fasdk("inspect", out, "--json"))
    (plan,) = shown["manifest"]["plans"]
    assert plan["compute_capabilities"] == ["8.6", "8.9", "12.0"]
    assert shown["member_bytes"][plan["member"]] == built["plan_bytes"] > 0


def test_inspect_shows_the_manifest(fasdk, bundle):
    shown = document(fasdk("inspect", bundle, "--json"))
    assert shown["manifest"]["model"]["family"] == "mmdg"
    assert shown["manifest"]["modalities"] == ["rgb", "depth", "ir"]
    assert shown["signed"] is True
    assert shown["trust"] == f"key {build_signer().key_id}" == f"key {shown['signed_by']}"
    assert sum(shown["member_bytes"].values()) < shown["size_bytes"]
    assert "model.onnx" in fasdk("inspect", bundle).stdout


def test_verify_replays_the_golden_captures(fasdk, bundle):
    verified = document(fasdk("verify", bundle, "--json"))
    assert verified["ok"] is True
    assert verified["golden_captures"] > 0
    assert verified["golden_drift"] <= 1e-5


def test_verify_says_no_to_an_altered_bundle(fasdk, bundle, tmp_path):
    altered = bytearray(bundle.read_bytes())
    altered[len(altered) // 2] ^= 1
    path = tmp_path / "altered.fasb"
    path.write_bytes(altered)
    verified = document(fasdk("verify", path, "--json"), status=1)
    assert verified["ok"] is False
    assert "altered.fasb" in verified["reason"]


def test_a_bundle_of_another_signer_is_refused_until_its_key_is_trusted(
    fasdk, checkpoint, bundle, tmp_path
):
    key, other, out = tmp_path / "key.pem", tmp_path / "other.pem", tmp_path / "signed.fasb"
    made = document(fasdk("keygen", key, "--json"))
    fasdk("keygen", other)
    fasdk(
        *("build-engine", checkpoint, "-o", out, "--model", "mmdg"),
        *("--backend", "onnxruntime", "--sign-key", key),
    )
    assert document(fasdk("verify", out, "--key", f"{key}.pub", "--json"))["ok"] is True
    shown = document(fasdk("inspect", out, "--key", f"{key}.pub", "--json"))
    assert shown["signed_by"] == made["key_id"]
    assert fasdk("verify", out, "--key", f"{other}.pub").status == 1
    assert fasdk("verify", bundle, "--key", f"{key}.pub").status == 1
    assert "fasdk trust add" in fasdk("verify", out).stderr
    assert document(fasdk("trust", "add", f"{key}.pub", "--json"))["key_id"] == made["key_id"]
    assert document(fasdk("verify", out, "--json"))["signed_by"] == made["key_id"]
    assert fasdk("trust", "revoke", made["key_id"]).status == 0
    assert "revoked" in fasdk("verify", out, "--key", f"{key}.pub").stderr


def test_a_signature_that_is_not_checked_is_none(fasdk, bundle):
    shown = document(fasdk("inspect", bundle, "--unsigned", "--json"))
    assert (shown["signed"], shown["signature_unchecked"]) == (False, True)
    assert (shown["signed_by"], shown["trust"]) == (None, "unsigned")
    verified = document(fasdk("verify", bundle, "--unsigned", "--json"), status=1)
    assert (verified["ok"], verified["signed"]) == (False, False)
    assert "leave --unsigned out" in verified["reason"]
    assert "exclude each other" in fasdk("inspect", bundle, "--unsigned", "--key", "x").stderr


def test_check_without_an_operating_point_is_an_error_that_shows_the_score(fasdk, bundle, frames):
    decision = document(fasdk("check", bundle, *frames.options, *FACE, "--json"), status=1)
    assert decision["verdict"] == "error"
    assert "no operating point" in decision["reasons"][0]
    assert 0 < decision["score"] < 1
    assert sum(decision["class_scores"].values()) == pytest.approx(1)
    assert set(decision["certainty"]) == {"rgb", "depth", "ir"}
    assert decision["reliability"] == {}
    assert decision["timings_ms"]["end_to_end"] == pytest.approx(
        sum(decision["timings_ms"][stage] for stage in STAGES)
    )


def test_a_missing_modality_is_scored_and_asks_for_a_threshold_of_its_own(fasdk, bundle, frames):
    given = ("--rgb", frames.rgb, "--ir", frames.ir)
    decision = document(fasdk("check", bundle, *given, *FACE, "--json"), status=1)
    assert decision["codes"] == ["modality-missing"]
    option = "--missing-modalities degrade"
    assert option in decision["reasons"][0]
    asked = ("check", bundle, *given, *FACE, *option.split())
    decision = document(fasdk(*asked, "--json"), status=1)
    assert decision["modalities"] == ["rgb", "ir"]
    assert 0 < decision["score"] < 1
    assert "no operating point for standard/rgb+ir" in decision["reasons"][0]


def test_models_lists_every_family_and_configuration(fasdk):
    listed = document(fasdk("models", "--json"))["models"]
    by_name = {(row["model"], row["config"]): row for row in listed}
    assert by_name["mmdg", "full"]["parameters"] == 88_252_034
    assert by_name["mmdg", "tiny"]["inputs"].keys() == {"rgb", "depth", "ir"}
    assert by_name["minifasnet-v2", "published"]["inputs"] == {"rgb": [3, 80, 80]}
    # Patches, twelve blocks of 4 x 768 + 2 x 3072 columns and attention over 3 x 197 tokens, and
    # what the adapters add: about 101 GFLOP.
    assert by_name["mmdg", "full"]["gflops"] == pytest.approx(101, rel=0.03)
    for row in listed:
        assert 0 < row["deployed_parameters"] <= 1.2 * row["parameters"]


def test_debug_parity_names_the_layer_that_differs(fasdk, bundle, checkpoint, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    weights = load_file(checkpoint)
    with safe_open(checkpoint, framework="np") as file:
        metadata = file.metadata()
    name = "ViT_Encoder.2.mlp.0.weight"
    weights[name] = weights[name] * np.float32(1.5)
    other = tmp_path / "other.safetensors"
    save_file(weights, other, metadata=metadata)
    arguments = ["debug-parity", bundle, "--against", other, "--model", "mmdg", "--json"]
    found = document(fasdk(*arguments), status=1)
    assert found["divergence"]["operator"] in {"MatMul", "Gemm"}
    same = document(fasdk("debug-parity", bundle, "--against", bundle, "--json"))
    assert same["diverges"] is False
    half = document(fasdk("debug-parity", bundle, "--json"))
    assert (half["diverges"], half["tolerance"]) == (False, 0.05)


def test_build_plan_replays_the_golden_captures_on_this_machine(fasdk, bundle):
    ready = document(fasdk("build-plan", bundle, "--backend", "onnxruntime", "--json"))
    assert (ready["backend"], ready["plan"]) == ("onnxruntime", "none needed")
    assert ready["golden_captures"] > 0
    assert ready["golden_drift"] <= 1e-5


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--dla",), "TensorRT has DLA up to 10.7, not from 10.8 to 11.3, and again from"),
        (("--workspace-mib", "512"), "backend onnxruntime builds no plan: leave the options"),
        (("--no-timing-cache",), "backend onnxruntime builds no plan: leave the options"),
        (("--optimization-level", "6"), "optimization_level is 6, expected 0 to 5 levels"),
        (("--aux-streams", "-1"), "aux_streams is -1, expected 0 to 64 streams"),
    ],
)
def test_build_plan_refuses_options_that_no_plan_can_have(fasdk, bundle, words, fault):
    ran = fasdk("build-plan", bundle, "--backend", "onnxruntime", *words)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert fault in line


def test_build_plan_refuses_what_is_not_a_bundle(fasdk, checkpoint):
    ran = fasdk("build-plan", checkpoint)
    assert ran.status == 2
    assert checkpoint.name in ran.error_lines[0]


def test_build_plan_needs_neither_torch_nor_onnx(bundle):
    program = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['onnx'] = None  # an import of either fails\n"
        "from fasdk_tools.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ("build-plan", str(bundle), "--backend", "onnxruntime", "--json")
    ran = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["golden_captures"] > 0


def test_build_engine_on_a_bundle_answers_as_build_plan(fasdk, bundle):
    options = (bundle, "--backend", "onnxruntime", "--json")
    ready = document(fasdk("build-engine", *options))
    assert ready == document(fasdk("build-plan", *options))


def test_build_engine_on_a_bundle_never_writes_one(fasdk, bundle, tmp_path):
    ran = fasdk("build-engine", bundle, "-o", tmp_path / "out.fasb")
    assert ran.status == 2
    assert not (tmp_path / "out.fasb").exists()


def test_no_arguments_print_the_help(fasdk):
    ran = fasdk()
    assert ran.status == 0
    assert "build-engine" in ran.stdout


def test_inspect_says_which_kernels_a_gpu_of_this_machine_would_get(fasdk, bundle, monkeypatch):
    from fasdk.backends import device_kernels
    from fasdk.errors import BackendError

    def absent() -> device_kernels.KernelSource:
        raise BackendError("NVRTC is not installed")

    monkeypatch.setattr(device_kernels, "kernels_here", absent)
    said = document(fasdk("inspect", bundle, "--json"))["gpu_preprocessing"]
    assert said == "preprocessed on the host: NVRTC is not installed"
    monkeypatch.setattr(device_kernels, "kernels_here", lambda: device_kernels.KernelSource.NVRTC)
    assert "kernels from nvrtc" in fasdk("inspect", bundle).stdout
