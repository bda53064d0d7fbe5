"""Sizes of installs, on made-up folders, and the claims on them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from support.base_install import project
from support.benches import bench_module

VERIFY = Path(__file__).resolve().parents[3] / "tools" / "verify"
ROW = {
    "python": "3.10",
    "machine": "aarch64",
    "packages": 10,
    "mb": 77.1,
    "with_bytecode_mb": 100.3,
    "largest_mb": {"numpy": 49.4},
}


@pytest.fixture
def size():
    return bench_module("install_size")


def test_files_are_counted_by_package_with_their_libraries_and_metadata(size, tmp_path):
    for name, length in {
        "numpy/core.so": 1000,
        "numpy/__pycache__/a.pyc": 77,
        "numpy.libs/blas.so": 500,
        "numpy-2.2.6.dist-info/RECORD": 3,
        "opencv_python.libs/av.so": 40,
        "cv2/cv2.so": 60,
        "typing_extensions.py": 9,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * length)
    found = dict(size.sizes_of(tmp_path))
    assert found == {"numpy": 1503, "cv2": 100, "typing_extensions": 9}


def test_bytecode_is_counted_and_none_is_left(size, tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n")
    assert size.bytecode_bytes(tmp_path) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["module.py"]


def test_every_install_is_made_of_extras(size):
    extras = project()["optional-dependencies"]
    assert {extra for install in size.INSTALLS for extra in install.extras} <= set(extras)
    assert size.INSTALLS[0].extras == ()
    assert size.own_bytes() > 1_000_000


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"install": ".", "has_onnxruntime": False}, True),
        ({"install": ".", "has_onnxruntime": False, "with_bytecode_mb": 130.1}, False),
        ({"install": ".[jetson] without pycuda", "has_onnxruntime": False}, True),
        ({"install": ".[jetson] without pycuda", "has_onnxruntime": True}, False),
        ({"install": ".[cli,cpu,opencv]", "has_onnxruntime": True}, True),
    ],
)
def test_a_base_too_large_and_a_jetson_with_onnxruntime_are_missed(monkeypatch, changes, holds):
    monkeypatch.syspath_prepend(str(VERIFY))
    sys.modules.pop("gpu", None)
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(gpu, "bench_lines", lambda _: [ROW | changes])
    assert all(claim.ok for claim in gpu.install_claims()) is holds
