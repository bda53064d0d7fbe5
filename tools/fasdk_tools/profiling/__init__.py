"""Latency profiles: loads, samples, figures and what can be said about them."""
