"""Verb profile that searches a policy and counts doors."""

from __future__ import annotations

import pytest

import fasdk
from fasdk_tools.profiling import searches
from fasdk_tools.profiling.doors import DoorsAnswer
from fasdk_tools.profiling.find import Candidate, FoundPolicy

from support import tiny_bundle

ON = ("--backend", "onnxruntime")
EASY, IMPOSSIBLE = "p90<=5000ms@400/s", "p90<=0.0001ms@400/s"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("searched") / "tiny.fasb")


@pytest.fixture(autouse=True)
def _one_candidate(monkeypatch):
    only = [Candidate(lanes=2, max_batch=2, max_wait_ms=0.0, threads=1)]
    monkeypatch.setattr(searches, "candidates", lambda *_, **__: only)


@pytest.mark.slow
def test_a_policy_that_meets_the_target_is_written_and_can_be_opened(fasdk_verb, tiny, tmp_path):
    out = tmp_path / "policy.json"
    ran = fasdk_verb("profile", tiny, "--find", EASY, "-o", out, *ON, "--json")
    assert ran.status == 0, ran.stderr
    found = FoundPolicy.model_validate_json(ran.stdout)
    assert (found.meets, len(found.confirmed_ms)) == (True, 5)
    with fasdk.open(tiny, backend="onnxruntime", batching=out) as liveness:
        assert (liveness.batching.lanes, liveness.batching.max_batch) == (2, 2)


def test_a_target_that_nothing_meets_ends_in_status_1_without_a_file(fasdk_verb, tiny, tmp_path):
    out = tmp_path / "policy.json"
    ran = fasdk_verb("profile", tiny, "--find", IMPOSSIBLE, "-o", out, *ON)
    assert (ran.status, ran.error_lines) == (1, [])
    assert ran.stdout.startswith("Nothing tried meets p90<=0.0001ms@400/s; the closest comes to")
    assert "fasdk.BatchingPolicy(lanes=2, max_batch=2, max_wait_ms=0)" in ran.stdout
    assert not out.exists()


@pytest.mark.slow
def test_doors_are_counted_and_held_to_what_was_asked_for(fasdk_verb, tiny):
    counted = ("--fps", "400", "--deadline", "0.001", *ON)
    ran = fasdk_verb("profile", tiny, "--doors", "1", *counted, "--json")
    assert ran.status == 1, ran.stderr
    found = DoorsAnswer.model_validate_json(ran.stdout)
    assert (found.asked, found.serves, found.meets) == (1, 0, False)
    assert [point.doors for point in found.curve] == [1]


@pytest.mark.slow
def test_doors_that_there_is_no_time_for_are_said(fasdk_verb, tiny):
    asked = ("--doors", "1", "--fps", "0.5", "--deadline", "500", "--within", "4s")
    ran = fasdk_verb("profile", tiny, *asked, *ON)
    assert (ran.status, ran.error_lines) == (1, [])
    assert ran.stdout.startswith("There was no time to find how many doors of 0.5 captures/s")
    assert "give more time (--within)" in " ".join(ran.stdout.split())


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("--find", "p99"), "is no target"),
        (("--find", EASY, "-o", "absent/policy.json"), "absent/policy.json"),
        (("--doors", "2"), "--doors needs --fps and --deadline"),
        (("--doors", "0", "--fps", "5", "--deadline", "50"), "--doors is 0"),
        (("--doors", "2", "--fps", "-5", "--deadline", "50"), "--fps is -5"),
        (("--within", "1m"), "--within is the time of --find and --doors"),
        (("--find", EASY, "--within", "300"), "--within '300' is no length of time"),
        (("--find", "p99<=9ms@2/s", "--within", "9s"), "or more time (--within)"),
    ],
)
def test_wrong_input_is_one_line(fasdk_verb, tiny, wrong, expected):
    ran = fasdk_verb("profile", tiny, *ON, *wrong)
    assert (ran.status, ran.stdout) == (2, "")
    assert len(ran.error_lines) == 1
    assert expected in ran.error_lines[0]


@pytest.fixture
def fasdk_verb(request):
    """The command line, under a name beside the package's."""
    return request.getfixturevalue("fasdk")
