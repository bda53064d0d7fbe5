"""Evaluations of made-up scores with the errors that a test wants, without a model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fasdk_calibration.error_rates import NamedThreshold, ThresholdKind, compute_error_rates
from fasdk_calibration.metrics import Scores
from fasdk_tools.evaluation.record import (
    DOCUMENT,
    DOCUMENT_VERSION,
    BundleIdentity,
    Case,
    Evaluation,
)

ALL = ("rgb", "depth", "ir")
Counts = tuple[int, int]


def scores(attacks: Mapping[str, Counts], bona_fide: Counts) -> Scores:
    """Return scores around a threshold of 0.5, a presentation each.

    Args:
        attacks: Accepted and all presentations of each species.
        bona_fide: Refused and all bona fide presentations.
    """
    rows = [
        (0.9 if number < accepted else 0.1, False, species)
        for species, (accepted, tried) in attacks.items()
        for number in range(tried)
    ]
    refused, tried = bona_fide
    rows += [(0.1 if number < refused else 0.9, True, "bona fide") for number in range(tried)]
    names = tuple(f"p{number}" for number in range(len(rows)))
    return Scores(
        values=np.array([row[0] for row in rows]),
        is_bona_fide=np.array([row[1] for row in rows]),
        species=tuple(row[2] for row in rows),
        presentation=names,
        subject=names,
        domain=("lab",) * len(rows),
    )


def evaluation(
    attacks: Mapping[str, Counts],
    bona_fide: Counts,
    *,
    claimed: float | None = 0.05,
    kind: ThresholdKind | None = ThresholdKind.OPERATING_POINT,
    bundle_id: str = "b" * 64,
) -> Evaluation:
    """Return an evaluation of one list with these errors.

    Args:
        attacks: As of `scores`.
        bona_fide: As of `scores`.
        claimed: APCER bound that the threshold came with, or None.
        kind: What the threshold was chosen on; None for no threshold.
        bundle_id: Id of the bundle.
    """
    thresholds = (
        ()
        if kind is None
        else (NamedThreshold("standard", kind, 0.5, "made up for this test", claimed),)
    )
    figures = compute_error_rates(scores(attacks, bona_fide), thresholds)
    return Evaluation(
        document=DOCUMENT,
        version=DOCUMENT_VERSION,
        bundle=BundleIdentity(
            path="lobby.fasb",
            id=bundle_id,
            revision=2,
            has_signature=True,
            signed_by="0123abcd",
            model="mmdg",
            published_in="this test",
            precision="fp16",
            graph_sha256="c" * 64,
            checkpoint_sha256="d" * 64,
            modalities=ALL,
            required=("rgb",),
            operating_points_note="made up for this test",
            is_calibrated=True,
        ),
        backend="onnxruntime 1.23.2, CPU",
        family=None,
        source=None,
        unit="presentation",
        level="standard",
        lists=(),
        development=None,
        overlap=(),
        cases=(Case("test", "none", ALL, "", figures),),
        not_evaluated=(),
        family_figure=None,
        worst=(),
        limits=("made up for this test",),
    )
