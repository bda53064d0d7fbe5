"""Kills at random moments: whoever cuts the power gets neither half a file nor an older one.

Who can kill the process at any instant hopes for a bundle, plan, key, memory of revisions or count
of attempts that is half written, gone, or older than what was reported as written, or for a disk
that fills with parts.
Answer: each is whole, none is older, and the next write leaves nothing behind. A thousand kills:
`PYTHONPATH=tests python -m support.kills --kills 1000`.
"""

from __future__ import annotations

import pytest

from support.kill_runs import found_by


@pytest.mark.slow
def test_killed_writers_leave_whole_states_and_no_litter() -> None:
    found = found_by("kills", 300)
    assert (found["broken"], found["litter"]) == ([], 0)
    assert found["kills"] == 300
    # Without unnamed files kills do leave parts, so the clean-up was needed.
    assert any(count for what, count in found["parts"].items() if what.endswith(", named files"))
