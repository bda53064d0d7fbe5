"""Published networks in every precision, held against ONNX Runtime on the file as given."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import Precision
from fasdk.decision import class_scores, live_score
from fasdk.preprocess import to_batch
from fasdk_calibration.datasets import CaptureRecord, Label, load_list, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.graph.runner import GraphRunner

from support.requirements import Requirement

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = SceneSettings(width=320, height=240)


@dataclass(frozen=True)
class Published:
    """One published network.

    Attributes:
        path: File below the reference folder.
        model: Name of the model for the command line.
        size: Width and height of its input in pixels.
        crop: Factor on the face's box.
        order: Order of its color planes.
        std: Divisor of the 8-bit levels.
        labels: Class names.
        live: Index of the bona fide class.
        config: Settings of a built-in network that differ from those it was first published with.
        exported: ONNX file of the same weights below the reference folder, empty where none is
            published: what the built network must answer.
    """

    path: str
    model: str = "onnx"
    size: int = 80
    crop: float = 2.7
    order: str = "bgr"
    std: float = 1.0
    labels: tuple[str, ...] = ("attack-0", "live", "attack-2")
    live: int = 1
    config: dict[str, object] = field(default_factory=dict)
    exported: str = ""

    @property
    def name(self) -> str:
        """Name of the file and of the network in it."""
        return f"{Path(self.path).stem}-{self.model}"


TRAINING_128 = {
    "image_size": 128,
    "classes": 2,
    "squeeze_excite": True,
    "live_index": 0,
    "normalization": "unit",
    "channel_order": "rgb",
    "crop_scale": 1.5,
}
PUBLISHED = (
    Published("onnx/minifasnet_v1se_opset10.onnx", crop=4.0),
    Published("onnx/minifasnet_v2_opset11_batch1.onnx"),
    Published(
        "onnx/minifasnet_128_opset13.onnx",
        size=128,
        crop=1.5,
        order="rgb",
        std=255.0,
        labels=("live", "attack"),
        live=0,
    ),
    Published("silent-face/2.7_80x80_MiniFASNetV2.pth", "minifasnet-v2"),
    Published("silent-face/4_0_0_80x80_MiniFASNetV1SE.pth", "minifasnet-v1se"),
    Published(
        "onnx/fasnet_v1se_v2.pth.tar",
        "minifasnet-v1se",
        exported="onnx/minifasnet_v1se_opset10.onnx",
    ),
    Published(
        "onnx/fasnet_v1se_v2.pth.tar",
        "minifasnet-v2",
        exported="onnx/minifasnet_v2_opset11_batch1.onnx",
    ),
    Published(
        "onnx/minifasnet_128_training.pth",
        "minifasnet-v2",
        config=TRAINING_128,
        exported="onnx/minifasnet_128_opset13.onnx",
    ),
)


def describe(network: Published) -> str:
    triple = f"[{network.std}, {network.std}, {network.std}]"
    return f"""
