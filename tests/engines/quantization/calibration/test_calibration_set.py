"""Calibration set: camera-like captures, of people the model is not evaluated on."""

from __future__ import annotations

import json
import logging

import cv2
import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import DatasetError, ExportError, UsageError
from fasdk.preprocess import PreprocessSpec
from fasdk_calibration.datasets import DatasetSource
from fasdk_engines.graph.captures import read_development
from fasdk_engines.quantization.calibration.calibration_set import choose_captures, open_calibration
from fasdk_engines.quantization.calibration.features import FeatureExtractor
from fasdk_engines.quantization.mixed_precision.request import Int8Request
from fasdk_engines.quantization.work_folder import WorkFolder

from support.progress import RecordedProgress

ALL = (Modality.RGB, Modality.IR)
SPEC = PreprocessSpec(
    width=16, height=16, crop="frame", mean=(127.5,) * 3, std=(128.0,) * 3, missing_value=0.0
)
SPECS = {Modality.RGB: SPEC, Modality.IR: SPEC}


def picture(seed: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (32, 32, 3), np.uint8)
    field = rng.uniform(0, 255, (4, 4, 3)) if kind == "smooth" else np.full((4, 4, 3), 90.0)
    return cv2.resize(field, (32, 32), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def write_list(folder, name, subjects, kind="smooth", modalities=("rgb", "ir"), label="attack"):
    lines = []
    for number, subject in enumerate(subjects):
        row = {"id": f"{name}{number}", "subject": subject, "domain": f"d{number % 2}"}
        row |= {"label": label, "species": "print" if label == "attack" else "bona fide"}
        row["presentation"] = row["id"]
        for modality in modalities:
            frame = picture(number if kind != "same" else 1, kind)
            file = f"{name}{number}.{modality}.png"
            cv2.imwrite(str(folder / file), frame if modality == "rgb" else frame[..., 0])
            row[modality] = file
        lines.append(json.dumps(row))
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def graph() -> bytes:
    """Both pictures' means through one matrix and another."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = {
        "first": rng.normal(size=(3, 8)).astype(np.float32),
        "last": rng.normal(size=(8, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Add", ["rgb", "ir"], ["both"]),
        helper.make_node("ReduceMean", ["both"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "first"], ["inner"]),
        helper.make_node("Relu", ["inner"], ["features"]),
        helper.make_node("MatMul", ["features", "last"], ["scores"]),
        helper.make_node("Identity", ["scores"], ["logits"]),
    ]
    shape = ["B", 3, 16, 16]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("rgb", "ir")],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    ).SerializeToString()


def choose(path, graph, tmp_path, size=6, progress=None):
    dataset = open_calibration(DatasetSource.of(path), ALL, (), None)
    section = WorkFolder(tmp_path / "out.fasb").section("test")
    return choose_captures(
        dataset, path.name, size, graph, SPECS, None, section, progress or RecordedProgress()
    )


def test_captures_are_chosen_from_every_stratum_by_the_graphs_features(tmp_path, graph):
    path = write_list(tmp_path, "cal", [f"s{k}" for k in range(20)])
    chosen = choose(path, graph, tmp_path)
    assert len(chosen.records) == len(chosen.batches) == 6
    assert chosen.listed == 20
    assert {record.domain for record in chosen.records} == {"d0", "d1"}
    assert chosen.selection.radius > 0
    assert chosen.batches[0]["rgb"].shape == (1, 3, 16, 16)
    assert choose(path, graph, tmp_path / "x").digest == chosen.digest


def test_features_stored_before_a_kill_are_not_computed_again(tmp_path, graph):
    path = write_list(tmp_path, "cal", [f"s{k}" for k in range(20)])
    first, again = RecordedProgress(), RecordedProgress()
    choose(path, graph, tmp_path, progress=first)
    choose(path, graph, tmp_path, progress=again)
    assert (len(first.reports), again.reports) == (20, [])
    assert first.reports[-1] == ("calibration set", 20, 20)


def test_a_short_list_is_taken_whole(tmp_path, graph):
    path = write_list(tmp_path, "cal", ["a", "b", "c"])
    assert [r.id for r in choose(path, graph, tmp_path).records] == ["cal0", "cal1", "cal2"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("noise", "look like random noise"), ("same", "are identical")],
)
def test_noise_and_identical_captures_are_refused(tmp_path, graph, kind, words):
    path = write_list(tmp_path, "cal", list("abcdef"), kind=kind)
    with pytest.raises(DatasetError, match=words):
        choose(path, graph, tmp_path)


def test_an_empty_list_is_refused(tmp_path):
    path = tmp_path / "cal.jsonl"
    path.write_text("\n")
    with pytest.raises(DatasetError, match=r"cal\.jsonl.*empty"):
        open_calibration(DatasetSource.of(path), ALL, (), None)


def test_people_of_the_development_list_are_refused_by_name(tmp_path):
    path = write_list(tmp_path, "cal", ["ann", "bob"])
    development = read_development(
        DatasetSource.of(write_list(tmp_path, "dev", ["bob", "cy"])), None
    )
    with pytest.raises(DatasetError, match=r"cal\.jsonl shares .*dev\.jsonl.*bob"):
        open_calibration(DatasetSource.of(path), ALL, (), development)


@pytest.mark.parametrize(
    ("held", "required", "words"),
    [
        (("rgb",), (Modality.IR,), "cal0 holds no ir"),
        (("depth",), (), "cal0 holds no rgb and ir"),
        (("rgb",), (), None),  # the other may be missing
    ],
)
def test_a_capture_without_a_required_modality_is_refused(tmp_path, held, required, words):
    modalities = tuple(m for m in held if m != "depth")
    path = write_list(tmp_path, "cal", ["ann"], modalities=modalities)
    if "depth" in held:
        row = json.loads(path.read_text()) | {"depth": "x.png"}
        path.write_text(json.dumps(row) + "\n")
    if words is None:
        assert len(open_calibration(DatasetSource.of(path), ALL, required, None).records) == 1
    else:
        with pytest.raises(DatasetError, match=words):
            open_calibration(DatasetSource.of(path), ALL, required, None)


def test_a_list_of_one_class_is_taken_with_a_warning(tmp_path, caplog):
    path = write_list(tmp_path, "cal", ["ann", "bob"])
    with caplog.at_level(logging.WARNING):
        open_calibration(DatasetSource.of(path), ALL, (), None)
    assert "cal.jsonl holds attack presentations only" in caplog.text


def test_a_calibration_size_of_zero_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--calibration-size is 0"):
        Int8Request(tmp_path / "cal.jsonl", size=0)


def test_features_are_what_the_last_linear_layer_reads(graph):
    extractor = FeatureExtractor(graph)
    assert extractor.value == "features"
    batch = {n: np.full((1, 3, 16, 16), 0.5, np.float32) for n in ("rgb", "ir")}
    assert extractor(batch).shape == (8,)
    assert (extractor(batch) >= 0).all()


def test_a_graph_without_weights_has_no_features():
    from onnx import TensorProto, helper

    info = helper.make_tensor_value_info("rgb", TensorProto.FLOAT, ["B", 2])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2])
    model = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["rgb"], ["logits"])], "g", [info], [out])
    )
    with pytest.raises(ExportError, match="no linear layer leads to the logits"):
        FeatureExtractor(model.SerializeToString())
