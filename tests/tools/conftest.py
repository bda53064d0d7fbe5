"""Fixtures of the tools' tests: a tiny checkpoint, its bundle, and the command line in process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk_engines.models.checkpoint import save_checkpoint
from fasdk_engines.models.registry import get_family
from fasdk_tools import cli

from support.report_page import Report, make_report


@dataclass(frozen=True)
class Ran:
    """Result of one run of the command line."""

    status: int
    stdout: str
    stderr: str

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("fasdk: ")]


@pytest.fixture
def fasdk(capfd):
    """Run a command line in this process and return its status and what it printed."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny MMDG with random weights, saved as our own training saves it."""
    import torch

    torch.manual_seed(0)
    family = get_family("mmdg")
    config = family.configs["tiny"]
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    module = family.build(config)
    with torch.no_grad():  # as after a step of training, which leaves no matrix at its constant
        for weight in module.parameters():
            if weight.dim() >= 2 and bool((weight == weight.flatten()[0]).all()):
                weight.normal_(std=0.02)
    save_checkpoint(path, module, family, config)
    return path


@pytest.fixture(scope="session")
def bundle(checkpoint, tmp_path_factory) -> Path:
    """The checkpoint as an FP32 bundle without evaluation data."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.fasb"
    status = cli.main(
        [
            "build-engine",
            str(checkpoint),
            "-o",
            str(path),
            "--model",
            "mmdg",
            "--backend",
            "onnxruntime",
        ]
    )
    assert status == 0
    return path


@dataclass(frozen=True)
class Frames:
    """Image files of one capture, 320 x 240 pixels."""

    rgb: Path
    depth: Path
    ir: Path

    @property
    def options(self) -> list[object]:
        return ["--rgb", self.rgb, "--depth", self.depth, "--ir", self.ir]


@pytest.fixture(scope="session")
def frames(tmp_path_factory) -> Frames:
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(5)
    found = Frames(folder / "rgb.png", folder / "depth.png", folder / "ir.png")
    cv2.imwrite(str(found.rgb), rng.integers(0, 256, (240, 320, 3), np.uint8))
    cv2.imwrite(str(found.depth), rng.integers(300, 900, (240, 320), np.uint16))
    cv2.imwrite(str(found.ir), rng.integers(0, 256, (240, 320), np.uint8))
    return found


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Report:
    """An evaluation's report on two lists, with development thresholds and missing modalities."""
    return make_report(tmp_path_factory.mktemp("report"))
