"""Latency profiles and graph comparison."""
