"""Limits of the service on sizes, rates, connections and times."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fasdk.errors import UsageError
from fasdk.settings import require_ms, require_whole

MIB = 2**20
_MOST_S = 86_400.0


@dataclass(frozen=True)
class ServeLimits:
    """Limits of the service; what is over one is refused, and never LIVE.

    Attributes:
        deadline_ms: Longest time from a capture's arrival to its answer, in milliseconds; a request
            may ask for less.
        body_bytes: Largest body of a request and largest message of a camera, in bytes.
        pixels: Most pixels of a frame, in each modality.
        captures: Captures that are received or judged at once, of all connections.
        connections: Connections at once.
        cameras: Names of cameras that a run of the service takes; each has a track for good.
        rate_per_s: Captures a second, of all connections, over a second.
        first_request_s: Time in which a new connection must send the head of a request, in seconds.
        idle_s: Time for which a connection without a request stays open, in seconds.
        silence_s: Longest time between two frames of a camera's stream, in seconds.

    Raises:
        UsageError: A number is out of its range.
    """

    deadline_ms: float = 1000.0
    body_bytes: int = 32 * MIB
    pixels: int = 2**23
    captures: int = 8
    connections: int = 64
    cameras: int = 8
    rate_per_s: float = 200.0
    first_request_s: float = 5.0
    idle_s: float = 60.0
    silence_s: float = 10.0

    def __post_init__(self) -> None:
        """Check every limit on construction."""
        require_ms("deadline_ms", self.deadline_ms, least=10.0, most=600_000.0)
        for name in ("body_bytes", "pixels", "captures", "connections", "cameras"):
            require_whole(name, getattr(self, name))
        for name, most in (
            ("rate_per_s", 1e6),
            ("first_request_s", _MOST_S),
            ("idle_s", _MOST_S),
            ("silence_s", _MOST_S),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 < value <= most):
                raise UsageError(
                    f"{name} is {value!r}, expected a number above 0 and at most {most:,.0f}"
                )
