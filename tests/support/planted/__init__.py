"""Bugs planted in the TensorRT runtime, and the scenarios that notice them."""
