"""Labeled captures, calibration sets, error rates and thresholds of liveness models."""
