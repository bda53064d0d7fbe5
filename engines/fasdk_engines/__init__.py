"""Workstation package of fasdk: models, graphs, quantization, training and bundle builds."""
