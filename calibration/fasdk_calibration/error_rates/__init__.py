"""What a system's scores on a test list come to."""

from fasdk_calibration.evaluation.figures import (
    AtTarget,
    AtThreshold,
    CaseFigures,
    CurvePoints,
    Decisions,
    DomainDecisions,
    DomainSeparation,
    Estimate,
    Histogram,
    NamedThreshold,
    NonResponses,
    Rate,
    Separation,
    SpeciesRate,
    ThresholdKind,
)
from fasdk_calibration.evaluation.judging import development_threshold, evaluate_scores

__all__ = [
    "AtTarget",
    "AtThreshold",
    "CaseFigures",
    "CurvePoints",
    "Decisions",
    "DomainDecisions",
    "DomainSeparation",
    "Estimate",
    "Histogram",
    "NamedThreshold",
    "NonResponses",
    "Rate",
    "Separation",
    "SpeciesRate",
    "ThresholdKind",
    "development_threshold",
    "evaluate_scores",
]
