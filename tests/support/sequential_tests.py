"""Sequential tests of the tiny bundle, and scores by their log-odds."""

from __future__ import annotations

import math

from fasdk.sequential import Evidence, SequentialTest

from support import tiny_bundle


def sigmoid(value: float) -> float:
    """Return the score of log-odds; infinities and NaN become what is no score."""
    if not math.isfinite(value):
        return value
    return 1.0 / (1.0 + math.exp(-value))


def evidence(*, prior: float = 0.5, correlation: float = 0.0, most: float = 9.0) -> Evidence:
    return Evidence(prior=prior, correlation=correlation, most_per_frame=most)


def sequential_test(**changes) -> SequentialTest:
    """Return a test LIVE above 5 nats, SPOOF at -4, within 4 frames and a second."""
    settings = {
        "level": "standard",
        "modalities": tiny_bundle.ALL,
        "evidence": evidence(),
        "live_bound": 5.0,
        "spoof_bound": -4.0,
        "max_frames": 4,
        "max_ms": 1000.0,
        "source": "made up for this test",
        "apcer_upper": 0.05,
        "graph_sha256": tiny_bundle.graph_sha256(),
    }
    return SequentialTest(**(settings | changes))