name = "published"
published_in = "a public repository"
modalities = ["rgb"]
labels = {list(network.labels)}
live_index = {network.live}
[inputs.rgb]
graph_input = "input"
width = {network.size}
height = {network.size}
crop = "face"
crop_scale = {network.crop}
channel_order = "{network.order}"
mean = [0.0, 0.0, 0.0]
std = {triple}
[output]
kind = "logits"
"""


@pytest.fixture(scope="module")
def lists(tmp_path_factory) -> Path:
    """Folder with a calibration and a development list of synthetic captures."""
    folder = tmp_path_factory.mktemp("lists")
    write_captures(generate_many(3, 16, Split.TRAIN, settings=SETTINGS), folder, "calibration")
    write_captures(generate_many(3, 32, Split.DEVELOPMENT, settings=SETTINGS), folder, "captures")
    return folder


def build(fasdk, reference: Path, network: Published, out: Path, precision: str, *options):
    source = reference / network.path
    if not source.is_file():
        Requirement.PUBLISHED_FILES.skip(f"no {source.name}")
    chosen = ["--model", network.model, "--precision", precision, "--backend", "onnxruntime"]
    if network.model == "onnx":
        description = out.with_suffix(".toml")
        description.write_text(describe(network))
        chosen += ["--preprocess", description]
    if network.config:
        config = out.with_suffix(".json")
        config.write_text(json.dumps(network.config))
        chosen += ["--config", config]
    return fasdk("build-engine", source, "-o", out, *chosen, *options)


def labeled(bundle: Path, folder: Path) -> Path:
    """Return the development list with the network's own opinion as labels.

    Synthetic captures tell nothing of what these networks were trained on, but the median of their
    scores is a threshold with captures close to it, on which a precision can be judged.
    """
    opened = open_bundle(bundle)
    manifest = opened.manifest
    source = folder / "captures.jsonl"
    captures = [item.capture for item in load_list(source)]
    rows = GraphRunner(bytes(opened.graph), manifest.inputs).logits(captures)
    scores = np.array([live_score(row, manifest.live_index) for row in rows])
    lines = []
    for line, is_live in zip(
        source.read_text().splitlines(), scores > np.median(scores), strict=True
    ):
        record = CaptureRecord.model_validate_json(line).model_copy(
            update={
                "label": Label.BONA_FIDE if is_live else Label.ATTACK,
                "species": "bona fide" if is_live else "print",
            }
        )
        lines.append(record.model_dump_json(exclude_none=True) + "\n")
    target = folder / f"{bundle.stem}.jsonl"
    target.write_text("".join(lines))
    return target


def scores_of(bundle: Path, batch) -> np.ndarray:
    opened = open_bundle(bundle)
    runner = GraphRunner(bytes(opened.graph), opened.manifest.inputs)
    return np.array([class_scores(row) for row in runner.batch_logits(batch)])


@pytest.mark.parametrize("network", PUBLISHED, ids=lambda network: network.name)
def test_fp32_and_fp16_answer_as_the_file_does(fasdk, reference, lists, tmp_path, network):
    plain = tmp_path / f"{network.name}.fasb"
    ran = build(fasdk, reference, network, plain, "fp32")
    assert ran.status == 0, ran.stderr
    development = labeled(plain, lists)
    captures = [item.capture for item in load_list(development)]
    batch = to_batch(captures, open_bundle(plain).manifest.inputs, None)
    expected = scores_of(plain, batch)
    given = network.path if network.model == "onnx" else network.exported
    if given:
        model = onnx.load(reference / given)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        rows = [session.run(None, {"input": one[None]})[0][0] for one in batch["rgb"]]
        expected = np.array([class_scores(row) for row in rows])
        # Another file of the same weights was rounded on its way; the file itself was not.
        limit = 1e-5 if network.model == "onnx" else 1e-4
        assert np.abs(scores_of(plain, batch) - expected).max() <= limit

    half = tmp_path / "half.fasb"
    ran = build(fasdk, reference, network, half, "fp16", "--development", development)
    assert ran.status == 0, ran.stderr
    assert np.abs(scores_of(half, batch) - expected).max() <= 2e-3


@pytest.mark.parametrize("network", PUBLISHED, ids=lambda network: network.name)
def test_auto_holds_the_liveness_budget_in_int8_or_says_what_it_took(
    fasdk, reference, lists, tmp_path, network
):
    plain = tmp_path / f"{network.name}.fasb"
    assert build(fasdk, reference, network, plain, "fp32").status == 0
    development = labeled(plain, lists)
    given = ["--development", development, "--calibration", lists / "calibration.jsonl"]
    auto = tmp_path / "auto.fasb"
    ran = build(fasdk, reference, network, auto, "auto", *given, "--calibration-size", 16)
    assert ran.status == 0, ran.stderr
    manifest = open_bundle(auto).manifest
    assert manifest.precision in (Precision.INT8, Precision.FP16)
    said = " ".join(manifest.provenance.notes)
    assert ("auto took fp16: " in said) is (manifest.precision is Precision.FP16)
    if manifest.precision is Precision.INT8:
        assert "the liveness budget holds" in " ".join(ran.stdout.split())
