"""Error rates of ISO/IEC 30107-3 with exact bounds, on scores where greater means more live.

Read in this order: scores.py (what was scored, fused to presentations), bounds.py, rates.py (at one
threshold), curves.py (at all of them), bootstrap.py, summary.py (everything of one set of scores),
score_file.py (scores from anyone's file).
"""

from fasdk_calibration.metrics.bootstrap import BootstrapIntervals, bootstrap_intervals
from fasdk_calibration.metrics.bounds import (
    ErrorRate,
    Interval,
    binomial_interval,
    binomial_supports,
    binomial_upper,
)
from fasdk_calibration.metrics.curves import (
    Curve,
    EerRule,
    RatesAtTarget,
    auc,
    bpcer_at_apcer,
    curve,
    eer_threshold,
    equal_error_rate,
    tpr_at_fpr,
)
from fasdk_calibration.metrics.rates import (
    apcer_by_species,
    apnrr_by_species,
    average_error_rate,
    bpcer,
    bpnrr,
    half_total_error_rate,
    worst_species,
)
from fasdk_calibration.metrics.score_assembly import HigherIs, ScoreFile
from fasdk_calibration.metrics.score_columns import ColumnChoice
from fasdk_calibration.metrics.score_file import ScoreFileOptions, read_scores
from fasdk_calibration.metrics.scores import Scores, fuse, logit
from fasdk_calibration.metrics.summary import Summary, ThresholdSource, summarize

__all__ = [
    "BootstrapIntervals",
    "ColumnChoice",
    "Curve",
    "EerRule",
    "ErrorRate",
    "HigherIs",
    "Interval",
    "RatesAtTarget",
    "ScoreFile",
    "ScoreFileOptions",
    "Scores",
    "Summary",
    "ThresholdSource",
    "apcer_by_species",
    "apnrr_by_species",
    "auc",
    "average_error_rate",
    "binomial_interval",
    "binomial_supports",
    "binomial_upper",
    "bootstrap_intervals",
    "bpcer",
    "bpcer_at_apcer",
    "bpnrr",
    "curve",
    "eer_threshold",
    "equal_error_rate",
    "fuse",
    "half_total_error_rate",
    "logit",
    "read_scores",
    "summarize",
    "tpr_at_fpr",
    "worst_species",
]
