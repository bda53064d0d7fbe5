"""OpenVINO on the golden captures of every model's bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="openvino is not installed: pip install '.[openvino]'")

import fasdk
from fasdk.backends.engine import Backend
from fasdk_calibration.datasets import write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.models.checkpoint import save_checkpoint
from fasdk_engines.models.registry import get_family
from fasdk_tools import cli

from support.random_weights import fill

FLOAT_DRIFT, INT8_DRIFT = 1e-4, 0.01


@pytest.fixture(scope="module")
def calibration(tmp_path_factory) -> Path:
    settings = SceneSettings(width=160, height=120)
    captures = generate_many(3, 12, Split.TRAIN, settings=settings)
    return write_captures(captures, tmp_path_factory.mktemp("captures"), "calibration")


def build(folder: Path, model: str, config: str, *options: object) -> Path:
    """Build a bundle of a model with random weights."""
    family = get_family(model)
    module = family.build(family.configs[config])
    fill(module)
    checkpoint, out = folder / "model.safetensors", folder / "model.fasb"
    save_checkpoint(checkpoint, module, family, family.configs[config])
    words = ["build-engine", checkpoint, "-o", out, "--model", model, "--backend", "onnxruntime"]
    assert cli.main([str(word) for word in (*words, *options)]) == 0
    return out


@pytest.fixture
def golden_drift(record_property) -> Callable[[Path], float]:
    """Return the largest score difference to ONNX Runtime's answers, kept in the test report."""

    def measure(path: Path) -> float:
        with fasdk.open(path, backend=Backend.OPENVINO, threads=1) as session:
            drift = session.replay_golden()
        record_property("golden_drift", drift)
        return drift

    return measure


def test_a_tiny_float_bundle_drifts_no_more_than_a_ten_thousandth(tmp_path, golden_drift):
    assert golden_drift(build(tmp_path, "mmdg", "tiny")) <= FLOAT_DRIFT


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "int8-fp32"])
@pytest.mark.parametrize("model", ["mmdg", "mmdgpp", "mmda", "bigmoe"])
def test_an_int8_bundle_drifts_no_more_than_a_hundredth(
    tmp_path, calibration, golden_drift, model, precision
):
    options = ("--precision", precision, "--calibration", calibration, "--calibration-size", 8)
    assert golden_drift(build(tmp_path, model, "tiny", *options)) <= INT8_DRIFT


@pytest.mark.slow
def test_full_mmdg_drifts_no_more_than_a_ten_thousandth(tmp_path, golden_drift):
    assert golden_drift(build(tmp_path, "mmdg", "full")) <= FLOAT_DRIFT
