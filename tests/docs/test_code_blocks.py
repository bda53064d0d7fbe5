"""Python code blocks of the quickstart, the README and the integration guide, executed."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

import fasdk
from fasdk.capture import monotonic_ms

from support import tiny_bundle

PROJECT = Path(__file__).parents[2]
FACE = (100, 60, 110, 130)


def blocks(name):
    text = (PROJECT / name).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def sharp_capture(level):
    """A capture the gates let through: live for a bright level, an attack for a dark one."""
    rng = np.random.default_rng(level)
    depth = np.full((240, 320), 1400, np.uint16)
    depth[50:200, 90:220] = 500 + rng.integers(0, 5, (150, 130))
    depth[50:200, 90:220] -= (30 * np.outer(np.hanning(150), np.hanning(130))).astype(np.uint16)
    light = rng.integers(level // 2, 2 * level + 1, (240, 320, 4), np.uint8)
    light = np.where((depth < 1000)[..., None], 1.15, 0.95) * light  # an outline in every sensor
    light = light.clip(0, 255).astype(np.uint8)
    taken_ms = dict.fromkeys(fasdk.Modality, monotonic_ms())
    rgb, ir = np.ascontiguousarray(light[..., :3]), np.ascontiguousarray(light[..., 3])
    return rgb, depth, ir, FACE, taken_ms


def paced_capture(level):
    """Return a sharp capture, later than the last by the time after which a frame counts."""
    time.sleep(0.06)
    return sharp_capture(level)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Run a page's program beside lobby.fasb; return what it did at the door."""
    tiny_bundle.write(tmp_path / "lobby.fasb")
    monkeypatch.chdir(tmp_path)

    def run(block, levels):
        did = []
        names = {
            "your_camera": lambda: map(paced_capture, levels),
            "open_the_door": lambda: did.append("open"),
            "show": did.append,
        }
        exec(compile(block, "page", "exec"), names)  # noqa: S102 - our own pages
        return did

    return run


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_program_opens_for_a_person_alone(page, shown):
    (block,) = blocks(page)
    assert shown(block, [120, 121, 122]).count("open") == 1
    assert "open" not in shown(block, [40, 41, 42])


def test_the_quickstart_shows_the_first_code(shown):
    (block,) = blocks("docs/quickstart.md")
    assert shown(block, [120]) == [fasdk.Reason.UNDECIDED]


def test_the_integration_guides_fragments_run_on_its_session(tmp_path):
    _, lock_out, swap = blocks("docs/guide/integrate.md")
    with fasdk.open(tiny_bundle.write(tmp_path / "lobby.fasb")) as lobby:
        names = {"fasdk": fasdk, "lobby": lobby}
        exec(compile(lock_out, "page", "exec"), names)  # noqa: S102 - our own page
        assert names["policy"].lock_out.spoofs == 3
        assert isinstance(names["track"], fasdk.Track)
        revised = tiny_bundle.write(tmp_path / "lobby-2.fasb", revision=2)
        swapped = swap.replace("/opt/fasdk/lobby-2.fasb", str(revised))
        assert swapped != swap
        exec(compile(swapped, "page", "exec"), names)  # noqa: S102 - our own page
        assert lobby.bundle.manifest.revision == 2
