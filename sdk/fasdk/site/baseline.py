"""Baseline of a site's statistics: what is usual there, and how often the unusual may be seen."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle

_Share = Annotated[float, Field(gt=0.0, lt=1.0)]
_RELIABILITY_RANK = 0.05  # of good pictures, 5 % have a lower reliability
_RELIABILITY_SHARE = 0.15


class Side(str, Enum):
    """Side on which a value is unusual."""

    LOW = "low"
    HIGH = "high"


class Event(BaseModel):
    """A group of captures whose value is beyond a limit, or of which most have a reason code.

    Attributes:
        name: Name of the value, such as "reliability.rgb", or a reason code.
        side: Side of the limit on which it counts; None for a reason code.
        limit: Limit of the value; None for a reason code.
        bound: Upper bound of the event's probability while nothing has changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    side: Side | None = None
    limit: float | None = Field(default=None, allow_inf_nan=False)
    bound: _Share

    @property
    def id(self) -> str:
        """Name and side."""
        return self.name if self.side is None else f"{self.name} {self.side.value}"

    def is_in(self, value: float) -> bool:
        """Return whether a value is beyond the limit."""
        if self.limit is None:
            return False
        return value < self.limit if self.side is Side.LOW else value > self.limit


class Baseline(BaseModel):
    """What is usual at a site.

    Attributes:
        groups: Groups of captures that it was made of; 0 for a bundle's own record.
        risk: Probability that any of the bounds is too low.
        events: What is watched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: int = Field(ge=0)
    risk: float = Field(ge=0.0, lt=1.0)
    events: tuple[Event, ...] = ()

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Baseline:
        """Return what a bundle's own record says, without a site's profile.

        Reliability is a rank among the development captures, so 5 % of good pictures are below
        0.05; three times as many are asked for before that is unusual. It has no record of a
        site's light, distances or rates of reasons.
        """
        manifest = bundle.manifest
        if not manifest.reliability or manifest.reliability_is_certainty:
            return cls(groups=0, risk=0.0)
        return cls(
            groups=0,
            risk=0.0,
            events=tuple(
                Event(
                    name=f"reliability.{modality.value}",
                    side=Side.LOW,
                    limit=_RELIABILITY_RANK,
                    bound=_RELIABILITY_SHARE,
                )
                for modality in manifest.modalities
            ),
        )
