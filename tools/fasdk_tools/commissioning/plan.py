"""Plan of a commissioning: who or what steps before the camera, how often, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk.settings import require_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRIES = 8  # captures that are looked at for each that is wanted


class StepKind(str, Enum):
    """Who or what is before the camera in a step."""

    PERSON = "person"
    ATTACK = "attack"


@dataclass(frozen=True)
class Step:
    """One presentation.

    Attributes:
        kind: Whether a person or an attack instrument is shown.
        name: Number of the person, or the instrument.
        presentation: Number of the presentation of this person or instrument, from 1.
        presentations: How many there are of it.
        captures: Captures to score.
        most: Captures to look at before the step ends without as many.
    """

    kind: StepKind
    name: str
    presentation: int
    presentations: int
    captures: int
    most: int

    @property
    def is_first(self) -> bool:
        """Whether somebody or something else was before the camera until now."""
        return self.presentation == 1

    @property
    def instruction(self) -> str:
        """What the installer is asked to do."""
        times = f"{self.presentation} of {self.presentations}"
        if self.kind is StepKind.ATTACK:
            return f"hold the {self.name} before the camera, as an attacker would ({times})"
        if self.is_first:
            return f"person {self.name}: step before the camera, as for the door ({times})"
        return f"person {self.name}: step away, come back and look at the camera ({times})"


@dataclass(frozen=True)
class Plan:
    """Steps of a commissioning, in order.

    Attributes:
        steps: The steps.
    """

    steps: tuple[Step, ...]

    @classmethod
    def of(
        cls,
        *,
        people: int = 4,
        presentations: int = 5,
        captures: int = 5,
        attacks: Sequence[str] = (),
        attack_presentations: int = 5,
    ) -> Plan:
        """Return the plan for so many people, then the attack instruments one after another.

        Args:
            people: Persons who take part.
            presentations: How often each steps before the camera.
            captures: Captures to score each time.
            attacks: Attack instruments, such as "print" or "screen".
            attack_presentations: How often each is shown.

        Raises:
            UsageError: A number is less than 1, or an instrument is empty or named twice.
        """
        for name, number in (
            ("people", people),
            ("presentations", presentations),
            ("captures", captures),
            ("attack presentations", attack_presentations),
        ):
            require_whole(name, number)
        if "" in attacks or len(set(attacks)) < len(attacks):
            raise UsageError(f"attacks are {', '.join(attacks)!r}: name each once")
        shown = [(StepKind.PERSON, str(number + 1), presentations) for number in range(people)]
        shown += [(StepKind.ATTACK, name, attack_presentations) for name in attacks]
        return cls(
            tuple(
                Step(kind, name, number + 1, times, captures, captures * _TRIES)
                for kind, name, times in shown
                for number in range(times)
            )
        )
