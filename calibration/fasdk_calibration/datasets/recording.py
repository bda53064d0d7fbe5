"""Recording of presentations: a folder whose capture list grows by whole presentations.

    captures.jsonl                     the list, with a line for each consent
    frames/3f9a1c20-00001/00.rgb.png   the frames of one presentation

A presentation's frames are written first, in a folder that is marked as unfinished; then the list
is replaced by one that names them, in one step; then the mark is removed. Whatever a process that
is killed leaves unfinished is removed when the folder is opened again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, is_folder, read_bounded
from fasdk.errors import DatasetError
from fasdk.file_lock import locked_folder
from fasdk.plain_text import plain_line
from fasdk_calibration.datasets.capture_list import json_line
from fasdk_calibration.datasets.dataset import Dataset, open_dataset
from fasdk_calibration.datasets.frames import encode_png
from fasdk_calibration.datasets.presented import Presented
from fasdk_calibration.datasets.records import LabeledCapture
from fasdk_calibration.datasets.writing import record_of

if TYPE_CHECKING:
    from fasdk.capture import Capture, Modality

LIST_NAME, FRAMES = "captures.jsonl", "frames"
_MARK = ".unfinished"
_NAME = re.compile(r"[0-9a-f]{8}-[0-9]{5}")
_HEADER = re.compile(r"# fasdk record ([0-9a-f]{8})")
_CONSENT = re.compile(r'# consent of ("(?:[^"\\]|\\.)*"): (.*), said on \S+')


class Recording:
    """Folder of recorded presentations, locked against other processes while it is open.

    Made by `open_recording`.

    Attributes:
        path: Path of its list.
        dataset: What the list held when it was opened; None where there was none.
    """

    def __init__(self, folder: Path, text: str, dataset: Dataset | None) -> None:
        self.path = folder / LIST_NAME
        self.dataset = dataset
        self._folder = folder / FRAMES
        self._text = text
        found = _HEADER.match(text)
        self._id = found[1] if found else secrets.token_hex(4)
        self._shown = {} if dataset is None else _shown_in(dataset)
        self._remove_unfinished()
        numbers = [0]
        for name in (*self._shown, *_names_in(self._folder)):
            of, _, number = name.rpartition("-")
            if of == self._id and number.isdecimal():
                numbers.append(int(number))
        self._last = max(numbers)

    def count(self, presented: Presented) -> int:
        """Return how many presentations of the same kind and person it holds."""
        return list(self._shown.values()).count(presented)

    def has_consent(self, subject: str) -> bool:
        """Return whether the list says that a person agreed to be recorded."""
        return any(name == subject for name, _ in self._consents())

    def presentation(self, presented: Presented, consent: str | None = None) -> Presentation:
        """Return a new presentation; entered as a context, it is added at the end, or not at all.

        Args:
            presented: Who or what it shows.
            consent: What the person agreed to, kept in the list; None where the list has it.

        Raises:
            DatasetError: Nothing says that the person agreed, or `consent` is more than one line.
        """
        if consent is None and not self.has_consent(presented.subject):
            raise DatasetError(
                f"{self.path} does not say that {presented.subject} agreed to be recorded: give "
                "--consent with what was agreed and where that is kept, such as "
                "--consent 'form of 30 November, in the office'; for a thing that shows nobody, "
                "say so there"
            )
        if consent is not None and (not consent.strip() or plain_line(consent) != consent):
            raise DatasetError(f"consent is {consent!r}, expected a sentence on one line")
        self._last += 1
        name = f"{self._id}-{self._last:05d}"
        return Presentation(self, self._folder / name, presented, consent)

    def add(self, presentation: Presentation) -> None:
        """Add a presentation whose frames are written to the list.

        Raises:
            DatasetError: The list was changed meanwhile by something else.
            FasdkError: The disk is full or the folder not writable; the list is as it was.
        """
        if _read_text(self.path) != self._text:
            raise DatasetError(
                f"{self.path} was changed by something else during the recording: record into a "
                "folder of its own, or finish editing the list first"
            )
        text = self._text or f"# fasdk record {self._id}\n"
        text += "" if text.endswith("\n") else "\n"
        text += self._new_consent(presentation) + "".join(presentation.lines)
        try:
            with atomic_write(self.path, mode=0o600) as file:
                file.write(text.encode())
        finally:
            # It may be written and an error raised all the same, where its folder is not flushed.
            if _read_text(self.path) == text:
                self._text = text
                self._shown[presentation.name] = presentation.presented

    def holds(self, presentation: Presentation) -> bool:
        """Return whether the list names a presentation."""
        return presentation.name in self._shown

    def _consents(self) -> list[tuple[str, str]]:
        found = map(_CONSENT.fullmatch, self._text.split("\n"))
        return [(_subject_of(match[1]), match[2]) for match in found if match is not None]

    def _new_consent(self, presentation: Presentation) -> str:
        subject, said = presentation.presented.subject, presentation.consent
        if said is None or (subject, said) in self._consents():
            return ""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return f"# consent of {json.dumps(subject)}: {said}, said on {now}\n"

    def _remove_unfinished(self) -> None:
        """Remove the frames of presentations that were cut short, and marks of those that count."""
        for name in filter(_NAME.fullmatch, _names_in(self._folder)):
            folder = self._folder / name
            if name in self._shown:
                (folder / _MARK).unlink(missing_ok=True)
                continue
            inside = [entry for entry in _names_in(folder) if not entry.startswith(".")]
            if (folder / _MARK).exists() or not inside:
                _remove(folder)
                if folder.exists():
                    raise DatasetError(
                        f"{folder} holds a presentation that was cut short and cannot be removed: "
                        "remove it, or make it writable"
                    )
        if not self._text and _names_in(self._folder):
            raise DatasetError(
                f"{self._folder} holds frames and {self.path} does not exist: put the list back, "
                "or record into another folder"
            )


class Presentation:
    """Presentation that is being recorded.

    Attributes:
        name: Its name in the list.
        presented: Who or what it shows.
        consent: What the person agreed to; None where the list has it.
        lines: Its lines of the list so far, one a capture.
    """

    def __init__(
        self, recording: Recording, folder: Path, presented: Presented, consent: str | None
    ) -> None:
        self.name = folder.name
        self.presented = presented
        self.consent = consent
        self.lines: list[str] = []
        self._recording = recording
        self._folder = folder

    def add(self, capture: Capture) -> None:
        """Write a capture's frames.

        Raises:
            FasdkError: The disk is full or the folder not writable.
        """
        if not self.lines:
            self._begin()
        number = f"{len(self.lines):02d}"
        paths: dict[Modality, str] = {}
        for modality in capture.present:
            name = f"{number}.{modality.value}.png"
            with atomic_write(self._folder / name, mode=0o600) as file:
                file.write(encode_png(capture.frame(modality)))
            paths[modality] = f"{FRAMES}/{self.name}/{name}"
        shown = self.presented
        item = LabeledCapture(
            capture=capture,
            id=f"{self.name}-{number}",
            label=shown.label,
            species=shown.species,
            subject=shown.subject,
            domain=shown.domain,
            presentation=self.name,
        )
        self.lines.append(json_line(record_of(item, paths)))

    def __enter__(self) -> Presentation:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Add it to the list; after an error, or without a capture, remove its frames."""
        try:
            if error is None and self.lines:
                self._recording.add(self)
        finally:
            if self._recording.holds(self):
                with suppress(OSError):  # the next opening removes the mark
                    (self._folder / _MARK).unlink()
            elif is_folder(self._folder):
                _remove(self._folder)

    def _begin(self) -> None:
        try:
            self._folder.parent.mkdir(mode=0o700, exist_ok=True)
            self._folder.mkdir(mode=0o700)  # never one that is there
        except OSError as error:
            raise DatasetError(f"cannot make folder {self._folder}: {error.strerror}") from error
        with atomic_write(self._folder / _MARK):
            pass


