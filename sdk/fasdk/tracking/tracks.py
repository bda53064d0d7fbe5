"""Registry of the tracks of one session, one per camera."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk.tracking.track import Track

if TYPE_CHECKING:
    from fasdk.tracking.policy import TrackPolicy
    from fasdk.tracking.track import FrameScorer


class Tracks:
    """Tracks of one session by camera, kept as long as the session.

    Args:
        session: Session that scores the frames.
        usual: Policy of a track that is made without one; None for the defaults.
    """

    def __init__(self, session: FrameScorer, usual: TrackPolicy | None = None) -> None:
        self._session = session
        self._usual = usual
        self._lock = threading.Lock()
        self._tracks: dict[str, Track] = {}

    def of(self, camera_id: str, policy: TrackPolicy | None = None) -> Track:
        """Return the track of a camera, which is made on the first call.

        Args:
            camera_id: Name of the camera.
            policy: Rules by which its frames make a verdict; None for those it has, or the
                usual ones.

        Raises:
            UsageError: The camera has a track with another policy, or the name is empty.
        """
        if not camera_id:
            raise UsageError("a track needs a camera_id: give each camera a name of its own")
        with self._lock:
            track = self._tracks.get(camera_id)
            if track is None:
                track = Track(self._session, camera_id, policy or self._usual)
                self._tracks[camera_id] = track
            elif policy is not None and policy != track.policy:
                raise UsageError(
                    f"camera {camera_id!r} has a track with {track.policy}, found "
                    f"{policy}: use one policy per camera in a session"
                )
            return track
