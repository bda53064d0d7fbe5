"""Who or what a recorded presentation shows."""

from __future__ import annotations

from dataclasses import dataclass

from fasdk.errors import DatasetError
from fasdk.lists.class_words import means_bona_fide
from fasdk.plain_text import plain_line
from fasdk_calibration.datasets.labels import names_no_attack
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES, Label


@dataclass(frozen=True)
class Presented:
    """Who or what presentations show.

    Attributes:
        label: Kind of the presentations.
        species: Attack species; "bona fide" for bona fide.
        subject: Person presented, as given.
        domain: Site of the recording.
    """

    label: Label
    species: str
    subject: str
    domain: str

    @classmethod
    def named(cls, label: str, species: str | None, subject: str, domain: str) -> Presented:
        """Return what names say, checked as a list's reader reads them.

        Args:
            label: Bona fide or attack, in any word that lists may use.
            species: Attack species; None for bona fide.
            subject: Person presented.
            domain: Site of the recording.

        Raises:
            DatasetError: The label is no known word, it and the species contradict, an attack has
                no species, or a name is empty or more than one line.
        """
        for what, name in (("species", species), ("subject", subject), ("domain", domain)):
            if name is not None and (not name.strip() or plain_line(name) != name):
                raise DatasetError(f"{what} is {name!r}, expected a name on one line")
        is_live = means_bona_fide(label)
        if is_live is None:
            raise DatasetError(f"label is {label!r}, expected bona fide or attack")
        if is_live:
            if species is not None and not names_no_attack(species):
                raise DatasetError(
                    f"label is {label!r} and species {species!r}: a bona fide presentation has no "
                    "species, leave it out, or label it attack"
                )
            return cls(Label.BONA_FIDE, BONA_FIDE_SPECIES, subject.strip(), domain.strip())
        if species is None or names_no_attack(species):
            raise DatasetError(
                f"label is {label!r} and species {species or 'not given'}: name what was presented "
                "in the place of a face, such as print, screen or mask"
            )
        return cls(Label.ATTACK, species.strip(), subject.strip(), domain.strip())
