"""Checkpoint files: their kinds, their content as data, and the tensors in it."""
