"""View of a recording: what begins a presentation, and what is said of captures."""

from __future__ import annotations

import os
import sys

import pytest

from fasdk.reasons import Finding, Reason
from fasdk_tools.recording.preview import PreviewNumbers
from fasdk_tools.terminal import recording
from fasdk_tools.terminal.recording import RecordingView

SEEN = PreviewNumbers(120, 640.2, 150, 33.0, 0.004, 0.02)
DARK = (Finding(Reason.TOO_DARK, "more light on the face"),)


class Line:
    """Status line that keeps what it shows."""

    def __init__(self):
        self.text = ""

    def update(self, text):
        self.text = str(text)


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def keyboard(monkeypatch):
    """A keyboard: writing to it types."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as given, os.fdopen(writing, "w", buffering=1) as typed:
        monkeypatch.setattr(sys, "stdin", given)
        yield typed


def test_enter_begins_each_presentation_and_none_ahead(line, keyboard, capfd):
    view = RecordingView(line, 2, 5, None)
    keyboard.write("\n")  # before it was asked for
    assert not view.is_due(1)
    assert "fasdk: presentation 1 of 2: press Enter" in capfd.readouterr().err
    view.seen(SEEN, (), 0)
    assert line.text == (
        "waiting: face 120 px wide, 640 mm away, light 150 of 255, sharpness 33, "
        "infrared saturated 0%, depth holes 2%"
    )
    assert not view.is_due(1)
    keyboard.write("\n")
    assert view.is_due(1)
    view.seen(SEEN, DARK, 1)
    assert line.text.startswith("presentation 1 of 2, 1 of 5 captures: face 120 px wide")
    assert line.text.endswith("; too-dark: more light on the face")
    view.added("3f9a1c20-00001", 1)
    assert not view.is_due(2)
    keyboard.write("\n")
    assert view.is_due(2)


def test_a_pause_parts_presentations_without_a_keyboard(line, monkeypatch, capfd):
    now = [1000.0]
    monkeypatch.setattr(recording, "monotonic_ms", lambda: now[0])
    view = RecordingView(line, 2, 5, 3.0)
    assert view.is_due(1)
    assert not view.is_due(2)
    now[0] += 2900.0
    assert not view.is_due(2)
    now[0] += 200.0
    assert view.is_due(2)
    assert "step away; the next presentation begins in 3 s" in capfd.readouterr().err


def test_reasons_are_said_when_they_change(line, capfd):
    view = RecordingView(line, 1, 5, 0.0)
    assert view.is_due(1)
    for findings in (DARK, DARK, (), ()):
        view.seen(SEEN if findings else PreviewNumbers(), findings, 0)
    said = capfd.readouterr().err.splitlines()
    assert said == ["fasdk: not kept, too-dark: more light on the face", "fasdk: kept: no face"]
