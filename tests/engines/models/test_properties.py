"""Properties of every registered model: a score depends on its capture alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.decision import class_scores
from fasdk.preprocess import PRESENCE
from fasdk_engines.graph.export import export_graph
from fasdk_engines.models.registry import family_names, get_family

from support import random_weights

CAPTURES = 6
NAMES = family_names()


def small(name: str) -> str:
    """Return the smallest named settings of a model."""
    configs = get_family(name).configs
    return "tiny" if "tiny" in configs else next(iter(configs))


@cache
def engine_of(name: str) -> OnnxRuntimeEngine:
    family = get_family(name)
    config = family.configs[small(name)]
    module = family.build(config).eval()
    random_weights.fill(module)
    return OnnxRuntimeEngine(export_graph(module.deployed().eval(), family, config), threads=1)


@cache
def captures_of(name: str) -> dict[str, np.ndarray]:
    """Return captures as tensors; each but the first lacks another modality where it may."""
    family = get_family(name)
    config = family.configs[small(name)]
    specs = family.preprocess(config)
    tensors = family.example_inputs(config, CAPTURES, seed=7)
    batch = {n: t.numpy().copy() for n, t in zip(family.input_names, tensors, strict=True)}
    may_lack = [m for m in family.modalities if m not in family.required]
    for row in range(1, CAPTURES):
        for modality in may_lack[row % 3 : row % 3 + 1]:
            batch[modality.value][row] = specs[modality].missing_value
            if PRESENCE in batch:
                batch[PRESENCE][row] = 1.0
                batch[PRESENCE][row, family.modalities.index(modality)] = 0.0
    return batch


@cache
def alone(name: str) -> np.ndarray:
    return scores(name, [[row] for row in range(CAPTURES)])


def scores(name: str, calls: list[list[int]]) -> np.ndarray:
    """Return every capture's class scores, run in the given calls."""
    found = np.full((CAPTURES, len(get_family(name).labels)), np.nan)
    for rows in calls:
        batch = {key: value[rows] for key, value in captures_of(name).items()}
        for row, logits in zip(rows, engine_of(name).run(batch).logits, strict=True):
            found[row] = class_scores(logits)
    return found


@st.composite
def batchings(draw: st.DrawFn) -> list[list[int]]:
    """Return all captures in any order, cut into calls of any size."""
    order = draw(st.permutations(range(CAPTURES)))
    cuts = sorted(draw(st.sets(st.integers(1, CAPTURES - 1))))
    return [list(order[a:b]) for a, b in zip([0, *cuts], [*cuts, CAPTURES], strict=True)]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, derandomize=True)
@given(calls=batchings())
def test_a_score_does_not_depend_on_who_else_is_in_the_batch(name, calls):
    np.testing.assert_allclose(scores(name, calls), alone(name), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_captures_are_told_apart(name):
    # Else the property above would hold of a model that answers one number to everything.
    assert np.ptp(alone(name)[:, 0]) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_the_same_bits(name):
    code = (
        f"import importlib.util as u; s = u.spec_from_file_location('t', {__file__!r}); "
        f"t = u.module_from_spec(s); s.loader.exec_module(t); name = {name!r}; "
        "print(t.hashlib.sha256(t.engine_of(name).run(t.captures_of(name)).logits).hexdigest())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    own = engine_of(name).run(captures_of(name)).logits
    assert ran.stdout.strip() == hashlib.sha256(own.tobytes()).hexdigest()
