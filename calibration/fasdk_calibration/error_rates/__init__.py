"""What a system's scores on a test list come to."""

from fasdk_calibration.error_rates.case import development_threshold, evaluate_scores
from fasdk_calibration.error_rates.figures import (
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
