"""Fixtures of the backends' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fasdk.bundle.bundle import open_bundle

from support.fake_gpu import Behavior, FakeGpu, fake_tensorrt, install
from support.gpu_rig import Rig
from support.graphs import write_small_bundle


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    gpu, behavior = FakeGpu(), Behavior()
    install(monkeypatch, "tensorrt", fake_tensorrt(gpu, behavior))
    return Rig(open_bundle(write_small_bundle(tmp_path / "small.fasb")), gpu, behavior)
