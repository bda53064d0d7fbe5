"""Latency of a bundle under load: percentiles with bounds, stages, and what the machine did."""
