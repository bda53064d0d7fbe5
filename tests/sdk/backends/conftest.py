"""Fixtures of the backends' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fasdk.bundle.bundle import open_bundle

from support.fake_gpu import FakeGpu
from support.gpu_rig import Rig
from support.graphs import write_small_bundle
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import Behavior


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    gpu, behavior = FakeGpu(), Behavior()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in(gpu, behavior))
    return Rig(open_bundle(write_small_bundle(tmp_path / "small.fasb")), gpu, behavior)
