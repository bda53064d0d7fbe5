"""Health of a running door as a JSON file, written as it goes on."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError
from fasdk.site.baseline import Baseline
from fasdk.site.groups import Observation
from fasdk.site.health import HealthMonitor

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.decision import Decision
    from fasdk.site import SiteProfile

_EVERY_S = 60.0
_log = logging.getLogger("fasdk.site")


class HealthFile:
    """Health of one camera, in a file that is replaced every minute; holds no frame.

    Attributes:
        monitor: What counts and tests.

    Args:
        path: File to write.
        bundle: Bundle in force.
        profile: Profile of the site; None for the bundle's own record.
        is_recording: Whether the captures are a recording's.
    """

    def __init__(
        self, path: Path, bundle: Bundle, profile: SiteProfile | None, *, is_recording: bool
    ) -> None:
        baseline = None if profile is None else profile.baseline
        self._against = "the bundle's own record" if baseline is None else "the site profile"
        baseline = baseline or Baseline.of_bundle(bundle)
        self.monitor = HealthMonitor(baseline, is_recording=is_recording)
        self._path, self._bundle_id = path, bundle.id
        self._since_s = self._written_s = time.time()

    def observe(self, capture: Capture, decision: Decision) -> None:
        """Take in a capture and its decision, as `run_captures` hands them over."""
        observation = Observation.of(capture, decision, time.time())
        for moved in self.monitor.take_in(decision, observation):
            _log.warning(
                "moved since commissioning, at capture %d: %s (%s)",
                moved.capture,
                moved.meaning,
                moved.event.id,
            )
        if time.time() - self._written_s >= _EVERY_S:
            try:
                self.write()
            except FasdkError as error:
                # A full disk stops no door.
                _log.warning("the health of the door cannot be kept: %s", error)
                self._written_s = time.time()

    def camera_fault(self, decision: Decision) -> None:
        """Take in a fault of the camera."""
        self.monitor.camera_fault(decision)

    def write(self) -> None:
        """Write the file.

        Raises:
            FasdkError: It cannot be written.
        """
        self._written_s = time.time()
        document = {
            "bundle_id": self._bundle_id,
            "since_unix_s": int(self._since_s),
            "until_unix_s": int(self._written_s),
            "against": self._against,
            **self.monitor.document(),
        }
        with atomic_write(self._path) as file:
            file.write(f"{json.dumps(document, indent=1)}\n".encode())
