"""Kills of a door that writes an audit log: whoever ends it at any instant takes no decision back.

Who can kill the process, or cut the power, hopes to lose the line of a decision that was acted on,
or to leave a log that nobody can go on with. Answer: every decision that was given is in the log,
a line that was torn is told in the line after it, and one chain goes on through all kills. Two
hundred kills: `PYTHONPATH=tests python -m support.audit_kills --kills 200`.
"""

from __future__ import annotations

import pytest

from support.kill_runs import found_by


@pytest.mark.slow
def test_killed_doors_leave_a_chain_that_verifies_and_goes_on() -> None:
    found = found_by("audit_kills", 16)
    assert set(found) == {"run --audit", "writers"}
    for each in found.values():
        assert (each["broken"], each["kills"]) == ([], 16)
        assert each["printed"] > 0
        assert each["torn"] > 0  # lines were torn, and gone on from
    assert found["writers"]["files"] > 2  # files were rotated
