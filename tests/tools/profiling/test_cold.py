"""Cold starts: how a child's line is read, and children that fail, hang or print nonsense."""

from __future__ import annotations

import json
import sys

import pytest

from fasdk.errors import BackendError
from fasdk_tools.profiling.cold import ColdRequest, measure_cold

from support import tiny_bundle

PARTS_MS = {
    "interpreter": 20.0,
    "import": 100.0,
    "open": 30.0,
    "plan": 40.0,
    "proof": 5.0,
    "first_decision": 8.0,
}
LINE = {
    "times_ns": [int(1e6 * sum([*PARTS_MS.values()][:n])) for n in range(7)],
    "score": 0.9,
    "reasons": [],
    "backend": "onnxruntime",
    "version": "1.23.2",
    "plan": "none",
}


def child(script: str) -> tuple[str, ...]:
    """Return a command that runs a script with no site packages, which would take long."""
    return (sys.executable, "-I", "-S", "-c", script)


def printing(text: str) -> tuple[str, ...]:
    return child(f"print({text!r})")


def request(**changes):
    return ColdRequest(**({"bundle": "door.fasb", "count": 1} | changes))


def test_a_start_is_split_into_its_parts_and_the_first_is_kept_apart():
    found = measure_cold(request(count=2), command=printing(json.dumps(LINE)))
    assert len(found.starts) == 2
    assert found.first.total_ms == pytest.approx(203.0)
    for name, ms in PARTS_MS.items():
        assert getattr(found.first, f"{name}_ms") == pytest.approx(ms)
        assert found.parts[name].median_ms == pytest.approx(ms)
    assert found.parts["total"].largest_ms == pytest.approx(203.0)
    assert (found.backend, found.version) == ("onnxruntime", "1.23.2")
    assert found.first.plan == "none"


def test_the_child_gets_the_request_as_one_argument():
    script = (
        "import json, sys; r = json.loads(sys.argv[1]); "
        f"d = json.loads({json.dumps(LINE)!r}); d['plan'] = r['bundle'] + ' ' + str(r['keys']); "
        "print(json.dumps(d))"
    )
    found = measure_cold(request(keys=("a.pem",)), command=child(script))
    assert found.first.plan == "door.fasb ['a.pem']"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            child("import sys; print('no such file', file=sys.stderr); sys.exit(2)"),
            r"ended with status 2: no such file",
        ),
        (child("import os; os._exit(9)"), "ended with status 9: it said nothing"),
        (child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), "ended with status -9"),
        (child("import time; time.sleep(60)"), "took more than 0.5 s"),
        (printing("warming up"), "printed 'warming up', expected one JSON line"),
        (printing(""), "printed '', expected one JSON line"),
        (printing(json.dumps(LINE | {"times_ns": [1, 2]})), "expected one JSON line"),
        (printing(json.dumps(LINE | {"score": None})), "expected one JSON line"),
        (("/nonexistent/python",), "cannot be made"),
    ],
    ids=[
        "fails",
        "dies",
        "is killed",
        "hangs",
        "prints nonsense",
        "prints nothing",
        "prints too few times",
        "prints no score",
        "is not there",
    ],
)
def test_a_child_that_does_not_do_its_part_is_one_error(command, said):
    timeout_s = 0.5 if "sleep" in str(command) else 60.0
    with pytest.raises(BackendError, match=said) as raised:
        measure_cold(request(timeout_s=timeout_s), command=command)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_real_process_opens_a_bundle_and_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    path = tiny_bundle.write(tmp_path / "tiny.fasb")
    found = measure_cold(ColdRequest(path, backend="onnxruntime", unsigned=True, count=3))
    for start in (found.first, *found.starts):
        parts = start.model_dump(exclude={"total_ms", "plan"})
        assert all(ms > 0.0 for ms in parts.values())
        assert sum(parts.values()) == pytest.approx(start.total_ms)
    assert min(start.proof_ms for start in found.starts) < found.first.proof_ms  # of a record
    assert found.backend == "onnxruntime"


@pytest.mark.slow
def test_a_real_process_that_cannot_open_its_bundle_says_why(tmp_path):
    with pytest.raises(BackendError, match=r"status 2: .*absent\.fasb"):
        measure_cold(ColdRequest(tmp_path / "absent.fasb", backend="onnxruntime", count=1))
