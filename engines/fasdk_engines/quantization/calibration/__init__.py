"""Calibration: activation statistics, smoothing, ranges and rounded weights."""
