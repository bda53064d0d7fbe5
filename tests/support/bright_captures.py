"""Capture lists whose scores on the tiny bundle follow their brightness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper

from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.members import EVALUATION

from support import tiny_bundle

BONA_FIDE = "bona fide"
ALL = ("rgb", "depth", "ir")
SILENT_BELOW = 25  # brightness at which the silent graph has no answer


def row(
    level: int, species: str, held: Sequence[str] = ALL, **changes: object
) -> dict[str, object]:
    """Return one line: a capture that bright, a presentation and person of its own."""
    names = {
        "rgb": f"frames/{level}.png",
        "depth": "frames/depth.png",
        "ir": f"frames/{level}i.png",
    }
    name = str(changes.pop("name", f"{species}-{level}-{'+'.join(held)}"))
    line = {"id": name, "subject": f"person of {name}", "domain": "lab", "presentation": name}
    line |= {"label": "bona fide" if species == BONA_FIDE else "attack", "species": species}
    return line | {m: names[m] for m in held} | changes


def write_list(folder: Path, rows: Sequence[dict[str, object]], name: str = "test") -> Path:
    """Write a list and the frames it names."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    texture = rng.integers(-3, 4, (24, 32, 1))
    for line in rows:
        for modality, path in ((m, line.get(m)) for m in ALL):
            if path is None or (folder / str(path)).exists():
                continue
            stem = Path(str(path)).stem
            if modality == "depth":
                picture = np.full((24, 32), 500, np.uint16)
            else:
                channels = 3 if modality == "rgb" else 1
                level = int(stem.rstrip("i"))
                picture = np.clip(level + texture.repeat(channels, axis=2), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / str(path)), picture)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    return path


def mixed(offset: int = 0) -> list[dict[str, object]]:
    """Return bona fide captures brighter than two species of attack; the classes overlap."""
    found = [row(level + offset, BONA_FIDE) for level in range(120, 220, 5)]
    found += [row(level + offset, "print") for level in range(30, 150, 8)]
    found += [row(level + offset, "mask") for level in range(60, 160, 10)]
    return found


def write_bundle_seen(path: Path, subjects: Sequence[str], member: str = EVALUATION) -> Path:
    """Write the tiny bundle with a document that says on whom it was tuned or calibrated."""
    described = tiny_bundle.manifest()
    document = tiny_bundle.calibration_json(subjects=list(subjects))
    write_bundle(path, described, tiny_bundle.members(described) | {member: document})
    return path


def write_silent_bundle(path: Path) -> Path:
    """Write the tiny bundle with a graph that answers NaN to captures as good as black."""
    model = onnx.load_from_string(tiny_bundle.graph_bytes())
    graph = model.graph
    next(node for node in graph.node if "logits" in node.output).output[0] = "raw"
    level = (SILENT_BELOW - 127.5) / 127.5
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.ones((3, 2), np.float32), "ones"),
            numpy_helper.from_array(np.float32(-3 * level), "shift"),
            numpy_helper.from_array(np.float32(0), "zero"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("MatMul", ["rgb_mean", "ones"], ["sum"]),
            helper.make_node("Add", ["sum", "shift"], ["above"]),
            helper.make_node("Sqrt", ["above"], ["root"]),  # NaN of anything below nothing
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", ["raw", "nothing"], ["logits"]),
        ]
    )
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    point = tiny_bundle.point(graph=tiny_bundle.hashlib.sha256(content).hexdigest())
    described = tiny_bundle.manifest(operating_points=(point,))
    members = tiny_bundle.members(described) | {"model.onnx": content}
    write_bundle(path, described, members)
    return path
