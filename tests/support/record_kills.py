"""SIGKILL at random moments of recording presentations, as `support.kills` has it of other writers.

    PYTHONPATH=tests python -m support.record_kills --kills 1000

After each kill every presentation that was said to be added must be there with its pixels, and at
most the one under way more; after one more presentation nothing may be left that is not in a list.
Prints one JSON document, and exits with 1 on any miss.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from fasdk.capture import Modality
from fasdk_calibration.datasets import load_capture, open_dataset
from fasdk_calibration.datasets.presented import Presented
from fasdk_calibration.datasets.recording import FRAMES, LIST_NAME, open_recording

from support import recorded
from support.kills import BrokenError, Found, Target, file_systems, kill_repeatedly, report

SHOWN = Presented.named("attack", "print", "s01", "lobby")
FRAMES_EACH = 2
FOLDER_SIZE = 25  # presentations, so that opening a folder takes less time than writing into it
LONGEST_S = 0.08


class RecordingTarget(Target):
    """Presentations 1 to `number`, in folders of 25, each of other pixels."""

    def write(self, number: int) -> None:
        """See `Target.write`."""
        with (
            open_recording(self._folder_of(number)) as recording,
            recording.presentation(SHOWN, "made up for this test") as presentation,
        ):
            for capture in self._captures(number):
                presentation.add(capture)

    def read(self) -> int:
        """See `Target.read`: the folders before the last were read when they were."""
        folders = self._folders()
        if not folders:
            return 0
        before = FOLDER_SIZE * (len(folders) - 1)
        return before + self._checked(folders[-1], before)

    def names(self) -> set[str]:
        """See `Target.names`."""
        return {path.name for path in self._folders()}

    def litter(self) -> set[str]:
        """See `Target.litter`."""
        return {name for folder in self._folders()[-1:] for name in recorded.litter(folder)}

    def _checked(self, folder: Path, before: int) -> int:
        listing = folder / LIST_NAME
        if not listing.exists():
            return 0
        dataset = open_dataset(listing)
        for place, record in enumerate(dataset.records):
            index, which = divmod(place, FRAMES_EACH)
            expected = self._captures(before + index + 1)[which]
            found = load_capture(record, folder)
            if not all(np.array_equal(found.frame(m), expected.frame(m)) for m in Modality):
                raise BrokenError(f"{record.id} has other pixels than were recorded")
        if len(dataset.records) % FRAMES_EACH:
            raise BrokenError(f"{listing} holds a part of a presentation")
        return len(dataset.records) // FRAMES_EACH

    def _captures(self, number: int) -> list[recorded.Capture]:
        return [recorded.capture(FRAMES_EACH * number + which) for which in range(FRAMES_EACH)]

    def _folder_of(self, number: int) -> Path:
        return self.folder / f"{(number - 1) // FOLDER_SIZE:05d}"

    def _folders(self) -> list[Path]:
        """Return the folders in order, without one in which nothing is recorded yet."""
        found = sorted(self.folder.iterdir())
        is_begun = found and ((found[-1] / LIST_NAME).exists() or (found[-1] / FRAMES).exists())
        return found if is_begun else found[:-1]


def kill_recordings(kills: int, seed: int = 0) -> dict[str, Found]:
    """Kill recordings, and return what was found by what files are like.

    Args:
        kills: Number of kills.
        seed: Seed of the moments.
    """
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for files in file_systems():
            folder = Path(name) / files
            folder.mkdir()
            each = -(-kills // 2)
            found[files] = kill_repeatedly(RecordingTarget(folder), each, rng, LONGEST_S)
    return found


def main() -> int:
    """Print what kills left; return 1 on any miss."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return report(kill_recordings(options.kills, options.seed))


if __name__ == "__main__":
    sys.exit(main())
