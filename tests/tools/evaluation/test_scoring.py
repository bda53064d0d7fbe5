"""Scoring of data sets along the device's path, a few captures at a time."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import fasdk
from fasdk.bundle.bundle import open_bundle
from fasdk.capture import Modality
from fasdk.errors import BackendError, DatasetError, UsageError
from fasdk.preprocess import CropRule
from fasdk_calibration.datasets import Dataset, open_dataset
from fasdk_calibration.protocols import reduce_capture
from fasdk_tools.evaluation import scoring
from fasdk_tools.evaluation.scoring import BATCH, score_dataset, score_subsets

from support.bright_captures import (
    ALL,
    BONA_FIDE,
    mixed,
    row,
    tiny_bundle,
    write_list,
    write_silent_bundle,
)
from support.progress import RecordedProgress

NO_DEPTH = frozenset({Modality.DEPTH})
RGB_ALONE = frozenset({Modality.DEPTH, Modality.IR})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb")


@pytest.fixture(scope="module")
def bundle(path):
    return open_bundle(path)


@pytest.mark.parametrize("missing", [frozenset(), NO_DEPTH, RGB_ALONE])
@pytest.mark.parametrize("calibrated", [False, True])
def test_scores_are_those_the_device_would_give(tmp_path, missing, calibrated):
    changes = {}
    if calibrated:
        changes = {
            "score_calibrations": (tiny_bundle.calibration(),),
            "operating_points": (tiny_bundle.point(calibrated=True),),
        }
    path = tiny_bundle.write(tmp_path / "tiny.fasb", **changes)
    dataset = open_dataset(write_list(tmp_path, mixed()))
    found = score_dataset(open_bundle(path), dataset, missing=missing, threads=1)
    degrade = fasdk.MissingModalities.DEGRADE
    with fasdk.open(
        path, backend=fasdk.Backend.ONNXRUNTIME, threads=1, missing=degrade
    ) as liveness:
        expected = [
            liveness.check(reduce_capture(dataset.load(record), missing))
            for record in dataset.records
        ]
    np.testing.assert_allclose(found.scores.values, [d.score for d in expected], rtol=1e-6)
    assert found.present == tuple(d.modalities for d in expected)
    assert found.logits.dtype == np.float32
    assert found.logits.shape == (len(dataset.records), 2)
    assert found.scores.responded.all()
    assert found.scores.species == tuple(record.species for record in dataset.records)
    assert found.scores.is_bona_fide.tolist() == [r.is_bona_fide for r in dataset.records]


def test_a_capture_without_a_finite_answer_is_a_non_response(tmp_path):
    path = write_silent_bundle(tmp_path / "silent.fasb")
    rows = [row(5, "print"), row(200, BONA_FIDE), row(6, BONA_FIDE)]
    found = score_dataset(open_bundle(path), open_dataset(write_list(tmp_path, rows)), threads=1)
    assert found.scores.responded.tolist() == [False, True, False]
    assert np.isnan(found.logits[0]).any()
    assert found.scores.values[1] > 0.5


def test_frames_are_read_once_however_much_is_taken_away(tmp_path, bundle, monkeypatch):
    loaded = []
    load = Dataset.load

    def counted(self, record, depth=None):
        loaded.append(record.id)
        return load(self, record, depth)

    monkeypatch.setattr(Dataset, "load", counted)
    dataset = open_dataset(write_list(tmp_path, mixed()))
    progress = RecordedProgress()
    found = score_subsets(
        bundle, dataset, (frozenset(), NO_DEPTH, RGB_ALONE), threads=1, progress=progress
    )
    assert loaded == [record.id for record in dataset.records]
    assert [each.present[0] for each in found] == [
        tuple(Modality),
        (Modality.RGB, Modality.IR),
        (Modality.RGB,),
    ]
    assert progress.reports[-1] == ("captures", len(dataset.records), len(dataset.records))
    assert progress.reports == sorted(progress.reports)


def test_memory_is_a_few_batches_whatever_the_length(tmp_path, bundle, monkeypatch):
    alive, most = set(), [0]
    load = Dataset.load

    class Tracked:
        def __init__(self, key):
            self.key = key
            alive.add(key)
            most[0] = max(most[0], len(alive))

        def __del__(self):
            alive.discard(self.key)

    def tracked(self, record, depth=None):
        capture = load(self, record, depth)
        object.__setattr__(capture, "tracked", Tracked(record.id))
        return capture

    monkeypatch.setattr(Dataset, "load", tracked)
    rows = [row(100, "print", name=f"capture-{i}") for i in range(20 * BATCH)]
    score_dataset(bundle, open_dataset(write_list(tmp_path, rows)), threads=1)
    assert BATCH <= most[0] <= 4 * BATCH
    assert not alive


@pytest.mark.parametrize(
    ("rows", "missing", "error", "said"),
    [
        ([row(100, "print")], {Modality.RGB}, UsageError, "left without rgb, which this bundle"),
        (
            [row(100, "print", ("depth", "ir"))],
            set(),
            DatasetError,
            r"print-100-depth\+ir of test lacks rgb",
        ),
        ([row(100, "print", ("depth",))], {Modality.IR}, DatasetError, "lacks rgb"),
    ],
)
def test_unscorable_captures_are_refused_before_a_frame_is_read(
    tmp_path, bundle, monkeypatch, rows, missing, error, said
):
    dataset = open_dataset(write_list(tmp_path, rows))
    monkeypatch.setattr(Dataset, "load", lambda *_: pytest.fail("a frame was read"))
    with pytest.raises(error, match=said):
        score_dataset(bundle, dataset, missing=frozenset(missing), threads=1)


def test_a_modality_the_model_lacks_cannot_be_taken_away(tmp_path):
    described = tiny_bundle.manifest()
    dataset = open_dataset(write_list(tmp_path, mixed()))
    manifest = described.model_copy(update={"modalities": (Modality.RGB, Modality.IR)})
    with pytest.raises(UsageError, match="--missing depth: this bundle looks at rgb, ir"):
        scoring.require_scorable(manifest, dataset, NO_DEPTH)


def test_an_unreadable_frame_is_named(tmp_path, bundle):
    listing = write_list(tmp_path, mixed())
    (tmp_path / "frames" / "140.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"bona fide-140.*140\.png"):
        score_dataset(bundle, open_dataset(listing), threads=1)


def test_a_capture_without_the_face_box_its_model_crops_to_is_named(tmp_path):
    spec = tiny_bundle.manifest().inputs[Modality.RGB]
    crop = spec.model_copy(update={"crop": CropRule.FACE})
    inputs = tiny_bundle.manifest().inputs | {Modality.RGB: crop}
    described = tiny_bundle.manifest(inputs=inputs)
    members = {"model.onnx": tiny_bundle.graph_bytes()}
    tiny_bundle.write_bundle(tmp_path / "face.fasb", described, members)
    dataset = open_dataset(write_list(tmp_path, mixed()))
    with pytest.raises(DatasetError, match=r"bona fide-120.*face box"):
        score_dataset(open_bundle(tmp_path / "face.fasb"), dataset, threads=1)


def test_an_engine_that_fails_is_an_error_not_a_non_response(tmp_path, bundle, monkeypatch):
    class Broken:
        backend, version, max_batch = fasdk.Backend.ONNXRUNTIME, "0", None

        def run(self, _):
            raise BackendError("out of memory")

        def close(self):
            pass

    monkeypatch.setattr(scoring, "open_engine", lambda *_, **__: Broken())
    dataset = open_dataset(write_list(tmp_path, mixed()))
    with pytest.raises(BackendError, match="out of memory"):
        score_dataset(bundle, dataset, threads=1)


def test_a_model_without_depth_judges_lists_whose_depth_has_no_unit(tmp_path, bundle):
    rows = [row(100, "print", depth_unit="level"), row(200, BONA_FIDE, depth_unit="level")]
    dataset = open_dataset(write_list(tmp_path, rows))
    record = dataset.records[0]
    assert scoring._looked_at(record, None).modalities == (Modality.RGB, Modality.IR)
    encoding = bundle.manifest.inputs[Modality.DEPTH].depth
    assert scoring._looked_at(record, encoding) is record
    assert set(ALL) == {m.value for m in record.modalities}


def quantized_graph() -> bytes:
    """Return the tiny graph with its averages rounded to hundredths by a Q/DQ pair."""
    model = onnx.load_from_string(tiny_bundle.graph_bytes(reliability=False))
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.float32(0.01), "scale"),
            numpy_helper.from_array(np.int8(0), "zero_point"),
        ]
    )
    product = next(node for node in graph.node if node.op_type == "Gemm")
    product.input[0] = "dequantized"
    pair = [
        helper.make_node("QuantizeLinear", ["means", "scale", "zero_point"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero_point"], ["dequantized"]),
    ]
    at = list(graph.node).index(product)
    for offset, node in enumerate(pair):
        graph.node.insert(at + offset, node)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.mark.parametrize(("precision", "written"), [("int8", [True]), ("int8-fp32", [False])])
def test_an_int8_graph_for_tensorrt_runs_as_it_is_written(
    tmp_path, monkeypatch, precision, written
):
    from fasdk.backends import onnxruntime as backend

    asked = []
    real = backend.open_session

    def watched(graph, **options):
        asked.append(options["as_written"])
        return real(graph, **options)

    monkeypatch.setattr(backend, "open_session", watched)
    described = tiny_bundle.manifest(precision=precision, operating_points=(), reliability=False)
    path = tmp_path / "int8.fasb"
    tiny_bundle.write_bundle(path, described, {"model.onnx": quantized_graph()})
    dataset = open_dataset(write_list(tmp_path, mixed()))
    found = score_dataset(open_bundle(path), dataset, threads=1)
    assert asked == written
    assert np.isfinite(found.logits).all()
    assert found.scores.values[19] > found.scores.values[0]
