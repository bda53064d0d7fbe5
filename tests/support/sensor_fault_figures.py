"""Share of sensor faults that a trained bundle's reliability finds; one JSON line.

python -m support.sensor_fault_figures mmdg --train 600 --development 600 --held-out 200 --epochs 8
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import Precision
from fasdk.bundle.trust import TrustPolicy
from fasdk.capture import Capture, Modality
from fasdk.preprocess import to_batch
from fasdk.tracking.newness import FrameHistory
from fasdk.tracking.policy import TrackPolicy
from fasdk_calibration.datasets import LabeledCapture, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_calibration.synthetic.sensor_faults import SensorFault, with_fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.bundle.manifest import Manifest

BELOW = 0.05
"""Reliability below which a picture counts as a fault: 5 % of good ones are."""
SEED = 17
SCENE = SceneSettings(width=192, height=144)
FRAMES = 8
_FROZEN_FROM = 3  # the frame that a frozen sensor repeats from then on
_BATCH = 16
# What each tiny model learns by in a few epochs; what a rank is of does not depend on the weights.
_METHODS = {
    "mmdg": ("plain", "--learning-rate", "2e-3"),
    "mmdgpp": ("plain", "--learning-rate", "2e-3"),
    "mmda": ("published", "--learning-rate", "1e-3"),
    "bigmoe": ("plain", "--learning-rate", "1.5e-3"),
}


class Reliabilities:
    """Reliability that one graph gives to captures.

    Args:
        graph: Serialized ONNX model with the output `reliability`.
        manifest: Manifest of its bundle, or of the bundle it was quantized from.
        as_written: Whether Q/DQ nodes run where they stand.
    """

    def __init__(self, graph: bytes, manifest: Manifest, *, as_written: bool = False) -> None:
        self._engine = OnnxRuntimeEngine(graph, threads=1, as_written=as_written)
        self._manifest = manifest

    def of(self, captures: Sequence[Capture], modality: Modality) -> NDArray[np.float32]:
        """Return the reliability of one modality in each capture, float32 [N]."""
        column = self._manifest.modalities.index(modality)
        rows = []
        for start in range(0, len(captures), _BATCH):
            part = list(captures[start : start + _BATCH])
            batch = to_batch(part, self._manifest.inputs, self._manifest.presence_order)
            found = self._engine.run(batch).reliability
            assert found is not None, "the graph has no output reliability"
            rows.append(found[:, column])
        return np.concatenate(rows)


def faulty(captures: Sequence[Capture], fault: SensorFault, modality: Modality) -> list[Capture]:
    """Return captures of which one sensor has a fault, drawn anew for each."""
    return [
        with_fault(capture, modality, fault, np.random.default_rng([SEED, number]))
        for number, capture in enumerate(captures)
    ]


def in_one_picture() -> Iterator[tuple[SensorFault, Modality]]:
    """Yield the faults that a single picture can show, by sensor."""
    for fault in SensorFault:
        if fault is not SensorFault.FROZEN:
            for modality in fault.modalities:
                yield fault, modality


def shares(
    reliabilities: Reliabilities, captures: Sequence[Capture]
) -> dict[str, dict[str, float]]:
    """Return the share of captures below `BELOW`, by fault and modality; "none" without a fault."""
    found: dict[str, dict[str, float]] = {}
    for modality in Modality:
        good = reliabilities.of(captures, modality) < BELOW
        found.setdefault("none", {})[modality.value] = float(good.mean())
    for fault, modality in in_one_picture():
        below = reliabilities.of(faulty(captures, fault, modality), modality) < BELOW
        found.setdefault(fault.value, {})[modality.value] = float(below.mean())
    return found


def frozen_shares(presentations: int) -> dict[str, dict[str, float]]:
    """Return the share of frames that a track says are not new, of good and of frozen sensors.

    The sensor shows the fourth frame of a presentation from then on, bit for bit. What is counted
    are the frames after it, by the check that every track makes of each frame.
    """
    scene = SceneSettings(width=192, height=144, frames_per_presentation=FRAMES)
    frames = [
        labeled.capture
        for labeled in generate_many(SEED, presentations * FRAMES, Split.HELD_OUT, settings=scene)
    ]
    found: dict[str, dict[str, float]] = {"frozen": {}, "none": {}}
    for modality in Modality:
        repeated, alarms = [], []
        for first in range(0, len(frames), FRAMES):
            shown = frames[first : first + FRAMES]
            alarms += _not_new(shown)
            repeated += _not_new(_frozen(shown, modality))[_FROZEN_FROM + 1 :]
        found["frozen"][modality.value] = float(np.mean(repeated))
        found["none"][modality.value] = float(np.mean(alarms))
    return found


def _frozen(shown: Sequence[Capture], modality: Modality) -> list[Capture]:
    rng = np.random.default_rng(SEED)
    earlier = shown[_FROZEN_FROM]
    stuck = [
        with_fault(capture, modality, SensorFault.FROZEN, rng, earlier=earlier)
        for capture in shown[_FROZEN_FROM + 1 :]
    ]
    return [*shown[: _FROZEN_FROM + 1], *stuck]


def _not_new(captures: Sequence[Capture]) -> list[bool]:
    history = FrameHistory(TrackPolicy().remembered_frames)
    return [history.take_in(capture) is not None for capture in captures]


def int8_graph(graph: bytes, manifest: Manifest, captures: Sequence[Capture]) -> bytes:
    """Return a bundle's FP32 graph in INT8, calibrated on captures."""
    from fasdk_engines.models.registry import get_family
    from fasdk_engines.quantization import Quantizer
    from fasdk_engines.reliability.graph import ISLAND

    batches = [
        to_batch(list(captures[start : start + _BATCH]), manifest.inputs, manifest.presence_order)
        for start in range(0, len(captures), _BATCH)
    ]
    return Quantizer.prepare(
        graph,
        batches,
        manifest.inputs,
        precision=Precision.INT8,
        float32_islands=(*get_family(manifest.model.family).float32_islands, ISLAND),
    ).write()


