"""Kills of a recording: whoever ends it at any instant spoils no presentation before the last.

Who can kill the process, or cut the power of the camera's computer, hopes for a list that names
frames which are not there, for half a presentation, or for frames of a person that no list names.
Answer: every presentation that was said to be added is whole, at most the one under way is lost,
and the next recording removes what was left of it. A thousand kills:
`PYTHONPATH=tests python -m support.record_kills --kills 1000`.
"""

from __future__ import annotations

import pytest

from support.kill_runs import found_by


@pytest.mark.slow
def test_killed_recordings_lose_the_presentation_under_way_alone() -> None:
    found = found_by("record_kills", 60)
    assert (found["broken"], found["litter"], found["kills"]) == ([], 0, 60)
    assert sum(found["parts"].values()) > 0  # kills do leave parts, so the clean-up was needed
