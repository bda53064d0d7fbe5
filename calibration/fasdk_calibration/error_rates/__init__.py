"""Error rates of a system on a test list, by threshold, domain and species."""

from fasdk_calibration.error_rates.case import (
    compute_error_rates,
    count_in,
    development_threshold,
)
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
    Unit,
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
    "Unit",
    "compute_error_rates",
    "count_in",
    "development_threshold",
]