def figures(
    model: str, *, train: int, development: int, held_out: int, epochs: int
) -> dict[str, Any]:
    """Train and build a tiny model, and measure its reliability on people never seen."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        learned = _captures(Split.TRAIN, train)
        lists = {
            name: write_captures(captures, folder, name)
            for name, captures in (
                ("train", learned),
                ("development", _captures(Split.DEVELOPMENT, development)),
            )
        }
        checkpoint, path = folder / "tiny.safetensors", folder / "tiny.fasb"
        common = ("--model", model, "--config", "tiny", "--development", lists["development"])
        training = ("--method", *_METHODS[model], "--batch", 32, "--epochs", epochs)
        _fasdk("train", lists["train"], "-o", checkpoint, *common, *training)
        # Status 1: scores that tell nothing apart choose no threshold, and none is needed here.
        built = ("build-engine", checkpoint, "-o", path, *common, "--precision", "fp32")
        _fasdk(*built, allowed=(0, 1))
        bundle = open_bundle(path, TrustPolicy.unsigned())
    manifest, graph = bundle.manifest, bytes(bundle.graph)
    captures = [labeled.capture for labeled in _captures(Split.HELD_OUT, held_out)]
    found = shares(Reliabilities(graph, manifest), captures)
    quantized = int8_graph(graph, manifest, [labeled.capture for labeled in learned[:64]])
    int8 = shares(Reliabilities(quantized, manifest, as_written=True), captures)
    frozen = frozen_shares(max(2, held_out // 20))
    alarms = found.pop("none")
    by_fault = {fault: float(np.mean(list(by.values()))) for fault, by in found.items()}
    by_fault["frozen"] = float(np.mean(list(frozen["frozen"].values())))
    return {
        "model": model,
        "below": BELOW,
        "false_alarms": alarms,
        "found": by_fault,
        "by_sensor": found | {"frozen": frozen["frozen"]},
        "frozen_false_alarms": max(frozen["none"].values()),
        "int8_difference": max(
            abs(int8[fault][sensor] - share)
            for fault, by in (found | {"none": alarms}).items()
            for sensor, share in by.items()
        ),
        "captures": {"train": train, "development": development, "held_out": held_out},
    }


def _captures(split: Split, count: int) -> list[LabeledCapture]:
    return list(generate_many(SEED, count, split, settings=SCENE, threads=1))


def _fasdk(*words: object, allowed: tuple[int, ...] = (0,)) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "fasdk_tools.cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode not in allowed:
        raise RuntimeError(f"fasdk {words[0]} exited {ran.returncode}: {ran.stderr[-500:]}")


def main() -> None:
    """Print the figures of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    for name, usual in (("train", 600), ("development", 600), ("held-out", 200), ("epochs", 8)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    found = figures(
        given.model,
        train=given.train,
        development=given.development,
        held_out=given.held_out,
        epochs=given.epochs,
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
