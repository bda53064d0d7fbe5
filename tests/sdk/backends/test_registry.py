"""Table of backends: missing rows and missing openers are refused."""

from __future__ import annotations

import inspect
import shutil
import subprocess
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

import fasdk
from fasdk.backends import specs
from fasdk.backends.engine import Backend
from fasdk.backends.registry import installed_backends, open_engine
from fasdk.backends.specs import BACKENDS, MOST_THREADS, BackendSpec, EngineOptions, spec_of
from fasdk.errors import BackendError, UsageError

from support.package_copy import run_in_copy

PACKAGE = Path(fasdk.__file__).parent


def imported_with(tmp_path: Path, file: str, old: str, new: str) -> subprocess.CompletedProcess:
    """Import the table from a copy of the package in which one text is replaced."""
    shutil.copytree(PACKAGE, tmp_path / "fasdk", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "fasdk" / file
    text = source.read_text()
    assert text.count(old) == 1
    source.write_text(text.replace(old, new))
    return run_in_copy(tmp_path, "import fasdk.backends.specs as r; print(r.__file__)")


def test_a_copy_of_the_table_imports(tmp_path):
    ran = imported_with(tmp_path, "errors.py", "class BackendError", "class BackendError")
    assert ran.stdout.startswith(str(tmp_path)), ran.stderr


def test_a_backend_without_a_row_cannot_be_imported(tmp_path):
    member = '    OPENVINO = "openvino"\n'
    ran = imported_with(tmp_path, "backends/engine.py", member, member + '    NCNN = "ncnn"\n')
    assert ran.returncode != 0
    assert "TypeError: no row in BACKENDS for ncnn: add a BackendSpec" in ran.stderr


def test_a_row_without_an_opener_cannot_be_imported(tmp_path):
    opener = '        opener="openvino:open_openvino",\n'
    ran = imported_with(tmp_path, "backends/specs.py", opener, "")
    assert ran.returncode != 0
    assert "missing 1 required positional argument: 'opener'" in ran.stderr


@pytest.mark.parametrize("opener", ["", "openvino", ":open", "openvino:"])
def test_an_opener_that_names_no_function_is_refused(opener):
    rows = [replace(BACKENDS[0], opener=opener), *BACKENDS[1:]]
    with pytest.raises(TypeError, match="expected 'module:function'"):
        specs._by_backend(rows)


def test_a_backend_with_two_rows_is_refused():
    with pytest.raises(TypeError, match="tensorrt has two rows"):
        specs._by_backend([*BACKENDS, BACKENDS[0]])


def require_library(spec: BackendSpec) -> None:
    """Skip where a graph's backend needs a library that is not installed."""
    if not spec.builds_plans and spec.backend not in installed_backends():
        pytest.skip(f"{spec.module} is not installed: {spec.install}")


@pytest.mark.parametrize("spec", BACKENDS, ids=lambda spec: spec.backend.value)
def test_every_opener_is_a_function_of_bundle_and_options(spec: BackendSpec):
    require_library(spec)
    module, _, name = spec.opener.partition(":")
    opener = getattr(import_module(f"fasdk.backends.{module}"), name)
    assert list(inspect.signature(opener).parameters) == ["bundle", "options"]


@pytest.mark.parametrize(
    "spec", [s for s in BACKENDS if not s.builds_plans], ids=lambda spec: spec.backend.value
)
def test_every_backend_of_graphs_reproduces_the_golden_captures(spec: BackendSpec, bundle_path):
    require_library(spec)
    with fasdk.open(bundle_path, backend=spec.backend, threads=1) as session:
        assert session.engine.backend is spec.backend
        assert session.replay_golden() <= 1e-4


def test_every_row_has_a_library_and_a_way_to_install_it():
    assert len({spec.module for spec in BACKENDS}) == len(BACKENDS)
    for spec in BACKENDS:
        assert "pip install" in spec.install


def test_only_backends_that_build_plans_build_them_for_other_gpus():
    assert [s.backend for s in BACKENDS if s.cross_builds] == [Backend.TENSORRT_RTX]
    assert all(spec.builds_plans for spec in BACKENDS if spec.cross_builds)


def test_auto_chooses_tensorrt_or_onnxruntime_alone():
    automatic = [spec.backend for spec in BACKENDS if spec.automatic]
    assert automatic == [Backend.TENSORRT, Backend.ONNXRUNTIME]


def test_a_library_that_fails_to_import_is_named(bundle, monkeypatch):
    broken = replace(spec_of(Backend.ONNXRUNTIME), opener="absent:open_absent")
    monkeypatch.setitem(specs._SPECS, Backend.ONNXRUNTIME, broken)
    with pytest.raises(BackendError, match="cannot import onnxruntime for backend onnxruntime"):
        open_engine(bundle, Backend.ONNXRUNTIME)


@pytest.mark.parametrize("threads", [-1, 1.5, MOST_THREADS + 1])
def test_a_number_of_threads_that_no_library_should_be_asked_for_is_refused(bundle, threads):
    with pytest.raises(UsageError, match="threads is "):
        open_engine(bundle, Backend.ONNXRUNTIME, threads=threads)
    assert EngineOptions(threads=MOST_THREADS).threads == 1000
