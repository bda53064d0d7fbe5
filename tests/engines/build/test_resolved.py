"""Decisions of a build, resolved once from its request and its source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fasdk.backends import registry
from fasdk.backends.engine import Backend
from fasdk.bundle.manifest import Precision
from fasdk.capture import Modality
from fasdk.errors import BackendError, CheckpointError, FasdkError, ModelError, UsageError
from fasdk_engines.build import resolved
from fasdk_engines.build.request import BuildRequest
from fasdk_engines.build.resolved import DEFAULT_COMPUTE_CAPABILITIES, PlanTarget, resolve_build
from fasdk_engines.build.source import TrainedWeights, read_source
from fasdk_engines.models.checkpoint import Checkpoint
from fasdk_engines.models.registry import get_family

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR
ORT, TRT, RTX = Backend.ONNXRUNTIME, Backend.TENSORRT, Backend.TENSORRT_RTX
OPENVINO = Backend.OPENVINO
REQUEST = BuildRequest(Path("weights.pth"), Path("out.fasb"), "mmdg")
WEIGHTS = {"weight": torch.zeros(1)}


def weights(family: str = "mmdg", **metadata: str) -> TrainedWeights:
    notes = {f"fasdk.{name}": value for name, value in metadata.items()}
    checkpoint = Checkpoint(Path("weights.safetensors"), "0" * 64, WEIGHTS, notes)
    return TrainedWeights(get_family(family), checkpoint)


@pytest.fixture
def installed(monkeypatch):
    """Choose which backends seem to be installed."""

    def choose(*backends: Backend) -> None:
        for module in (registry, resolved):
            monkeypatch.setattr(module, "installed_backends", lambda: backends)

    choose(RTX, ORT)
    return choose


def test_the_model_has_the_checkpoint_s_own_config_and_the_required_modalities_in_order(installed):
    tiny = get_family("mmdg").configs["tiny"]
    request = replace(REQUEST, required=(IR, RGB))
    build = resolve_build(request, weights(model="mmdg", config=tiny.model_dump_json()))
    assert build.model.config == tiny
    assert build.model.required == (RGB, IR)
    assert build.model.shapes == {"rgb": (3, 64, 64), "depth": (3, 64, 64), "ir": (3, 64, 64)}
    assert build.model.specs.keys() == {RGB, DEPTH, IR}


def test_a_config_asked_for_goes_before_the_checkpoint_s_own(installed):
    family = get_family("mmdg")
    own = family.configs["tiny"].model_dump_json()
    build = resolve_build(replace(REQUEST, config="full"), weights(model="mmdg", config=own))
    assert build.model.config == family.configs["full"]


def test_preprocessing_is_worked_out_once(installed):
    calls = []
    source = weights()

    def preprocess(config):
        calls.append(config)
        return source.family.preprocess(config)

    counted = replace(source, family=replace(source.family, preprocess=preprocess))
    model = resolve_build(replace(REQUEST, config="tiny"), counted).model
    assert model.specs is model.specs
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("available", "asked", "expected"),
    [
        ((ORT,), {}, None),
        ((RTX, ORT), {}, PlanTarget(RTX, DEFAULT_COMPUTE_CAPABILITIES)),
        ((TRT, RTX, ORT), {}, PlanTarget(TRT, ())),
        ((TRT, RTX, ORT), {"compute_capabilities": ("8.7",)}, PlanTarget(RTX, ("8.7",))),
        ((RTX, ORT), {"backend": ORT}, None),
        ((RTX, OPENVINO, ORT), {"backend": OPENVINO}, None),
        ((OPENVINO, ORT), {}, None),
        ((RTX, ORT), {"precision": Precision.INT8_FP32}, None),
        (
            (RTX, ORT),
            {"precision": Precision.INT8_FP32, "backend": RTX},
            PlanTarget(RTX, DEFAULT_COMPUTE_CAPABILITIES),
        ),
    ],
)
def test_the_plan_follows_from_what_is_installed_and_asked_for(
    installed, available, asked, expected
):
    installed(*available)
    assert resolve_build(replace(REQUEST, **asked), weights()).plan == expected


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"backend": TRT}, BackendError, "backend tensorrt is not installed"),
        (
            {"backend": ORT, "compute_capabilities": ("8.6",)},
            UsageError,
            "--compute-capability needs the tensorrt-rtx backend, found onnxruntime",
        ),
        ({"config": "huge"}, ModelError, "mmdg has no config 'huge'"),
    ],
)
def test_request_that_does_not_fit_is_refused_by_name(installed, asked, error, words):
    with pytest.raises(error, match=words):
        resolve_build(replace(REQUEST, **asked), weights())


def test_a_required_modality_that_the_model_lacks_is_refused(installed):
    request = replace(REQUEST, model="minifasnet-v2", required=(RGB, DEPTH))
    with pytest.raises(UsageError, match="--require depth: minifasnet-v2 does not look at it"):
        resolve_build(request, weights("minifasnet-v2"))


def test_an_unknown_model_is_refused_before_its_checkpoint_is_read():
    with pytest.raises(ModelError, match="unknown model 'mmgd'"):
        read_source(replace(REQUEST, model="mmgd"))


def test_a_checkpoint_of_another_model_is_refused(installed):
    with pytest.raises(CheckpointError, match="holds 'mmda', not 'mmdg': use --model mmda"):
        resolve_build(REQUEST, weights(model="mmda"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"source": Path("net.onnx")}, "net.onnx is an ONNX file, which needs --model onnx"),
        ({"preprocess": Path("net.toml")}, "--preprocess goes with --model onnx"),
        ({"model": "onnx"}, "--model onnx takes --preprocess FILE.toml"),
        (
            {"model": "onnx", "preprocess": Path("net.toml")},
            "weights.pth is not called like an ONNX file",
        ),
    ],
)
def test_a_source_that_does_not_fit_the_model_is_refused_before_it_is_read(asked, words):
    with pytest.raises(UsageError, match=words):
        read_source(replace(REQUEST, **asked))


def test_a_bundle_in_a_folder_that_does_not_exist_is_refused_at_once(tmp_path):
    with pytest.raises(FasdkError, match="its folder does not exist"):
        replace(REQUEST, out=tmp_path / "missing" / "out.fasb").require_consistent()
