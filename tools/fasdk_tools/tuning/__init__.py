"""Threshold tuning of a bundle."""
