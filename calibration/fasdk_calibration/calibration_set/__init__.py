"""Calibration set selection and activation ranges."""
