"""Synthetic captures: procedural heads and attacks seen by RGB, depth and near-infrared sensors.

A test instrument: it exercises every path with data whose truth is known and needs no consent. No
claim about real attacks, real cameras or real people rests on it.
"""

from fasdk_calibration.synthetic.generator import SceneSettings, Species, Split, generate
from fasdk_calibration.synthetic.writer import generate_many, split_sizes, write_dataset

__all__ = [
    "SceneSettings",
    "Species",
    "Split",
    "generate",
    "generate_many",
    "split_sizes",
    "write_dataset",
]
