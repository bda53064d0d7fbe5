"""Registry of the tracks of one session, one per camera."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk.tracking.attempt_files import FileStore
from fasdk.tracking.attempts import AttemptAccount, AttemptStore, MemoryStore, worst_state
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track import Track

if TYPE_CHECKING:
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
            UsageError: The camera has a track with another policy, or the name is empty or none.
            HomeError: The folder for the account of its attempts cannot be used.
        """
        if not isinstance(camera_id, str) or not camera_id:
            raise UsageError(
                f"a track has the camera_id {camera_id!r}, expected a name: give each camera its "
                "own"
            )
        with self._lock:
            track = self._tracks.get(camera_id)
            if track is None:
                policy = policy or self._usual or TrackPolicy()
                account = account_of(camera_id, policy)
                track = Track(self._session, camera_id, policy, account=account)
                self._tracks[camera_id] = track
            elif policy is not None and policy != track.policy:
                raise UsageError(
                    f"camera {camera_id!r} has a track with {track.policy}, found "
                    f"{policy}: use one policy per camera in a session"
                )
            return track


def account_of(camera_id: str, policy: TrackPolicy) -> AttemptAccount:
    """Return the account of a camera's attempts, on disk where the policy says so.

    Args:
        camera_id: Name of the camera.
        policy: Rules of its track.

    Raises:
        HomeError: The folder for it cannot be used.
    """
    attempts, lock_out = policy.attempts, policy.lock_out
    store: AttemptStore = MemoryStore()
    if policy.on_disk and (attempts is not None or lock_out is not None):
        store = FileStore(camera_id, partial(worst_state, attempts, lock_out))
    return AttemptAccount(attempts, lock_out, store)
