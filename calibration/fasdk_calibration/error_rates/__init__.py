"""Error rates of a system on a test list, by threshold, domain and species."""

from fasdk_calibration.error_rates.case import compute_error_rates, development_threshold
from fasdk_calibration.error_rates.figures import (
    AtTarget,
    AtThreshold,
    CaseFigures,
    CurvePoints,
    DomainRates,
    DomainSeparation,
    Estimate,
    Histogram,
    NamedThreshold,
    NonResponses,
    Rate,
    RatesAtThreshold,
    Separation,
    SpeciesRate,
    ThresholdKind,
)

__all__ = [
    "AtTarget",
    "AtThreshold",
    "CaseFigures",
    "CurvePoints",
    "DomainRates",
    "DomainSeparation",
    "Estimate",
    "Histogram",
    "NamedThreshold",
    "NonResponses",
    "Rate",
    "RatesAtThreshold",
    "Separation",
    "SpeciesRate",
    "ThresholdKind",
    "compute_error_rates",
    "development_threshold",
]
