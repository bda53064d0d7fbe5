"""CDCN, a published model registered by a distribution of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fasdk.backends.engine import Backend
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import Precision
from fasdk_engines.build.pipeline import build_bundle
from fasdk_engines.build.report import BuildReport
from fasdk_engines.build.request import BuildRequest
from fasdk_engines.models.base import Family
from fasdk_engines.models.checkpoint import save_checkpoint
from fasdk_engines.models.registry import broken_families, family_names, get_family

from support.random_weights import fill
from support.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLE = Path(__file__).parents[3] / "tools" / "examples" / "cdcn"
DATA = Path(__file__).parents[2] / "data"
NAME = "cdcn-3modality2"


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    """Install the example as an installer would: its module, and its entry points' dist-info."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "installed" / "fasdk_cdcn-0.1.0.dist-info"
    info.mkdir(parents=True)
    head = f"Name: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{head}")
    entries = project["entry-points"]["fasdk.models"]
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[fasdk.models]", *lines]))
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return get_family(NAME)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """Maps the published code gave for `fill`'s weights and `images`, at two sizes."""
    with np.load(DATA / "cdcn.golden.npz", allow_pickle=False) as archive:
        return dict(archive)


def images(batch: int, size: int) -> list[torch.Tensor]:
    """Return what the golden maps are of."""
    rng = np.random.default_rng(5)
    fields = []
    for _ in range(3):
        coarse = rng.standard_normal((batch, 3, 8, 8)).repeat(size // 8, 2).repeat(size // 8, 3)
        noise = 0.25 * rng.standard_normal((batch, 3, size, size))
        fields.append(torch.from_numpy(np.tanh(coarse + noise).astype(np.float32)))
    return fields


def built(
    family: Family, folder: Path, config: str, precision: Precision, max_batch: int = 8
) -> BuildReport:
    module = family.build(family.configs[config])
    fill(module)
    save_checkpoint(folder / "cdcn.safetensors", module, family, family.configs[config])
    return build_bundle(
        BuildRequest(
            source=folder / "cdcn.safetensors",
            out=folder / "cdcn.fasb",
            model=NAME,
            precision=precision,
            backend=Backend.TENSORRT_RTX,
            max_batch=max_batch,
        )
    )


def test_the_example_registers_itself(family):
    assert NAME in family_names()
    assert NAME not in broken_families()
    assert family.modalities == ("rgb", "ir", "depth")


def test_the_state_dict_is_the_published_one(family):
    with torch.device("meta"):
        module = family.build(family.default_config)
    own = {name: list(value.shape) for name, value in module.state_dict().items()}
    assert own == json.loads((DATA / "cdcn.keys.json").read_text())


@pytest.mark.parametrize(("size", "batch"), [(64, 2), pytest.param(256, 1, marks=pytest.mark.slow)])
def test_the_map_is_the_published_one(size, batch, family, golden):
    config = family.default_config.model_copy(update={"image_size": size})
    module = family.build(config).eval()
    fill(module)
    with torch.no_grad():
        maps = module.maps(*images(batch, size)).numpy()
    expected = golden[f"maps_{size}"]
    assert expected.max() > 0.05
    np.testing.assert_allclose(maps, expected, atol=2e-6)


def test_a_branch_in_another_place_would_miss_the_published_map(family, golden):
    module = family.build(family.default_config.model_copy(update={"image_size": 64})).eval()
    fill(module)
    rgb, ir, depth = images(2, 64)
    with torch.no_grad():
        maps = module.maps(rgb, depth, ir).numpy()
    assert np.abs(maps - golden["maps_64"]).max() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"theta": 0.0}, {"image_size": 40}, {"inner": 7}])
def test_the_deployed_form_is_the_same_function(changes, family):
    config = family.config_type.model_validate({**family.configs["tiny"].model_dump(), **changes})
    module = family.build(config).eval()
    fill(module)
    inputs = family.example_inputs(config, batch=3)
    with torch.no_grad():
        (expected,), (found,) = module(*inputs), module.deployed()(*inputs)
    assert expected[:, 1].std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    kinds = {type(layer).__name__ for layer in module.deployed().modules()}
    assert not {"BatchNorm2d", "CentralDifferenceConv"} & kinds


def test_the_score_is_the_sum_over_the_cells_of_the_face(family):
    import fasdk_cdcn

    rgb = torch.full((2, 3, 32, 32), -127.5 / 128.0)  # black
    rgb[0, :, :16] = 0.0  # two of four rows of cells hold the face
    maps = torch.zeros(2, 4, 4)
    maps[0, :2] = 0.75
    maps[1] = 0.75
    logits = fasdk_cdcn._logits(maps, rgb)
    assert logits[0].tolist() == [0.0, 8.0 * 0.75 - 4.0]
    assert logits[1].tolist() == [0.0, 4.0]  # no face at all: the published sum, at most 1


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_cdcn_passes_every_check_of_a_build(precision, family, tmp_path):
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    report = built(family, tmp_path, "tiny", precision)
    assert report.torch_parity is not None
    assert report.torch_parity < 1e-5
    assert report.graph_parity < 1e-5
    assert report.plan_bytes > 0
    bundle = open_bundle(tmp_path / "cdcn.fasb")
    assert [m.value for m in bundle.manifest.modalities] == ["rgb", "ir", "depth"]
    nodes = onnx.load_from_string(bytes(bundle.graph)).graph.node
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == 3 * (1 + 9 + 1) + 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_cdcn_builds_at_full_size(precision, family, tmp_path):
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    # Eight captures of 256 x 256 need more workspace than a plan is granted.
    report = built(family, tmp_path, "full", precision, max_batch=2)
    assert report.graph_parity < 1e-4
    assert report.plan_bytes > 0
