"""Integration guide: its loop, tables and systemd unit against the code."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import fasdk
import fasdk.batching
from fasdk.bundle.revisions import SYSTEM_FILE
from fasdk.bundle.signing import generate_key
from fasdk.capture import FaceBox
from fasdk.capture_loop import FixedFace
from fasdk.errors import TrustError
from fasdk.reasons import Reason, Remedy

from support import tiny_bundle
from support.requirements import Requirement

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "guide" / "integrate.md").read_text("utf-8")
DOOR = PROJECT / "tools" / "kiosk" / "door.py"
UNIT = PROJECT / "tools" / "kiosk" / "fasdk-door.service"
FACE = FaceBox(100, 60, 110, 130)


def section(title):
    return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(text):
    return re.findall(r"^\| `?([\w-]+)`? \|", text, flags=re.MULTILINE)


@pytest.fixture
def people(tmp_path):
    """Four sharp captures of a live face, then four of an attack."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "people"
    folder.mkdir()
    for number, level in enumerate([120] * 4 + [40] * 4):
        depth = np.full((240, 320), 1400, np.uint16)
        depth[50:200, 90:220] = 500 + rng.integers(0, 5, (150, 130))
        depth[50:200, 90:220] -= (30 * np.outer(np.hanning(150), np.hanning(130))).astype(np.uint16)
        light = rng.integers(level // 2, 2 * level + 1, (240, 320, 4), np.uint8)
        light = np.where((depth < 1000)[..., None], 1.15, 0.95) * light  # an outline in each sensor
        light = light.clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.rgb.png"), light[..., :3])
        cv2.imwrite(str(folder / f"{number}.depth.png"), depth)
        cv2.imwrite(str(folder / f"{number}.ir.png"), light[..., 3])
    return folder


@pytest.fixture
def keys(tmp_path):
    private = tmp_path / "vendor.pem"
    public, _ = generate_key(private)
    return private, public


@pytest.fixture
def run_door(monkeypatch, capsys):
    """Run the door as its service does, the face where the captures have it."""
    monkeypatch.setattr(fasdk, "FaceFinder", lambda _model: FixedFace(FACE))
    # A busy machine may take longer than half a second from the read to the answer.
    limits = fasdk.QualityLimits(max_age_ms=60_000)
    monkeypatch.setattr(fasdk, "QualityLimits", lambda: limits)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["door.py", *map(str, arguments)])
        runpy.run_path(str(DOOR), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_the_guides_loop_is_the_door_that_ships_and_has_fifteen_lines():
    (block,) = re.findall(r"```python\n(.*?)```", section("The loop"), flags=re.DOTALL)
    assert DOOR.read_text("utf-8").split('"""\n\n', 1)[1] == block
    assert sum(bool(line.strip()) for line in block.splitlines()) == 15


def test_the_loop_opens_for_a_person_and_not_for_an_attack(run_door, people, keys, tmp_path):
    private, public = keys
    bundle = tiny_bundle.write(tmp_path / "lobby.fasb", private)
    shown = run_door(bundle, public, f"replay:{people}?fps=10", "yunet.onnx")
    # Three live frames make one LIVE; what follows begins anew. The attack is one attempt, which
    # says nothing, and its further frames wait.
    assert shown[:4] == ["show undecided", "show undecided", "open the door", "show undecided"]
    assert set(shown[4:]) == {"show wait"}


def test_the_loop_takes_no_bundle_without_the_signature(run_door, people, keys, tmp_path):
    bundle = tiny_bundle.write(tmp_path / "lobby.fasb")
    with pytest.raises(TrustError):
        run_door(bundle, keys[1], f"replay:{people}", "yunet.onnx")


def test_every_reason_is_explained_under_its_own_verdict():
    person, integrator = section("Reasons").split("With these the verdict is ERROR")
    assert first_column(person)[2:] == [r.value for r in Reason if r.retry_helps]
    assert first_column(integrator)[2:] == [r.value for r in Reason if not r.retry_helps]


def test_every_verdict_is_explained():
    assert first_column(section("Verdicts"))[2:] == [v.name for v in fasdk.Verdict]


def test_guide_names_the_faults_the_watchdog_ignores():
    named = section("systemd").split("These\nreasons are silence:")[1].split(". A lock-out")[0]
    assert set(re.findall(r"`([\w-]+)`", named)) == {
        reason.value for reason in Reason if reason.remedy is Remedy.RESTART
    }


def test_figures_the_guide_gives_are_the_defaults():
    lock_out, batching = fasdk.LockOutPolicy(), fasdk.batching.BatchingPolicy()
    assert (lock_out.spoofs, lock_out.window_ms, lock_out.locked_ms) == (5, 60_000, 30_000)
    assert (batching.deadline_ms, batching.queue_limit) == (10_000, 64)


def test_files_the_guide_names_are_there():
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        assert (PROJECT / "docs" / "guide" / target.split("#")[0]).resolve().exists(), target


def test_systemd_takes_the_unit(tmp_path):
    Requirement.SYSTEMD.programs("systemd-analyze")
    unit = tmp_path / UNIT.name
    # The program and the user of the unit are not on this machine.
    text = UNIT.read_text("utf-8")
    for program in ("python", "fasdk"):
        text = text.replace(f"/opt/fasdk/bin/{program}", "/bin/true")
    unit.write_text(text.replace("User=fasdk", "User=root"), "utf-8")
    ran = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert UNIT.name not in ran.stderr, ran.stderr
    assert ran.returncode == 0, ran.stderr


def test_the_unit_leaves_the_door_no_power_it_has_no_use_for():
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), flags=re.MULTILINE))
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["UMask"] == "0077"
    for name in ("NoNewPrivileges", "ProtectKernelModules", "RestrictNamespaces"):
        assert settings[name] == "yes"
    # These would take its cameras and GPU away.
    assert not {"PrivateDevices", "ProtectClock", "MemoryDenyWriteExecute"} & set(settings)


def test_the_unit_lets_the_door_write_neither_its_bundle_nor_what_root_remembers():
    text = UNIT.read_text("utf-8").replace("\\\n", " ")
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE))
    own = f"/var/lib/{settings['StateDirectory']}"
    assert settings["Environment"] == f"FASDK_HOME={own}"
    assert settings["ProtectSystem"] == "strict"
    assert "ReadWritePaths" not in settings
    assert not SYSTEM_FILE.is_relative_to(own)
    accept = settings["ExecStartPre"].split()
    bundle, key = settings["ExecStart"].split()[2:4]
    assert accept == ["+/opt/fasdk/bin/fasdk", "accept", bundle, "--key", key, "--system"]
    assert not Path(bundle).is_relative_to(own)


def test_the_unit_gives_the_door_what_it_asks_for():
    command = UNIT.read_text("utf-8").split("ExecStart=")[1].replace("\\\n", " ").split("\n")[0]
    python, script, *arguments = command.split()
    assert Path(python).name == "python"
    assert Path(script).name == DOOR.name
    assert len(arguments) == 4
