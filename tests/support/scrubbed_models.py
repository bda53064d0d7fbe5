"""Built-in models, trained, exported and stripped of every name, as `fasdk describe` finds them.

    python -m support.scrubbed_models [--checkpoints DIR] [MODEL ...]

Each model is trained small on synthetic captures, or taken from DIR, where training leaves it; its
graph loses the names of inputs, outputs and nodes; `describe --reference` is given 40 labeled
captures of other people. Prints one JSON line: what was chosen of each model, and what was right.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.capture import Modality
from fasdk.preprocess import PRESENCE
from fasdk_calibration.datasets import DatasetSource, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.onnx_import.describe import describe_onnx
from fasdk_engines.onnx_import.reference_trial import Trial

MODELS = ("mmdg", "mmdgpp", "mmda", "bigmoe")
SETTINGS = SceneSettings(width=320, height=240)
TRAINED_ON, DEVELOPMENT, REFERENCE = 1080, 360, 40
NEAR_UNITS = 0.02  # of the divisor: 127.5 and 128 are told apart by no score


@dataclass(frozen=True)
class Chosen:
    """What `describe --reference` chose of one model.

    Attributes:
        model: Name of the model.
        modalities: What feeds its inputs, in the file's order.
        units: Units of its inputs.
        order: Order of the color planes.
        live_index: Class taken for bona fide.
        auc: AUC of that choice on the reference captures.
        wrong: What differs from the model's own manifest.
    """

    model: str
    modalities: tuple[str, ...]
    units: str
    order: str
    live_index: int
    auc: float
    wrong: tuple[str, ...]


def fasdk(*words: object) -> None:
    """Run one verb.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, "-m", "fasdk_tools.cli", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr[-400:]}")


def trained(model: str, folder: Path) -> Path:
    """Return a checkpoint of a model's tiny configuration, trained unless the folder has it."""
    checkpoint = folder / f"{model}.safetensors"
    if not checkpoint.is_file():
        lists = [folder / f"{name}.jsonl" for name in ("train", "development")]
        if not all(path.is_file() for path in lists):
            train = generate_many(1, TRAINED_ON, Split.TRAIN, settings=SETTINGS)
            write_captures(train, folder, "train")
            development = generate_many(1, DEVELOPMENT, Split.DEVELOPMENT, settings=SETTINGS)
            write_captures(development, folder, "development")
        options = ("--model", model, "--config", "tiny", "-o", checkpoint)
        fasdk("train", lists[0], "--development", lists[1], *options)
    return checkpoint


def scrubbed(graph: bytes) -> onnx.ModelProto:
    """Return a graph without a name that tells anything."""
    model = onnx.load_from_string(graph)
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    names = {name: f"x{number}" for number, name in enumerate(inputs)}
    names |= {name: f"y{number}" for number, name in enumerate(outputs)}
    inner = [name for node in model.graph.node for name in node.output]
    inner += [tensor.name for tensor in model.graph.initializer]
    for number, name in enumerate(name for name in inner if name and name not in names):
        names[name] = f"v{number}"
    for node in model.graph.node:
        node.name = node.doc_string = ""
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = names[value.name]
    del model.graph.value_info[:], model.metadata_props[:]
    model.graph.name, model.producer_name, model.doc_string = "g", "", ""
    onnx.checker.check_model(model)
    return model


def judged(model: str, trial: Trial, bundle: Bundle) -> Chosen:
    """Return a choice beside the manifest of the bundle that the graph came from."""
    setting, manifest = trial.setting, bundle.manifest
    wrong = []
    inputs = [value.name for value in onnx.load_from_string(bytes(bundle.graph)).graph.input]
    if [m.value for m in setting.modalities] != [name for name in inputs if name != PRESENCE]:
        wrong.append("modalities")
    for modality, spec in manifest.inputs.items():
        found = setting.spec(modality, (spec.width, spec.height))
        far = NEAR_UNITS * np.abs(spec.std).max()
        if np.abs(np.subtract(found.mean, spec.mean)).max() > far or (
            np.abs(np.subtract(found.std, spec.std)).max() > far
        ):
            wrong.append(f"units of {modality.value}")
        if modality is Modality.RGB and found.channel_order is not spec.channel_order:
            wrong.append("order")
    if trial.live_index != manifest.live_index:
        wrong.append("live class")
    return Chosen(
        model=model,
        modalities=tuple(m.value for m in setting.modalities),
        units=setting.units.name,
        order=setting.order.value,
        live_index=trial.live_index,
        auc=round(trial.auc, 4),
        wrong=tuple(wrong),
    )


def choose(model: str, folder: Path, reference: Path) -> Chosen:
    """Return what is chosen of one model."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / f"{model}.fasb"
        options = ("--config", "tiny", "--precision", "fp32", "--backend", "onnxruntime")
        fasdk("build-engine", trained(model, folder), "--model", model, *options, "-o", bundle)
        opened = open_bundle(bundle)
        path = Path(scratch) / "network.onnx"
        onnx.save(scrubbed(bytes(opened.graph)), path)
        found = describe_onnx(path, reference=DatasetSource.of(reference))
    if found.table is None or found.table.chosen is None:
        raise RuntimeError(f"{model}: nothing was chosen: {found.problem}")
    return judged(model, found.table.chosen, opened)


def main() -> None:
    """Print what is chosen of every model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--checkpoints", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.checkpoints or Path(scratch) / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        captures = generate_many(3, REFERENCE, Split.HELD_OUT, settings=SETTINGS)
        write_captures(captures, Path(scratch), "reference")
        reference = Path(scratch) / "reference.jsonl"
        found = [choose(model, folder, reference) for model in asked.models]
    print(json.dumps({"captures": REFERENCE, "models": [asdict(one) for one in found]}))


if __name__ == "__main__":
    main()
