"""Accounts of attempts: schedule, forgiveness and files."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from fasdk.errors import AttemptError, UsageError
from fasdk.tracking import attempt_files
from fasdk.tracking.attempts import AttemptAccount, AttemptState, MemoryStore
from fasdk.tracking.policy import AttemptPolicy

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "integrate.md"


def test_waits_grow_up_to_the_longest():
    policy = AttemptPolicy(first_wait_ms=100.0, growth=3.0, longest_wait_ms=1000.0)
    waits = [round(policy.wait_ms(n), 6) for n in range(6)]
    assert waits == [0.0, 100.0, 300.0, 900.0, 1000.0, 1000.0]
    assert policy.wait_ms(10**9) == 1000.0
    assert policy.most_failed == 4
    assert policy.attempts_within(1300.0) == 4  # at 0, 100, 400 and 1300


def test_the_guides_figures_are_the_schedule():
    policy, text = AttemptPolicy(), " ".join(GUIDE.read_text("utf-8").split())
    found = re.search(r"That is (\d+) attempts in ten minutes and (\d+) in an hour", text)
    counts = [policy.attempts_within(ms) for ms in (600_000.0, 3_600_000.0)]
    assert [int(number) for number in found.groups()] == counts
    assert f"takes {policy.raise_nats:g} nats of evidence more" in text
    waits = [policy.wait_ms(n) / 1e3 for n in (1, 2, 3)] + [policy.longest_wait_ms / 60e3]
    assert (
        "judges nobody for {:g} s, then for {:g} s, {:g} s and so on up to {:g} min".format(*waits)
        in text
    )


def test_time_without_an_attempt_takes_them_off_one_by_one():
    account = AttemptAccount(AttemptPolicy(), None, MemoryStore())
    now_ms = 0.0
    for _ in range(3):
        now_ms += account.standing(now_ms).wait_ms
        assert account.begin(now_ms, now_ms).wait_ms == 0.0
    left = [account.standing(now_ms + n * 600_000.0).failed for n in range(5)]
    assert left == [3, 2, 1, 0, 0]
    assert account.standing(now_ms + 1200_000.0).raises == 1
    account.begin(now_ms + 1200_000.0, now_ms + 1200_000.0)
    assert account.standing(now_ms + 1200_000.0).failed == 2


def test_a_live_and_a_release_clear_them():
    for clear in ("live", "release"):
        account = AttemptAccount(AttemptPolicy(), None, MemoryStore())
        account.begin(0.0, 0.0)
        assert account.standing(0.0).wait_ms > 0.0
        getattr(account, clear)(1.0)
        assert account.standing(1.0).wait_ms == 0.0
        assert account.standing(1.0).failed == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"first_wait_ms": -1}, "first_wait_ms is -1"),
        ({"first_wait_ms": 2.0, "longest_wait_ms": 1.0}, "longest_wait_ms is 1.0"),
        ({"growth": 0.5}, "growth is 0.5, expected a number of at least 1"),
        ({"growth": math.nan}, "growth is nan"),
        ({"forgive_ms": 300_000.0}, "expected more than longest_wait_ms"),
        ({"raise_nats": "2"}, "raise_nats is '2'"),
        ({"raise_frames": -1}, "raise_frames is -1"),
        ({"most_raises": 1.5}, "most_raises is 1.5"),
        ({"least_frame_ms": math.inf}, "least_frame_ms is inf"),
    ],
)
def test_a_schedule_out_of_range_is_refused(change, words):
    with pytest.raises(UsageError, match=words):
        AttemptPolicy(**change)


@pytest.mark.parametrize(
    "name",
    ["lobby", "opencv:/dev/video0", "../../etc", "Tür 1", "\ud800", "-"],
    ids=ascii,
)
def test_each_camera_has_a_file_of_its_own_in_the_folder(name, tmp_path):
    store = attempt_files.FileStore(name, lambda _: AttemptState(), tmp_path)
    store.update(lambda state: state.model_copy(update={"failed": 2}), 5.0)
    assert store.path.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [store.path.name]
    again = attempt_files.FileStore(name, lambda _: AttemptState(), tmp_path)
    assert again.read(6.0).failed == 2
    assert attempt_files.file_name(name) != attempt_files.file_name(name + "x")


def test_releasing_a_camera_without_an_account_names_where_to_look():
    with pytest.raises(
        AttemptError, match=r"'garage' has no account of attempts in .*`fasdk attempts`"
    ):
        attempt_files.release_camera("garage")


@pytest.mark.parametrize(
    "changed",
    [
        {"failed": 10**400},
        {"last_ms": math.inf},
        {"spoofs_ms": [math.nan]},
        {"locked_until_ms": math.nan},  # no comparison holds for it, so that nothing is locked
        {"locked_until_ms": -math.inf},
    ],
)
def test_state_of_no_possible_count_or_time_is_refused(changed):
    text = json.dumps(AttemptState().model_dump() | changed)
    with pytest.raises(ValidationError):
        AttemptState.model_validate_json(text)
    locked = AttemptState(locked_until_ms=math.inf)
    assert AttemptState.model_validate_json(locked.model_dump_json()) == locked
