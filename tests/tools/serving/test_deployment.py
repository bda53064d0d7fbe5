"""Systemd unit and container file of the service: checked, not run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from fasdk_tools.cli.root import app

from support.requirements import Requirement

KIOSK = Path(__file__).parents[3] / "tools" / "kiosk"
UNIT = KIOSK / "fasdk-serve.service"
CONTAINER = KIOSK / "Containerfile"
# Commit of a linter's release: it must not change under the test.
LINTER = "dockerfilelint@1.8.0"


def unit_settings():
    text = UNIT.read_text("utf-8").replace("\\\n", " ")
    return dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE))


def test_systemd_takes_the_unit(tmp_path):
    Requirement.SYSTEMD.programs("systemd-analyze")
    unit = tmp_path / UNIT.name
    # The program and the user of the unit are not on this machine.
    text = UNIT.read_text("utf-8").replace("/opt/fasdk/bin/fasdk", "/bin/true")
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


def test_the_unit_leaves_the_service_no_network_and_no_power():
    settings = unit_settings()
    assert settings["RestrictAddressFamilies"] == "AF_UNIX"
    assert settings["PrivateNetwork"] == "yes"
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["ProtectSystem"] == "strict" and "ReadWritePaths" not in settings
    assert settings["Environment"] == f"FASDK_HOME=/var/lib/{settings['StateDirectory']}"


@pytest.mark.parametrize("where", ["unit", "container"])
def test_what_is_started_is_the_verb_with_options_it_has(where):
    if where == "unit":
        words = unit_settings()["ExecStart"].split()
    else:
        text = CONTAINER.read_text("utf-8")
        lists = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", text, flags=re.MULTILINE)
        words = [word for each in lists for word in json.loads(each)]
    assert words[:2] == ["/opt/fasdk/bin/fasdk", "serve"]
    assert Path(words[2]).suffix == ".fasb"
    known = {
        name
        for parameter in typer.main.get_command(app).commands["serve"].params
        for name in parameter.opts
    }
    assert {word for word in words if word.startswith("--")} <= known
    assert "--socket" in words


def test_the_container_runs_as_no_root():
    lines = CONTAINER.read_text("utf-8").splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    assert "USER fasdk" in lines[last:]


@pytest.mark.slow
def test_a_linter_takes_the_container_file(tmp_path):
    Requirement.NODE.programs("node", "npm")
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), LINTER],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if installed.returncode:
        Requirement.NODE.skip(f"{LINTER} cannot be installed")
    linter = tmp_path / "node_modules" / ".bin" / "dockerfilelint"
    ran = subprocess.run(
        [str(linter), "-o", "json", str(CONTAINER)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = json.loads(ran.stdout)
    assert found["totalIssues"] == 0, found
