"""Species of presentations: bona fide faces and species of attack instruments."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from fasdk.errors import DatasetError
from fasdk.settings import as_choices
from fasdk_calibration.datasets import BONA_FIDE_SPECIES


class Species(str, Enum):
    """Species of a presentation; every member but the first is an attack instrument (PAI).

    A member's position seeds its captures: a new one goes last.

    Roughly from the easiest to the hardest, each leaves the sensors this to go by:

    - PRINT_FLAT: no relief; ink that is clear or black in the near infrared.
    - PRINT_CURVED: the same on a sheet bent about its vertical axis, some cut out.
    - REPLAY: light of its own, moire, glass, next to no infrared returned, no relief.
    - PAPER_MASK: a print worn with the eyes cut out: a bent sheet on a real head.
    - FAKE_HEAD: relief, but one material in the infrared and dry, painted eyes.
    - RIGID_MASK: relief, smoother and thicker than a face, of another infrared reflectance.
    - PARTIAL_GLASSES: a real face, its eyes behind a strip or pair of printed eyes.
    - FLEXIBLE_MASK: a few millimeters of silicone that follow the wearer's face, eyes left free.
    - MAKEUP: a real face with another albedo: paint, or lines like a tattoo's.
    """

    BONA_FIDE = BONA_FIDE_SPECIES
    PRINT_FLAT = "print flat"
    PRINT_CURVED = "print curved"
    REPLAY = "replay"
    PAPER_MASK = "paper mask"
    RIGID_MASK = "rigid mask"
    FLEXIBLE_MASK = "flexible mask"
    FAKE_HEAD = "fake head"
    PARTIAL_GLASSES = "partial glasses"
    MAKEUP = "makeup"


ATTACKS = tuple(species for species in Species if species is not Species.BONA_FIDE)


def taking_turns(*attacks: Species | str) -> tuple[Species, ...]:
    """Return attacks with a bona fide presentation before each.

    Raises:
        UsageError: There is no such species.
    """
    taken = as_choices("attacks", attacks, Species)
    return tuple(kind for attack in taken for kind in (Species.BONA_FIDE, attack))


def parse_attacks(names: Iterable[str]) -> tuple[Species, ...]:
    """Return the attack species of these names, such as "print flat", in their order.

    Raises:
        DatasetError: A name is no attack's; bona fide takes every other turn whatever is named.
    """
    known = {species.value: species for species in ATTACKS}
    found = []
    for name in names:
        if name.strip() not in known:
            raise DatasetError(f"unknown attack species {name!r}: choose from {', '.join(known)}")
        found.append(known[name.strip()])
    return tuple(dict.fromkeys(found))
