"""Install of a device without TensorRT, and what a Jetson resolves: no torch, no onnx."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.home import HOME_VARIABLE

PROJECT = Path(__file__).parents[2]
FRAME = (24, 32)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Device:
    """A virtual environment with a device's install, and no way to see the one around it."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        kept = {"PATH", "HOME", HOME_VARIABLE, "TMPDIR", "LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE"}
        proxies = {name for name in os.environ if name.lower().endswith("_proxy")}
        self.environment = {k: v for k, v in os.environ.items() if k in kept | proxies}

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.bin.parent,
            env=self.environment,
        )

    def answer(self, *arguments: object, status: int = 0) -> dict[str, object]:
        """Run a verb with --json and return the one document it printed."""
        ran = self.run("fasdk", *arguments, "--json")
        assert ran.returncode == status, ran.stderr
        document = json.loads(ran.stdout)
        assert isinstance(document, dict)
        return document


@pytest.fixture(scope="module")
def device(tmp_path_factory) -> Device:
    root = tmp_path_factory.mktemp("device")
    subprocess.run([sys.executable, "-m", "venv", root / "venv"], check=True)
    made = Device(root / "venv")
    # A build folder of its own: the checkout's belongs to the editable install.
    ran = made.run(
        "python", "-m", "pip", "install", "-q", "--disable-pip-version-check",
        "-c", PROJECT / "constraints.txt", f"-Cbuild-dir={root / 'build'}",
        f"{PROJECT}[cli,cpu,opencv]",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return made


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> dict[str, list[object]]:
    """Options of `fasdk check` for a bright face and a dark one."""
    folder = tmp_path_factory.mktemp("frames")
    options: dict[str, list[object]] = {}
    for name, level in (("bright", 230), ("dark", 30)):
        images = {
            "rgb": np.full((*FRAME, 3), level, np.uint8),
            "depth": np.full(FRAME, 500, np.uint16),
            "ir": np.full(FRAME, level, np.uint8),
        }
        options[name] = []
        for modality, image in images.items():
            path = folder / f"{name}-{modality}.png"
            assert cv2.imwrite(str(path), image)
            options[name] += [f"--{modality}", path]
    return options


@pytest.mark.parametrize("module", ["torch", "onnx", "onnxscript", "polygraphy", "tensorrt"])
def test_the_workstations_packages_are_not_there(device, module):
    ran = device.run("python", "-c", f"import {module}")
    assert "ModuleNotFoundError" in ran.stderr


def test_the_package_is_the_installed_one(device):
    ran = device.run("python", "-c", "import fasdk; print(fasdk.__file__)")
    assert Path(ran.stdout.strip()).is_relative_to(device.bin.parent)


def test_a_bundle_is_verified(device, bundle_path, bundle):
    answer = device.answer("verify", bundle_path)
    assert answer["ok"] is True
    assert answer["bundle_id"] == bundle.id
    assert answer["golden_captures"] == 3


def test_an_altered_bundle_is_not(device, bundle_path, tmp_path):
    data = bytearray(bundle_path.read_bytes())
    data[len(data) // 2] ^= 1
    altered = tmp_path / "altered.fasb"
    altered.write_bytes(data)
    ran = device.run("fasdk", "verify", altered)
    assert ran.returncode in (1, 2)
    assert "altered.fasb" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("verb", ["build-plan", "build-engine"])
def test_a_bundle_is_made_ready_and_proven(device, bundle_path, verb):
    before = bundle_path.read_bytes()
    answer = device.answer(verb, bundle_path, "--backend", "onnxruntime")
    assert answer["backend"] == "onnxruntime"
    assert answer["plan"] == "none needed"
    assert answer["golden_captures"] == 3
    assert 0.0 <= answer["golden_drift"] <= 0.01
    assert bundle_path.read_bytes() == before


def test_captures_are_judged(device, bundle_path, frames):
    live = device.answer("check", bundle_path, *frames["bright"])
    assert live["verdict"] == "live"
    assert device.answer("check", bundle_path, *frames["dark"], status=1)["verdict"] == "spoof"


def test_building_from_a_checkpoint_says_what_to_install(device, tmp_path):
    source = tmp_path / "model.pth"
    source.write_bytes(b"not read")
    ran = device.run(
        "fasdk", "build-engine", source, "-o", tmp_path / "x.fasb", "--model", "minifasnet-v2"
    )
    assert ran.returncode == 2
    assert "pip install '.[build]'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "x.fasb").exists()


@pytest.mark.parametrize("extras", [(), ("cli",), ("cli", "realsense"), ("cli", "cpu", "opencv")])
@pytest.mark.parametrize(
    ("python", "platform"),
    [
        ("3.10", "aarch64-manylinux_2_35"),  # JetPack 6: Ubuntu 22.04
        ("3.12", "aarch64-manylinux_2_39"),  # JetPack 7: Ubuntu 24.04
    ],
)
def test_a_jetson_installs_from_wheels_alone(python, platform, extras):
    ran = subprocess.run(
        [
            sys.executable, "-m", "uv", "pip", "compile", "-q", "--no-header", "--no-annotate",
            "--python-version", python, "--python-platform", platform,
            "--only-binary", ":all:", "-c", PROJECT / "constraints.txt",
            *(word for extra in extras for word in ("--extra", extra)),
            PROJECT / "pyproject.toml",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    resolved = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", ran.stdout, re.MULTILINE))
    assert {"numpy", "pydantic", "cryptography"} <= set(resolved)
    assert ("onnxruntime" in resolved) is ("cpu" in extras)
    assert ("opencv-python" in resolved) is ("opencv" in extras)
    assert not {"torch", "onnx", "onnxscript", "polygraphy"} & set(resolved)
