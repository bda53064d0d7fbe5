"""Provisional operating points of a build, chosen on development captures.

One threshold for one level. Tuning with confidence bounds per level is `fasdk tune`'s work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.decision import OperatingPoint, class_scores
from fasdk.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk_engines.graph.captures import DevelopmentSet

NO_EVALUATION = (
    "no evaluation data: built without captures to choose a threshold on; "
    "this bundle can be profiled and never answers LIVE"
)


def choose_provisional_points(
    development: DevelopmentSet,
    logits: NDArray[np.float32],
    live_index: int,
    modalities: Sequence[Modality],
    graph_sha256: str,
) -> tuple[tuple[OperatingPoint, ...], str, dict[str, Any]]:
    """Choose one threshold for every combination of modalities the development captures hold.

    Captures that lack a modality choose the threshold for such captures and no other; a combination
    without both classes gets none, and answers ERROR.

    Args:
        development: The captures and their labels.
        logits: float32 [N, classes] of the very graph the bundle will hold.
        live_index: Index of the bona fide logit.
        modalities: Modalities in model order.
        graph_sha256: SHA-256 of the graph that gave the logits.

    Returns:
        The points, most modalities first, a note for the manifest, and the document kept as
        evaluation.json.

    Raises:
        DatasetError: No combination has both classes, or a score is not a number.
    """
    from fasdk_calibration.datasets.pseudonyms import PSEUDONYMS, Pseudonyms
    from fasdk_calibration.thresholds.provisional import provisional_point

    scores = np.array([class_scores(row)[live_index] for row in logits])
    records = development.records
    labels = np.array([record.is_bona_fide for record in records])
    present = [
        tuple(m for m in modalities if m in capture.present) for capture in development.captures
    ]
    points, skipped = [], []
    order = list(modalities)
    for held in sorted(set(present), key=lambda held: (-len(held), [order.index(m) for m in held])):
        rows = [index for index, found in enumerate(present) if found == held]
        name = "+".join(m.value for m in held)
        if len(set(labels[rows])) < 2 and len(set(present)) > 1:  # alone, it is an error
            skipped.append(f"{name} ({len(rows)} captures of one class)")
            continue
        subjects = {records[index].subject for index in rows}
        points.append(
            provisional_point(
                scores=scores[rows],
                labels=labels[rows],
                species=[records[index].species for index in rows],
                modalities=held,
                level="standard",
                graph_sha256=graph_sha256,
                source=(
                    f"provisional: {len(rows)} development captures of {len(subjects)} subjects "
                    f"in {development.name}"
                ),
            )
        )
    if not points:
        raise DatasetError(
            f"{development.name}: no threshold can be chosen: {', '.join(skipped)}: "
            "give attacks and bona fide captures that hold the same modalities"
        )
    subjects = {record.subject for record in records}
    note = (
        f"provisional: {len(scores)} development captures of {len(subjects)} subjects "
        f"in {development.name}"
    )
    if skipped:
        note += f"; no threshold for {', '.join(skipped)}"
    named = Pseudonyms.of_record("provisional", development.name)
    document = {
        "kind": "provisional",
        "list": development.name,
        "captures": len(scores),
        "subjects": sorted(map(named.of, subjects)),
        PSEUDONYMS: named.described(),
        "operating_points": [point.model_dump(mode="json") for point in points],
        "scores": [
            {"id": named.of(record.id), "species": record.species, "score": round(float(score), 6)}
            for record, score in zip(records, scores, strict=True)
        ],
    }
    return tuple(points), note, document
