"""Planted bugs of the TensorRT runtime, and the scenarios that detect them."""
