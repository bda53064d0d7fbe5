"""Claims of `make verify-trust` about the agreement of sensors."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

VERIFY = Path(__file__).resolve().parents[3] / "tools" / "verify"


@pytest.fixture
def trust(monkeypatch):
    monkeypatch.syspath_prepend(str(VERIFY))
    sys.modules.pop("trust", None)
    return importlib.import_module("trust")


@pytest.mark.parametrize(("refused", "ok"), [(10, True), (11, False)])
def test_more_than_half_a_percent_of_people_refused_is_a_miss(trust, monkeypatch, refused, ok):
    line = {
        "false_alarms": {"found": refused, "of": 2000, "rate": 0.005},  # rounded
        "false_alarms_upper_95": 0.0085,
        "found": {"depth frozen": {"standing": {"rate": 0.031}, "moving": {"rate": 0.972}}},
    }
    monkeypatch.setattr(trust, "bench_json", lambda *_: line)
    (claim,) = trust.agreement_claims()
    assert claim.ok is ok
    assert "at most 0.85 %" in claim.note
    assert "depth frozen: standing 3.1 %, moving 97.2 %" in claim.note
