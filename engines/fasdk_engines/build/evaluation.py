"""Golden captures and provisional operating points of a finished graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import Precision
from fasdk.errors import NoThresholdError
from fasdk.preprocess import CropRule
from fasdk_engines.build.captures import GOLDEN_COUNT
from fasdk_engines.build.golden import choose_golden
from fasdk_engines.build.thresholds import NO_EVALUATION, choose_provisional_points
from fasdk_engines.graph.runner import GraphRunner
from fasdk_engines.graph.separation import measure_separation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.capture import Capture, Modality
    from fasdk.decision import OperatingPoint
    from fasdk.preprocess import PreprocessSpec
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.resolved import ResolvedModel
    from fasdk_engines.build.typed_graph import TypedGraph


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of a finished graph on the captures of its build.

    Attributes:
        golden: Golden captures with the logits a device must reproduce.
        operating_points: Provisional operating points; empty without development captures.
        note: Origin of the operating points, or the reason why there are none.
        document: Content of evaluation.json; None without development captures.
        doubt: Reason why development captures gave no threshold, or None.
    """

    golden: tuple[GoldenCapture, ...]
    operating_points: tuple[OperatingPoint, ...]
    note: str
    document: dict[str, Any] | None
    doubt: str | None = None


def as_stored(capture: Capture, specs: Mapping[Modality, PreprocessSpec]) -> Capture:
    """Return a golden capture with landmarks only where a spec aligns faces.

    Releases that know no aligned faces read golden captures without landmarks alone.
    """
    if any(spec.crop is CropRule.LANDMARKS for spec in specs.values()):
        return capture
    return replace(capture, landmarks=None, frame_landmarks={})


def evaluate_graph(
    typed: TypedGraph,
    precision: Precision,
    model: ResolvedModel,
    captures: BuildCaptures,
    instead: Callable[[], Precision],
) -> Evaluation:
    """Run a finished graph on its golden and development captures.

    Args:
        typed: The graph.
        precision: Precision of the graph.
        model: Model of the graph.
        captures: Captures of the build.
        instead: Returns the float precision that an error advises.

    Development captures whose scores do not separate the classes give no threshold and a doubt.

    Raises:
        PrecisionError: No golden captures of an INT8 graph keep their scores under FP16 rounding.
        DatasetError: The development captures lack a class.
        BackendError: ONNX Runtime fails on the graph.
    """
    family = model.family
    is_int8 = precision is Precision.INT8
    runner = GraphRunner(typed.graph, model.specs, family.presence_order, as_written=is_int8)
    golden, logits = captures.golden, runner.logits(captures.golden)
    if is_int8:
        kept = choose_golden(
            typed.graph,
            golden,
            logits,
            model,
            min(GOLDEN_COUNT, len(golden)),
            _rounded_logits(typed, captures),
            instead,
        )
        golden, logits = [golden[index] for index in kept], logits[list(kept)]
    stored = [as_stored(capture, model.specs) for capture in golden]
    chosen = tuple(GoldenCapture(capture, row) for capture, row in zip(stored, logits, strict=True))
    development = captures.development
    if development is None:
        return Evaluation(chosen, (), NO_EVALUATION, None)
    measured = None if typed.int8 is None else typed.int8.development_logits
    rows = runner.logits(development.captures) if measured is None else measured
    found = measure_separation(development, rows, family)
    doubt = None if found is None else found.doubt
    if doubt is None:
        try:
            points, note, document = choose_provisional_points(
                development, rows, family.live_index, family.modalities, runner.graph_sha256
            )
        except NoThresholdError as error:
            doubt = str(error) if found is None else f"{error} (AUC {found.auc:.4f})"
        else:
            return Evaluation(chosen, points, note, document)
    return Evaluation(chosen, (), f"no threshold: {doubt}", None, doubt)


def _rounded_logits(typed: TypedGraph, captures: BuildCaptures) -> NDArray[np.float32] | None:
    """Return the golden candidates' logits if the budget evaluation measured all of them."""
    if typed.int8 is None or typed.int8.development_logits is None or captures.development is None:
        return None
    places = {id(capture): place for place, capture in enumerate(captures.development.captures)}
    if any(id(capture) not in places for capture in captures.golden):
        return None
    rows: NDArray[np.float32] = typed.int8.development_logits[
        [places[id(capture)] for capture in captures.golden]
    ]
    return rows
