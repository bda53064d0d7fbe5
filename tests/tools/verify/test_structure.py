"""Measurements of `make verify-structure`: graph equality, import cycles, revisions."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

VERIFY = Path(__file__).resolve().parents[3] / "tools" / "verify"


@pytest.fixture
def verify(monkeypatch):
    """Import a module of tools/verify by name."""
    monkeypatch.syspath_prepend(str(VERIFY))

    def load(name: str) -> ModuleType:
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return load


def model_of(
    *,
    prefix: str = "",
    weight: float = 1.0,
    axis: int = 1,
    operator: str = "Add",
    swapped: bool = False,
    branch: float = 2.0,
    batch: str = "batch",
    opset: int = 17,
) -> bytes:
    """Return softmax(x [B, 4] + w) and, in both branches of an If, a constant of its own."""
    x, y, w, s, out = (prefix + name for name in ("x", "y", "w", "s", "out"))
    constants = [
        numpy_helper.from_array(np.full(4, value, np.float32), f"{prefix}{name}")
        for name, value in (("left", branch), ("right", 3.0))
    ]
    branches = [
        helper.make_graph(
            [helper.make_node("Mul", [s, c.name], [f"{c.name}_made"])],
            "branch",
            [],
            [helper.make_tensor_value_info(f"{c.name}_made", TensorProto.FLOAT, None)],
            [c],
        )
        for c in constants
    ]
    condition = f"{prefix}condition"
    nodes = [
        helper.make_node(operator, [w, x] if swapped else [x, w], [y], name=f"{prefix}node"),
        helper.make_node("Softmax", [y], [s], axis=axis),
        helper.make_node(
            "If", [condition], [out], then_branch=branches[0], else_branch=branches[1]
        ),
    ]
    graph = helper.make_graph(
        nodes,
        f"{prefix}graph",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, [batch, 4])],
        [
            numpy_helper.from_array(np.full(4, weight, np.float32), w),
            numpy_helper.from_array(np.array(True), condition),
        ],
        doc_string=prefix,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_graph_equality_ignores_names_and_documentation(verify):
    equality = verify("graph_equality")
    assert equality.first_difference(model_of(), model_of(prefix="other_", batch="n")) is None
    size = equality.measure_size(model_of())
    # Add, Softmax, If and a Mul in each branch; w, the condition and a constant in each branch.
    assert (size.operators, size.weights, size.weight_bytes) == (5, 4, 3 * 16 + 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weight": np.nextafter(np.float32(1), np.float32(2))}, "weight"),
        ({"axis": 0}, "Softmax"),
        ({"operator": "Sub"}, "Sub"),
        ({"swapped": True}, "Add"),
        ({"branch": 2.5}, "weight"),
        ({"opset": 18}, "model"),
    ],
)
def test_graph_equality_names_the_first_difference(verify, change, named):
    assert named in verify("graph_equality").first_difference(model_of(), model_of(**change))


def test_graph_equality_sees_a_missing_operator(verify):
    model = onnx.load_model_from_string(model_of())
    del model.graph.node[-1]
    model.graph.output[0].name = "s"
    shorter = model.SerializeToString()
    assert verify("graph_equality").first_difference(model_of(), shorter) is not None


def write_package(root: Path, files: dict[str, str]) -> None:
    """Write modules below sdk/, each package with an __init__."""
    for name, text in {"fasdk/__init__.py": "", **files}.items():
        path = root / "sdk" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(root / "sdk").parents:
            if folder != Path():
                (root / "sdk" / folder / "__init__.py").touch()


@pytest.mark.parametrize(
    ("files", "modules", "siblings"),
    [
        (
            {"fasdk/a.py": "import fasdk.b\n", "fasdk/b.py": "def f():\n    from fasdk import a\n"},
            [("fasdk.a", "fasdk.b")],
            [("fasdk.a", "fasdk.b")],
        ),
        (
            {
                "fasdk/p/__init__.py": "from fasdk.p.x import X\n",
                "fasdk/p/x.py": "from . import Y\n",
            },
            [("fasdk.p", "fasdk.p.x")],
            [],
        ),
        (
            {
                "fasdk/p/x.py": "from fasdk.q.y import Y\n",
                "fasdk/q/z.py": "from ..p.w import W\n",
                "fasdk/q/y.py": "",
                "fasdk/p/w.py": "",
            },
            [],
            [("fasdk.p", "fasdk.q")],
        ),
        (
            {
                "fasdk/a.py": 'ROW = "fasdk.b:make"\n',
                "fasdk/b.py": "from fasdk.c import C\n",
                "fasdk/c.py": "from fasdk.a import ROW\n",
            },
            [("fasdk.a", "fasdk.b", "fasdk.c")],
            [("fasdk.a", "fasdk.b", "fasdk.c")],
        ),
        (
            {
                "fasdk/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
                "    from fasdk.b import B\n",
                "fasdk/b.py": 'from fasdk.a import A\nHERE = "fasdk"\n',
            },
            [],
            [],
        ),
    ],
    ids=["lazy import", "package and its module", "two packages", "named in a string", "typing"],
)
def test_import_graph_finds_planted_cycles(verify, tmp_path, files, modules, siblings):
    import_graph = verify("import_graph")
    write_package(tmp_path, files)
    imports = import_graph.read_imports(import_graph.find_modules(tmp_path))
    assert [cycle.members for cycle in import_graph.module_cycles(imports)] == modules
    assert [cycle.members for cycle in import_graph.sibling_cycles(imports)] == siblings


def test_a_revision_that_the_clone_lacks_is_an_error_with_its_remedy(verify, tmp_path):
    revision = verify("revision")
    with pytest.raises(revision.RevisionError, match=r"0123456.*not in this clone.*--unshallow"):
        revision.extract_revision("0123456", tmp_path)


def test_golden_tests_of_a_system_are_told_from_those_of_its_successor(verify):
    run = verify("standalone").SuiteRun(
        status=0,
        seconds=1.0,
        output="",
        outcomes={
            "tests.engines.test_mmdg::test_golden_logits": "passed",
            "tests.engines.test_mmdgpp::test_golden_logits": "skipped",
            "tests.engines.test_mmdg::test_names": "failed",
        },
    )
    assert run.golden_of("mmdg") == ["passed"]
    assert run.golden_of("mmdgpp") == ["skipped"]
    assert run.golden_of("bigmoe") == []
