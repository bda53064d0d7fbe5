"""Progress of a build in the log, for callers that show none of their own."""

from __future__ import annotations

import logging
import time

_EVERY_SECONDS = 10.0


class LoggedProgress:
    """Says what is built and, every ten seconds, how far it is; see `fasdk.progress.Progress`.

    On a small device a build takes many minutes, and a door silent for so long looks broken. The
    lines are warnings, which Python shows without being asked.

    Args:
        what: Description of the plan, such as "lobby.fasb on Orin".
        every_seconds: Seconds between two lines at least.
    """

    def __init__(self, what: str, every_seconds: float = _EVERY_SECONDS) -> None:
        self._what = what
        self._every_seconds = every_seconds
        self._log = logging.getLogger("fasdk.tensorrt")
        self._said = self._started = time.monotonic()
        self._log.warning(
            "%s: no plan of this TensorRT for this GPU yet; building one, which can take many "
            "minutes and is done once",
            what,
        )

    def update(self, phase: str, step: int, steps: int, /) -> None:
        """Say how far `phase` is, unless something was said a moment ago."""
        now = time.monotonic()
        if now - self._said < self._every_seconds:
            return
        self._said = now
        self._log.warning(
            "%s: building for %.0f s: %s %d/%d", self._what, now - self._started, phase, step, steps
        )
