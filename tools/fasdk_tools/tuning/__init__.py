"""Threshold tuning of a bundle."""

from fasdk_tools.tuning.tune import TuneRequest, tune

__all__ = ["TuneRequest", "tune"]
