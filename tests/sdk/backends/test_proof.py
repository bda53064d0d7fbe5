"""Proof of a plan: errors in one row, one batch size or replay alone are found."""

from __future__ import annotations

from typing import Any

import pytest

from fasdk.backends.tensorrt.proof import batch_sizes
from fasdk.errors import PlanError

from support.gpu_rig import Rig

FAULTS = {
    "single captures": {"drift_batch": 1},
    "a batch between": {"drift_batch": 3},
    "the largest batch": {"drift_batch": 4},
    "the first row": {"drift_batch": 4, "drift_row": 0},
    "an inner row": {"drift_batch": 4, "drift_row": 2},
    "the last row": {"drift_batch": 4, "drift_row": 3},
    "replayed graphs": {"drift_replay": True},
    "the largest batch replayed": {"drift_replay": True, "drift_batch": 4},
}


def spoil(rig: Rig, fault: dict[str, Any]) -> None:
    rig.behavior.drift = 1.0
    for name, value in fault.items():
        setattr(rig.behavior, name, value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_new_plan_wrong_anywhere_is_not_kept(rig: Rig, fault: str) -> None:
    spoil(rig, FAULTS[fault])
    with pytest.raises(PlanError, match="does not reproduce the bundle") as found:
        rig.open()
    size = FAULTS[fault].get("drift_batch", 1)
    way = "as a CUDA graph" if "drift_replay" in FAULTS[fault] else "enqueued"
    assert f"(batch of {size}, {way})" in str(found.value)
    assert rig.plans == []
    assert rig.gpu.held == {}
    assert rig.gpu.graphs == []


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "a batch between"])
def test_a_kept_plan_wrong_at_its_ends_is_deleted(rig: Rig, fault: str) -> None:
    rig.open().close()
    spoil(rig, FAULTS[fault])
    with pytest.raises(PlanError, match="cache plan"):
        rig.open()
    assert rig.plans == []
    assert rig.gpu.held == {}


def test_without_graphs_none_is_proved(rig: Rig) -> None:
    spoil(rig, FAULTS["replayed graphs"])
    rig.open(graphs=False).close()
    assert len(rig.plans) == 1


def test_a_proof_leaves_no_lane_behind(rig: Rig) -> None:
    rig.open()
    assert rig.gpu.held == {}
    assert rig.gpu.graphs == []


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [
        (1, [1]),
        (4, [1, 2, 3, 4]),
        (9, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (40, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 40]),
    ],
)
def test_small_batches_are_all_proved_and_large_ones_by_doubling(
    largest: int, sizes: list[int]
) -> None:
    assert batch_sizes(largest) == sizes
