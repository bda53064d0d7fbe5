"""Golden captures so close to a threshold that rounding may change their verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fasdk.decision import OperatingPoint, ScoreCalibration, log_odds
from fasdk_calibration.metrics import logit

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle


def golden_near_thresholds(
    bundle: Bundle, chosen: Sequence[tuple[OperatingPoint, ScoreCalibration | None]]
) -> list[str]:
    """Return a line for every golden capture whose verdict rounding alone may flip.

    A device proves its engine on the golden captures' verdicts at every level, so one that lies on
    a threshold may keep a sound engine out.

    Args:
        bundle: Bundle with the golden captures.
        chosen: Operating points, each with the calibration of its scores.
    """
    manifest = bundle.manifest
    nearest = 4 * manifest.golden_tolerance  # the drift allowed, in log-odds at a score of 0.5
    found = []
    for number, item in enumerate(bundle.golden):
        held = tuple(m for m in manifest.modalities if m in item.capture.present)
        value = log_odds(item.logits, manifest.live_index)
        for point, calibration in chosen:
            distance = abs(value - _log_odds_at(point, calibration))
            if point.modalities == held and distance < nearest:
                found.append(
                    f"golden capture {number} lies {distance:.3f} log-odds from "
                    f"{point.id}: an engine that rounds otherwise may be refused for it"
                )
    return found


def _log_odds_at(point: OperatingPoint, calibration: ScoreCalibration | None) -> float:
    """Return the log-odds before calibration at which a score meets the threshold."""
    if calibration is None or not 0.0 < point.threshold < 1.0:
        return math.inf
    return (float(logit(point.threshold)) - calibration.offset) / calibration.slope
