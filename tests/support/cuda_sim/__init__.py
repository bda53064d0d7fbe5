"""Simulated CUDA driver and the TensorRT stand-in that runs on it."""
