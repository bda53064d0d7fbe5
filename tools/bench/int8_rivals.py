"""INT8 of fasdk beside ONNX Runtime's static quantization and NVIDIA ModelOpt, at their defaults.

Every tool gets the same FP32 graph and the same calibration captures, and is evaluated on the same
held-out captures against that FP32 graph, at the FP32 bundle's threshold. Run from the project's
root; one JSON line a model, a table on stderr:

    python tools/bench/int8_rivals.py --environment .verify/rivals --install
    python tools/bench/int8_rivals.py --environment .verify/rivals mmdg bigmoe

`--install` makes the rivals' virtual environment and ends: it sees this project's packages and adds
ModelOpt with what its ONNX side imports, but not its `[onnx]` extra, which pins older releases of
onnx and onnxruntime. "Unfused" means that ONNX Runtime fuses no Q/DQ pair
(`session.disable_quant_qdq`), "by default" that it chooses what to fuse. The graph of fasdk is in
half precision: it is evaluated unfused, and again with every operator's output rounded to float16,
and the worse of the two counts. Rivals' graphs run in the types they were written in.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from int8_drift import DriftEvaluator, DriftFigures
from int8_macs import count_macs
from int8_models import ROOT, SUBJECTS, Prepared, Weights, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.bundle.bundle import Bundle

    Inputs = Mapping[str, NDArray[np.float32]]

RIVALS = ("onnxruntime", "modelopt")
PACKAGES = (
    *("nvidia-modelopt", "onnxslim", "cppimport", "onnx-graphsurgeon", "lief"),
    "onnxconverter-common",
)
_RANDOM_HELD_OUT = 128  # captures a full-size model is evaluated on
_TIMEOUT_S = 1800


@dataclass(frozen=True)
class Contestant:
    """One tool's graph of one model.

    Attributes:
        tool: "ours" or a rival.
        versions: Release of each package that made it.
        error: Why there is no graph or no figure; None where there was no error.
        unfused: Figures with no Q/DQ pair fused.
        rounded: Figures with every operator's output rounded to float16; None for a rival's graph.
        by_default: Figures as ONNX Runtime runs the file by default.
        int8_macs: Share of the Linear and Conv multiply-accumulates in INT8, in [0, 1].
        size_bytes: Size of the graph.
        seconds: Time the quantization took.
        notes: Warnings of the tool and options it needed.
    """

    tool: str
    versions: dict[str, str]
    error: str | None = None
    unfused: DriftFigures | None = None
    rounded: DriftFigures | None = None
    by_default: DriftFigures | None = None
    int8_macs: float | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def drift(self) -> float | None:
        """The mean score drift that counts: the worse of unfused and rounded."""
        found = [f.mean_drift for f in (self.unfused, self.rounded) if f is not None]
        return max(found, default=None)


@dataclass(frozen=True)
class Comparison:
    """All tools on one model.

    Attributes:
        model: Name of the model.
        weights: "trained", "published" or "random weights"; decisions of the last mean nothing.
        calibration: Number of captures each tool was calibrated on.
        held_out: Number of captures each was evaluated on.
        threshold: Frozen threshold of the FP32 bundle; None where it has none.
        contestants: Results of each tool, fasdk first.
        ours_beats: Names of the rivals whose mean score drift is larger, or that made no graph.
    """

    model: str
    weights: str
    calibration: int
    held_out: int
    threshold: float | None
    contestants: tuple[Contestant, ...]
    ours_beats: tuple[str, ...]


def compare(prepared: Prepared, environment: Path, rivals: Sequence[str]) -> Comparison:
    """Quantize one model with every tool and evaluate all of them alike.

    A rival that fails is a result: its error stands where its figures would.
    """
    from fasdk.bundle.bundle import open_bundle

    floating, ours = (
        open_bundle(Path(prepared.float_bundle)),
        open_bundle(Path(prepared.int8_bundle)),
    )
    random = prepared.weights == Weights.RANDOM.value
    manifest = floating.manifest
    calibration = _inputs_of(floating, Path(prepared.lists.calibration), only=_chosen_by(ours))
    held_out = _inputs_of(
        floating, Path(prepared.lists.held_out), most=_RANDOM_HELD_OUT if random else None
    )
    threshold = next(
        (
            p.threshold
            for p in manifest.operating_points
            if set(p.modalities) == set(manifest.modalities)
        ),
        None,
    )
    graph = bytes(floating.graph)
    evaluator = DriftEvaluator(graph, held_out, manifest.live_index, threshold, 2 if random else 32)
    one = {name: values[:1] for name, values in held_out.items()}
    versions = ours.manifest.provenance.tools
    contestants = [
        _evaluate(evaluator, bytes(ours.graph), one, "ours", versions, prepared.int8_seconds, ())
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "float.onnx").write_bytes(graph)
        np.savez(folder / "calibration.npz", **calibration)  # type: ignore[arg-type]
        contestants += [_rival(evaluator, one, rival, environment, folder) for rival in rivals]
    own = contestants[0].drift
    beaten = tuple(
        c.tool for c in contestants[1:] if own is not None and (c.drift is None or own < c.drift)
    )
    return Comparison(
        prepared.name,
        prepared.weights,
        len(next(iter(calibration.values()))),
        len(next(iter(held_out.values()))),
        threshold,
        tuple(contestants),
        beaten,
    )


def _rival(
    evaluator: DriftEvaluator, one: Inputs, rival: str, environment: Path, folder: Path
) -> Contestant:
    out = folder / f"{rival}.onnx"
    words = [
        str(environment / "bin" / "python"),
        str(Path(__file__).parent / "rivals" / "quantize.py"),
        *(rival, str(folder / "float.onnx"), str(folder / "calibration.npz"), str(out)),
    ]
    start = time.perf_counter()
    try:
        ran = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, cwd=folder
        )
    except subprocess.TimeoutExpired:
        return Contestant(rival, {}, error=f"not done after {_TIMEOUT_S} s")
    seconds = time.perf_counter() - start
    if ran.returncode != 0 or not out.is_file():
        last = [line.strip() for line in ran.stderr.splitlines() if line.strip()][-1:]
        reason = last[0] if last else f"status {ran.returncode}"
        return Contestant(rival, {}, error=reason[:300], seconds=round(seconds, 1))
    said = json.loads(ran.stdout.strip().splitlines()[-1])
    notes = tuple(said["notes"])
    return _evaluate(
        evaluator, out.read_bytes(), one, rival, said["versions"], said["seconds"], notes
    )


def _evaluate(
    evaluator: DriftEvaluator,
    graph: bytes,
    one: Inputs,
    tool: str,
    versions: dict[str, str],
    seconds: float,
    notes: tuple[str, ...],
) -> Contestant:
    try:
        return Contestant(
            tool,
            versions,
            unfused=evaluator.unfused(graph),
            rounded=evaluator.rounded(graph) if tool == "ours" else None,
            by_default=evaluator.by_default(graph),
            int8_macs=count_macs(graph, one).share,
            size_bytes=len(graph),
            seconds=seconds,
            notes=notes,
        )
    except Exception as error:  # noqa: BLE001 - a graph that fails is a result
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Contestant(tool, versions, error=reason, seconds=seconds, notes=notes)


def _chosen_by(ours: Bundle) -> frozenset[str] | None:
    """Return the ids of the captures our INT8 was calibrated on, or None where it lists none."""
    from fasdk.bundle.calibration import read_calibration

    document = read_calibration(ours)
    chosen = (document or {}).get("captures")
    return frozenset(capture["id"] for capture in chosen) if chosen else None


def _inputs_of(
    bundle: Bundle, source: Path, *, only: frozenset[str] | None = None, most: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Return a list's captures as graph inputs, float32 [N, ...] by name.

    Args:
        bundle: Bundle whose preprocessing is applied.
        source: List of captures.
        only: Ids of the captures to take; None takes all.
        most: Largest number of captures to take, evenly spread.
    """
    from fasdk.preprocess import to_batch
    from fasdk_calibration.datasets import open_dataset

    dataset = open_dataset(source)
    records = [r for r in dataset.records if only is None or r.id in only]
    if most is not None and most < len(records):
        records = [records[i] for i in np.linspace(0, len(records) - 1, most).round().astype(int)]
    manifest = bundle.manifest
    rows = [
        to_batch([dataset.load(record)], manifest.inputs, manifest.presence_order)
        for record in records
    ]
    return {str(name): np.concatenate([row[name] for row in rows]) for name in rows[0]}


