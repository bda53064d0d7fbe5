"""Synthetic captures of procedural heads and attacks by RGB, depth and near-infrared sensors.

A test instrument: it exercises every path with data whose truth is known and needs no consent. No
claim about real attacks, real cameras or real people rests on it.
"""

from fasdk_calibration.synthetic.contact_sheet import ContactSheet, draw_contact_sheet
from fasdk_calibration.synthetic.generator import Population, SceneSettings, Split, generate
from fasdk_calibration.synthetic.species import ATTACKS, Species, parse_attacks, taking_turns
from fasdk_calibration.synthetic.writer import (
    generate_many,
    generate_mixed,
    split_sizes,
    worker_processes,
    write_dataset,
)

__all__ = [
    "ATTACKS",
    "ContactSheet",
    "Population",
    "SceneSettings",
    "Species",
    "Split",
    "draw_contact_sheet",
    "generate",
    "generate_many",
    "generate_mixed",
    "parse_attacks",
    "split_sizes",
    "taking_turns",
    "worker_processes",
    "write_dataset",
]