@contextmanager
def open_recording(folder: Path) -> Iterator[Recording]:
    """Open a folder for recording; it is made where it does not exist.

    A folder that is made and gets no presentation is removed again.

    Raises:
        DatasetError: It cannot be made, or holds a list that no recording wrote, that was edited
            so that it cannot be read or is of another recording, or whose frames are missing.
        StateError: Another process records into it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(mode=0o700)
        is_new = True
    except FileExistsError:
        is_new = False
    except OSError as error:
        raise DatasetError(
            f"cannot make folder {folder}: {error.strerror}: give one in a folder that exists and "
            "is writable"
        ) from error
    if not is_folder(folder):
        raise DatasetError(f"{folder} is no folder: give a folder to record into")
    try:
        with locked_folder(folder):
            path = folder / LIST_NAME
            text = _read_text(path)
            try:
                yield Recording(folder, text, _checked(path, text) if text else None)
            finally:
                with suppress(OSError):  # there are frames in it
                    (folder / FRAMES).rmdir()
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _checked(path: Path, text: str) -> Dataset | None:
    """Return what the list of a recording holds; None where all its captures were removed.

    Raises:
        DatasetError: No recording wrote it, it cannot be read, or it is of another recording.
    """
    header = _HEADER.fullmatch(text.partition("\n")[0])
    if header is None:
        raise DatasetError(
            f"{path}:1: is no list of a recording, which begins with `# fasdk record`: record into "
            "another folder"
        )
    is_empty = True
    for number, line in enumerate(text.split("\n"), 1):
        words = line.strip()
        if words and not words.startswith("#"):
            is_empty = False
            if not (words.startswith("{") and words.endswith("}")):
                raise DatasetError(
                    f"{path}:{number}: is no JSON object: write one capture a line, as the other "
                    "lines are, or remove the line"
                )
    if is_empty:
        return None
    dataset = open_dataset(path)
    for record in dataset.records:
        if record.presentation.rpartition("-")[0] != header[1]:
            raise DatasetError(
                f"{path}:{dataset.lines[record.id]}: presentation {record.presentation!r} is of "
                f"another recording than {header[1]}: keep its lines and frames in a folder of "
                "their own"
            )
    dataset.require_files()
    return dataset


def _shown_in(dataset: Dataset) -> dict[str, Presented]:
    """Return what each presentation of a list shows.

    Raises:
        DatasetError: Two lines of one presentation contradict.
    """
    found: dict[str, Presented] = {}
    for record in dataset.records:
        shown = Presented(record.label, record.species, record.subject, record.domain)
        if found.setdefault(record.presentation, shown) != shown:
            raise dataset.fault(
                record,
                f"presentation {record.presentation} has another label, species, subject or domain "
                "in an earlier line: give all its lines the same",
            )
    return found


def _read_text(path: Path) -> str:
    """Return a list as it is, "" where there is none.

    Raises:
        DatasetError: It cannot be read, or is no UTF-8.
    """
    if not os.path.lexists(path):
        return ""
    try:
        return read_bounded(path, FileKind.LIST).decode("utf-8")
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no UTF-8 text: save it as UTF-8") from error


def _names_in(folder: Path) -> list[str]:
    if not is_folder(folder):
        return []
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise DatasetError(f"cannot read folder {folder}: {error.strerror}") from error


def _subject_of(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:  # edited by hand
        return quoted.strip('"')


def _remove(folder: Path) -> None:
    """Remove an unfinished presentation, its mark last: what cannot be removed is tried again."""
    with suppress(OSError):
        for path in sorted(folder.iterdir(), key=lambda each: each.name == _MARK):
            path.unlink()
        folder.rmdir()