def install(environment: Path) -> None:
    """Make the rivals' virtual environment: this project's packages, and theirs on top."""
    import site

    venv.create(environment, with_pip=True, clear=True)
    python = environment / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    Path(found.stdout.strip(), "project.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    words = [str(python), "-m", "pip", "install", "-c", str(ROOT / "constraints.txt"), *PACKAGES]
    subprocess.run(words, check=True, stdout=sys.stderr)


def table(comparison: Comparison) -> Iterator[str]:
    """Yield the lines that show one model."""
    yield (
        f"{comparison.model} ({comparison.weights}), {comparison.calibration} calibration and "
        f"{comparison.held_out} held-out captures"
    )
    yield (
        f"  {'tool':12} {'mean drift':>10} {'largest':>8} {'flips':>5} {'SQNR dB':>8} "
        f"{'INT8 MACs':>9} {'by default':>10} {'s':>6}"
    )
    for c in comparison.contestants:
        if c.unfused is None:
            yield f"  {c.tool:12} {c.error}"
            continue
        worse = c.rounded if c.rounded and c.drift == c.rounded.mean_drift else c.unfused
        default = "" if c.by_default is None else f"{c.by_default.mean_drift:.5f}"
        flips = "" if worse.flips is None else worse.flips
        yield (
            f"  {c.tool:12} {worse.mean_drift:10.5f} {worse.largest_drift:8.4f} {flips:>5} "
            f"{worse.logit_sqnr_db:8.1f} {c.int8_macs:9.3f} {default:>10} {c.seconds:6.0f}"
        )


def main() -> int:
    """Compare the models asked for; exit 1 where a rival was not beaten."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = [name for name, subject in SUBJECTS.items() if subject.weights is not Weights.RANDOM]
    parser.add_argument("models", nargs="*", default=usual, help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--work", type=Path, default=ROOT / ".verify")
    parser.add_argument("--environment", type=Path, help="the rivals' virtual environment")
    parser.add_argument("--install", action="store_true", help="make that environment and end")
    parser.add_argument("--rival", action="append", choices=RIVALS)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    environment = (arguments.environment or work / "rivals").absolute()
    unknown = [name for name in arguments.models if name not in SUBJECTS]
    if unknown:
        parser.error(f"unknown model {unknown[0]}: choose among {', '.join(SUBJECTS)}")
    if arguments.install:
        install(environment)
        return 0
    if not (environment / "bin" / "python").is_file():
        parser.error(f"there is no virtual environment {environment}: make it with --install")
    beaten = True
    rivals = tuple(arguments.rival or RIVALS)
    for name in arguments.models:
        found = compare(prepare(SUBJECTS[name], work), environment, rivals)
        print(json.dumps(asdict(found)), flush=True)
        print("\n".join(table(found)), file=sys.stderr, flush=True)
        beaten = beaten and set(found.ours_beats) == set(rivals)
    return 0 if beaten else 1


if __name__ == "__main__":
    sys.exit(main())
