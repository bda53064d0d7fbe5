"""Combinations of modalities that one camera is known to show."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, read_bounded
from fasdk.capture import Modality
from fasdk.errors import FasdkError
from fasdk.home import existing_folder, home_folder
from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_log = logging.getLogger("fasdk.tracking")

_FOLDER = ("state", "combinations")


class ShownCombinations:
    """Combinations of the model's modalities that one camera may show; thread-safe.

    All of the model's modalities together are always known. The others are those given, or else
    the first combination that the camera shows, which is kept in the account's folder: after a
    restart with a sensor covered the camera still is the one that showed it.

    Args:
        camera_id: Name of the camera.
        known: Combinations it may show besides all modalities; empty for the first that it shows.
    """

    def __init__(self, camera_id: str, known: Sequence[tuple[Modality, ...]] = ()) -> None:
        self._camera_id = camera_id
        self._is_given = bool(known)
        self._lock = threading.Lock()  # of the fields below
        self._known = {frozenset(combination) for combination in known}
        self._has_read = False
        self._logged: set[frozenset[Modality]] = set()

    def finding(
        self, present: Sequence[Modality], modalities: Sequence[Modality]
    ) -> Finding | None:
        """Return the finding on a combination that is not known, logged once; None for others.

        Args:
            present: Modalities of the capture.
            modalities: Modalities of the model.
        """
        shown = tuple(m for m in modalities if m in present)
        if not shown:  # nothing the model looks at; the session says so
            return None
        combination = frozenset(shown)
        with self._lock:
            if not self._is_given:
                fault = self._learn(combination)
                if fault is not None:
                    return self._new(combination, fault)
            if len(shown) == len(modalities) or combination in self._known:
                return None
            known = " or ".join(sorted(map(_words, {*self._known, frozenset(modalities)})))
            fix = "see why a sensor is silent, or name the combination in TrackPolicy.combinations"
            if not self._is_given:
                fix += f", or remove {self._path()} for a rig that was changed"
            return self._new(combination, f"it showed {known} so far: {fix}")

    def _new(self, combination: frozenset[Modality], why: str) -> Finding:
        message = f"camera {self._camera_id} shows {_words(combination)} alone, {why}"
        if combination not in self._logged:
            self._logged.add(combination)
            _log.warning("%s", message)
        return Finding(Reason.NEW_COMBINATION, message)

    def _learn(self, combination: frozenset[Modality]) -> str | None:
        """Take the first combination shown, now or before a restart; return why it cannot."""
        if self._known:
            return None
        if not self._has_read:
            try:
                first = _read(self._camera_id)
            except (OSError, ValueError, FasdkError) as error:
                return f"and what it showed before cannot be read: {error}"
            self._has_read = True
            if first is not None:
                self._known = {first}
                return None
        self._known = {combination}
        try:
            path = home_folder(*_FOLDER) / _name(self._camera_id)
            with atomic_write(path, mode=0o600) as file:
                file.write(json.dumps({"modalities": _names(combination)}).encode())
        except (OSError, FasdkError) as error:
            _log.warning(
                "a restart will forget that camera %s shows %s: %s",
                self._camera_id,
                _words(combination),
                error,
            )
        return None

    def _path(self) -> Path:
        return home_folder(*_FOLDER) / _name(self._camera_id)


def _name(camera_id: str) -> str:
    # A camera's name may be an address, which is no file's name.
    return f"{hashlib.sha256(camera_id.encode()).hexdigest()[:32]}.json"


def _read(camera_id: str) -> frozenset[Modality] | None:
    folder = existing_folder(*_FOLDER)
    if folder is None:
        return None
    path = folder / _name(camera_id)
    try:
        text = read_bounded(path, FileKind.STATE)
    except FileNotFoundError:
        return None
    try:
        found = frozenset(Modality(name) for name in json.loads(text)["modalities"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: remove it") from error
    if not found:
        raise ValueError(f"{path} names no modality: remove it")
    return found


def _names(combination: frozenset[Modality]) -> list[str]:
    return [m.value for m in Modality if m in combination]


def _words(combination: frozenset[Modality]) -> str:
    return "+".join(_names(combination))
