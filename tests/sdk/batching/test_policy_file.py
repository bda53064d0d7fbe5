"""Batching policy as a file: what `fasdk.open` takes, and wrong files in one line."""

from __future__ import annotations

import dataclasses
import json

import pytest

import fasdk
from fasdk.batching import BatchingPolicy, WhenFull
from fasdk.batching.policy_file import PolicyFile
from fasdk.errors import UsageError
from fasdk.session import opening

POLICY = BatchingPolicy(lanes=3, max_batch=2, max_wait_ms=1.5, when_full=WhenFull.REJECT)


def test_a_policy_written_to_a_file_is_read_back(tmp_path):
    file = tmp_path / "policy.json"
    file.write_text(PolicyFile(batching=POLICY, threads=2, chosen_for="a door").model_dump_json())
    read = PolicyFile.load(file)
    assert (read.batching, read.threads, read.chosen_for) == (POLICY, 2, "a door")
    written = set(json.loads(file.read_text())["batching"])
    assert written == {field.name for field in dataclasses.fields(BatchingPolicy)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "batching policy: Invalid JSON"),
        ("[]", "batching policy: Input should be an object"),
        ("{}", "batching: Field required"),
        ('{"schema_version": 2, "batching": {}}', "schema_version: Input should be 1"),
        ('{"batching": {"lane": 2}}', "batching.lane: Unexpected keyword argument"),
        ('{"batching": {"lanes": "2"}}', "batching.lanes: Input should be a valid integer"),
        ('{"batching": {"lanes": 0}}', "batching lanes is 0, expected a whole number"),
        ('{"batching": {"max_wait_ms": 20000}}', "deadline_ms is 10000.0, expected more than"),
        ('{"batching": {}, "threads": -1}', "threads: Input should be greater than or equal to 0"),
        ('{"lanes": 2, "batching": {}}', "lanes: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_field(tmp_path, text, expected):
    file = tmp_path / "policy.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"policy\.json") as error:
        PolicyFile.load(file)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"absent\.json: cannot be read: No such file"):
        PolicyFile.load(tmp_path / "absent.json")


def test_open_takes_a_file_with_the_threads_it_names(bundle_path, tmp_path, monkeypatch):
    file = tmp_path / "policy.json"
    file.write_text(PolicyFile(batching=POLICY, threads=1).model_dump_json())
    asked = []
    opener = opening.open_engine

    def recording(*arguments, threads, **options):
        asked.append(threads)
        return opener(*arguments, threads=threads, **options)

    monkeypatch.setattr(opening, "open_engine", recording)
    for threads in (0, 2):
        with fasdk.open(
            bundle_path, backend="onnxruntime", batching=file, threads=threads
        ) as liveness:
            assert liveness.batching == POLICY
    assert asked == [1, 2]
