"""Simulated CUDA driver, and runs of the runtime on it."""
