"""TensorRT attributes of the backend in the oldest and newest release and in RTX."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fasdk.backends.tensorrt.versions import NEWEST, OLDEST

from support.requirements import Requirement
from support.tensorrt_bindings import describe
from support.tensorrt_bindings.fetch import (
    NEWEST_BINDINGS,
    OLDEST_BINDINGS,
    RELEASES,
    ROOT,
    Bindings,
)
from support.tensorrt_bindings.uses import Api, Uses, find_uses

SOURCE = ROOT / "sdk" / "fasdk" / "backends" / "tensorrt"
BINDINGS = {release.version: release for release in RELEASES}


def read(name: str) -> str:
    return (SOURCE / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def api() -> Api:
    return Api(read("api.py"), read("module.py"))


@pytest.fixture(scope="module")
def uses(api: Api) -> Uses:
    return find_uses(api, *(file.read_text(encoding="utf-8") for file in SOURCE.glob("*.py")))


def absent_from(module: str, paths: set[str], bindings: Bindings | None = None) -> list[str]:
    """Return the paths a module lacks, as a fresh interpreter sees it."""
    environment = dict(os.environ)
    if bindings is not None:
        environment["LD_LIBRARY_PATH"] = str(bindings.stubs)
        environment["PYTHONPATH"] = str(bindings.folder)
    found = subprocess.run(
        [sys.executable, Path(describe.__file__), module],
        input=json.dumps(sorted(paths)),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    document = json.loads(found.stdout)
    assert bindings is None or document["version"] == bindings.version
    absent: list[str] = document["absent"]
    return absent


@pytest.fixture(params=list(BINDINGS))
def bindings(request: pytest.FixtureRequest) -> Bindings:
    release = BINDINGS[request.param]
    if not release.is_ready:
        Requirement.BINDINGS.skip(f"no TensorRT {release.version} bindings for this Python")
    return release


def test_every_attribute_exists_in_the_real_bindings(bindings: Bindings, uses: Uses) -> None:
    assert absent_from("tensorrt_bindings", uses.common, bindings) == []


def test_every_attribute_exists_in_tensorrt_rtx(uses: Uses) -> None:
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    assert absent_from("tensorrt_rtx", uses.common | uses.rtx_only) == []


def test_the_walk_sees_what_the_backend_is_made_of(uses: Uses) -> None:
    assert uses.common >= {
        "Builder",
        "Builder.build_serialized_network",
        "DataType.FLOAT",
        "ExecutionContextAllocationStrategy.USER_MANAGED",
        "ICudaEngine.device_memory_size_v2",
        "ICudaEngine.get_tensor_profile_shape",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_device_memory",
        "IExecutionContext.set_input_shape",
        "ILogger.Severity.ERROR",
        "ILogger.log",
        "INetworkDefinition.get_input",
        "IProgressMonitor.step_complete",
        "ITensor.dtype",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "ParserError.node_operator",
        "Runtime.engine_host_code_allowed",
        "__version__",
    }
    assert uses.rtx_only == {
        "ComputeCapability",
        "ComputeCapability.__members__",
        "IBuilderConfig.num_compute_capabilities",
        "IBuilderConfig.set_compute_capability",
    }


def test_every_use_can_be_followed(uses: Uses) -> None:
    assert uses.untyped == set()


def test_the_protocols_declare_nothing_that_is_not_used(api: Api, uses: Uses) -> None:
    assert api.declared() - uses.common - uses.rtx_only == set()


# Each is planted after a line of plan.py that the release in question still compiles.
ANCHOR = "    config.set_memory_pool_limit("
PLANTED = [
    ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16", [NEWEST_BINDINGS.version, "rtx"]),
    (
        "_ = builder.platform_has_fast_fp16",
        "Builder.platform_has_fast_fp16",
        [NEWEST_BINDINGS.version, "rtx"],
    ),
    (
        "_ = trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        [NEWEST_BINDINGS.version, "rtx"],
    ),
    (
        "_ = network.get_input(0).dynamic_range",
        "ITensor.dynamic_range",
        [NEWEST_BINDINGS.version, "rtx"],
    ),
    ("_ = trt.BuilderFlag.STRICT_NANS", "BuilderFlag.STRICT_NANS", [OLDEST_BINDINGS.version]),
    (
        "_ = config.tiling_optimization_level",
        "IBuilderConfig.tiling_optimization_level",
        [OLDEST_BINDINGS.version],
    ),
]


@pytest.mark.parametrize(("line", "path", "lacking"), PLANTED)
def test_a_planted_use_of_a_removed_or_newer_attribute_is_found(
    line: str, path: str, lacking: list[str], api: Api
) -> None:
    source = read("plan.py")
    assert source.count(ANCHOR) == 1
    planted = find_uses(api, read("module.py"), source.replace(ANCHOR, f"    {line}\n{ANCHOR}"))
    assert path in planted.common
    if "rtx" in lacking:
        Requirement.TENSORRT_RTX.module("tensorrt_rtx")
        assert path in absent_from("tensorrt_rtx", planted.common)
    for version, release in BINDINGS.items():
        if release.is_ready:
            absent = absent_from("tensorrt_bindings", planted.common, release)
            assert (path in absent) is (version in lacking)


def test_a_use_behind_an_undeclared_call_is_reported(api: Api) -> None:
    source = read("plan.py").replace(ANCHOR, f"    builder.create_refitter().refit_all()\n{ANCHOR}")
    found = find_uses(api, read("module.py"), source)
    assert found.untyped == {"Builder.create_refitter().refit_all"}


def tracked(pattern: str) -> dict[str, str]:
    """Return the text of the project's files that match, by path."""
    listed = subprocess.run(
        ["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in listed.stdout.split()}


@pytest.mark.parametrize("bound", [OLDEST, NEWEST])
def test_the_supported_range_is_spelled_out_in_one_file(bound: str) -> None:
    """No other Python file states a bound, so that raising one changes one line."""
    stated = re.compile(rf"(?<![\d.])(?<!CUDA ){re.escape(bound)}(?!\d)")
    found = [name for name, text in tracked("*.py").items() if stated.search(text)]
    assert found == ["sdk/fasdk/backends/tensorrt/versions.py"]


def test_the_documents_name_the_releases_whose_bindings_are_read() -> None:
    named = {
        name: set(re.findall(r"real\s+([\d.]+)\s+and\s+([\d.]+)\s+bindings", text))
        for name, text in tracked("docs/*.md").items()
    }
    named = {name: found for name, found in named.items() if found}
    assert len(named) >= 3
    assert named == {name: {(OLDEST, NEWEST)} for name in named}
