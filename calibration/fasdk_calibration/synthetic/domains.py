"""Synthetic domains that differ as data sets do: in people, rooms, sensors and attacks.

Each stands where one data set stands in the protocols of the MMDG benchmark (Lin et al., CVPR
2024), named by its letter: W for WMCA, C for CeFA, P for PADISI, S for CASIA-SURF. What is copied
is the kind of difference (which attacks, whose faces, what the sensors do, whether the background
was cut away), not the data: nothing measured here shows how a model does on the data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fasdk.errors import DatasetError
from fasdk_calibration.synthetic.generator import Population, SceneSettings
from fasdk_calibration.synthetic.sensors import LightingRange, SensorSettings
from fasdk_calibration.synthetic.species import Species, taking_turns


@dataclass(frozen=True)
class SyntheticDomain:
    """A population captured by one make of sensors in one kind of room.

    Attributes:
        letter: Letter of the data set whose place it takes in the protocols.
        description: Difference from the other domains, in a few words.
        scene: Settings the captures are drawn with.
    """

    letter: str
    description: str
    scene: SceneSettings

    def population(self, seed: int) -> int:
        """Return the generator's seed: no two domains share a person, whatever their seeds."""
        return len(DOMAINS) * seed + [domain.letter for domain in DOMAINS].index(self.letter)


DOMAINS = (
    SyntheticDomain(
        letter="W",
        description="office, stereo camera, every kind of attack, masks most",
        scene=SceneSettings(
            width=192,
            height=144,
            domain="office",
            turns=taking_turns(
                Species.RIGID_MASK,
                Species.PRINT_FLAT,
                Species.FLEXIBLE_MASK,
                Species.REPLAY,
                Species.PAPER_MASK,
                Species.FAKE_HEAD,
                Species.RIGID_MASK,
                Species.PARTIAL_GLASSES,
            ),
        ),
    ),
    SyntheticDomain(
        letter="C",
        description="outdoors, darker skin, hard sun with infrared in it, replays most",
        scene=SceneSettings(
            width=192,
            height=144,
            distance_mm=(450.0, 750.0),
            domain="outdoors",
            turns=taking_turns(
                Species.REPLAY, Species.PRINT_FLAT, Species.REPLAY, Species.RIGID_MASK
            ),
            melanin_shape=(4.0, 1.6),
            light=LightingRange(
                key=(0.6, 0.95),
                warmth=(0.0, 0.25),
                exposure=(0.22, 0.5),
                nir_gain=(0.8, 1.0),
                nir_ambient=0.6,
            ),
            sensors=SensorSettings(
                rgb_noise=1.5, rgb_full=0.8, nir_noise=1.5, depth_noise=2.0, misregistration_px=2.5
            ),
        ),
    ),
    SyntheticDomain(
        letter="P",
        description="laboratory, coarse biased depth, strong infrared, masks and partial attacks",
        scene=SceneSettings(
            width=192,
            height=144,
            distance_mm=(420.0, 560.0),
            domain="laboratory",
            turns=taking_turns(
                Species.RIGID_MASK,
                Species.FLEXIBLE_MASK,
                Species.PRINT_FLAT,
                Species.MAKEUP,
                Species.PARTIAL_GLASSES,
                Species.FAKE_HEAD,
            ),
            light=LightingRange(
                key=(0.1, 0.4),
                warmth=(-0.25, -0.05),
                exposure=(0.12, 0.22),
                nir_gain=(1.1, 1.25),
                nir_ambient=0.0,
            ),
            sensors=SensorSettings(
                rgb_blur=0.4,
                nir_noise=0.6,
                nir_full=0.85,
                depth_noise=2.5,
                depth_scale=1.03,
                depth_step_mm=5,
                flying=0.6,
            ),
        ),
    ),
    SyntheticDomain(
        letter="S",
        description="studio, lighter skin, background cut away, prints alone",
        scene=SceneSettings(
            width=192,
            height=144,
            domain="studio",
            turns=taking_turns(Species.PRINT_FLAT, Species.PRINT_CURVED),
            melanin_shape=(1.0, 4.0),
            light=LightingRange(
                key=(0.15, 0.5),
                warmth=(-0.08, 0.1),
                exposure=(0.2, 0.34),
                nir_gain=(0.65, 0.85),
                nir_ambient=0.05,
            ),
            sensors=SensorSettings(
                rgb_noise=0.7, depth_noise=1.5, depth_step_mm=2, flying=0.15, misregistration_px=0.5
            ),
            face_only=True,
        ),
    ),
)


def get_domain(letter: str) -> SyntheticDomain:
    """Return the domain that takes a data set's place.

    Raises:
        DatasetError: There is none of that letter.
    """
    for domain in DOMAINS:
        if domain.letter == letter:
            return domain
    letters = ", ".join(domain.letter for domain in DOMAINS)
    raise DatasetError(f"unknown synthetic domain {letter!r}: choose one of {letters}")


def populations_of(
    letters: Sequence[str],
    seed: int,
    *,
    size: tuple[int, int] | None = None,
    attacks: tuple[Species, ...] = (),
    frames_per_presentation: int = 1,
) -> tuple[Population, ...]:
    """Return the populations of some domains, or of the general one, changed as asked for.

    Args:
        letters: Domains; none means the general population.
        seed: Seed of all populations; no two share a person.
        size: Frame width and height in pixels, or None for each domain's own.
        attacks: Species to take turns with bona fide, or none for each domain's own.
        frames_per_presentation: Captures that one presentation holds.

    Raises:
        DatasetError: A letter is unknown or named twice, or the frame is too small.
    """
    if len(set(letters)) < len(letters):
        raise DatasetError(f"domains {','.join(letters)} name one twice")
    changes: dict[str, Any] = {"frames_per_presentation": frames_per_presentation}
    if size is not None:
        changes |= {"width": size[0], "height": size[1]}
    if attacks:
        changes["turns"] = taking_turns(*attacks)
    if not letters:
        return (Population(seed, replace(SceneSettings(), **changes)),)
    chosen = [get_domain(letter) for letter in letters]
    return tuple(Population(d.population(seed), replace(d.scene, **changes)) for d in chosen)
