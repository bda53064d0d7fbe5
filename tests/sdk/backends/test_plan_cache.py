"""Plan cache: refusal of plans of another key, of another origin, or altered."""

from __future__ import annotations

import json
import logging
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fasdk.backends.engine import Backend
from fasdk.backends.plan_options import PlanOptions
from fasdk.backends.tensorrt.cache import PlanCache, PlanKey
from fasdk.backends.tensorrt.plan import BuiltPlan
from fasdk.backends.tensorrt.sealed import KEY_FILE
from fasdk.backends.tensorrt.versions import OLDEST
from fasdk.errors import FasdkError, PlanError

PLAN = BuiltPlan(b"executable code", Backend.TENSORRT, f"{OLDEST}.0", (), 4, 1.5)


def key(**changes: Any) -> PlanKey:
    fields: dict[str, Any] = {
        "graph_sha256": "a" * 64,
        "module": "tensorrt",
        "version": f"{OLDEST}.0",
        "cuda": "12.6",
        "device": "Orin",
        "compute_capability": "8.7",
        "gpu_uuid": "1" * 32,
        "shapes": {"rgb": (3, 16, 16), "ir": (3, 16, 16)},
        "max_batch": 4,
    }
    return PlanKey(**(fields | changes))


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache.beside(tmp_path / "lobby.fasb")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_stored_plan_comes_back_to_the_byte(cache: PlanCache, tmp_path: Path) -> None:
    path = cache.store(key(), PLAN)
    assert cache.folder == tmp_path / "lobby.fasb.plans"
    assert path == cache.folder / f"{key().digest}.plan"
    assert cache.load(key()) == PLAN.data


def test_only_this_account_can_read_any_of_it(cache: PlanCache) -> None:
    cache.store(key(), PLAN)
    assert mode(cache.folder) == 0o700
    files = list(cache.folder.iterdir())
    assert len(files) == 3
    assert {mode(file) for file in files} == {0o600}


@pytest.mark.parametrize(
    "changes",
    [
        {"graph_sha256": "b" * 64},
        {"module": "tensorrt-rtx"},
        {"version": f"{OLDEST}.1"},
        {"cuda": "13.2"},
        {"device": "Orin Nano"},
        {"compute_capability": "8.9"},
        {"gpu_uuid": "2" * 32},
        {"shapes": {"rgb": (3, 16, 16)}},
        {"shapes": {"rgb": (3, 16, 32), "ir": (3, 16, 16)}},
        {"max_batch": 8},
    ],
)
def test_every_field_of_the_key_counts(cache: PlanCache, changes: dict[str, Any]) -> None:
    cache.store(key(), PLAN)
    assert cache.load(key(**changes)) is None
    assert cache.load(key()) == PLAN.data


@pytest.mark.parametrize(
    "other",
    [
        PlanOptions(workspace_mib=512),
        PlanOptions(optimization_level=5),
        PlanOptions(aux_streams=2),
    ],
)
def test_how_a_plan_was_built_counts_where_it_is_asked_for(
    cache: PlanCache, other: PlanOptions
) -> None:
    cache.store(key(), replace(PLAN, options=other))
    assert cache.load(key()) == PLAN.data
    assert cache.load(key(), other) == PLAN.data
    assert cache.load(key(), replace(other, timing_cache=False)) == PLAN.data
    assert cache.load(key(), PlanOptions()) is None
    assert cache.load(key()) == PLAN.data  # it was another one, and none that is wrong


def test_the_order_of_inputs_does_not_count(cache: PlanCache) -> None:
    cache.store(key(), PLAN)
    turned = key(shapes={"ir": (3, 16, 16), "rgb": (3, 16, 16)})
    assert cache.load(turned) == PLAN.data


def test_an_empty_cache_has_nothing_and_makes_nothing(cache: PlanCache) -> None:
    assert cache.load(key()) is None
    assert not cache.folder.exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def forge(cache: PlanCache) -> None:
    """Replace the plan and make the record match, as one without the MAC key can."""
    import hashlib

    plan, record = cache.folder / f"{key().digest}.plan", cache.folder / f"{key().digest}.json"
    plan.write_bytes(b"evil code")
    edit(record, plan_sha256=hashlib.sha256(b"evil code").hexdigest(), plan_bytes=9)


def swap(cache: PlanCache) -> None:
    """Put another graph's valid plan and record in this one's place."""
    other = key(graph_sha256="c" * 64)
    cache.store(other, PLAN)
    for suffix in ("plan", "json"):
        (cache.folder / f"{other.digest}.{suffix}").replace(
            cache.folder / f"{key().digest}.{suffix}"
        )


FAULTS = {
    "plan": lambda c: flip(c.folder / f"{key().digest}.plan"),
    "record": lambda c: flip(c.folder / f"{key().digest}.json"),
    "options": lambda c: edit(c.folder / f"{key().digest}.json", aux_streams=3),
    "mac": lambda c: edit(c.folder / f"{key().digest}.json", mac="0" * 64),
    "mac key": lambda c: flip(c.folder / KEY_FILE),
    "short mac key": lambda c: (c.folder / KEY_FILE).write_bytes(b"short"),
    "readable mac key": lambda c: (c.folder / KEY_FILE).chmod(0o644),
    "no mac key": lambda c: (c.folder / KEY_FILE).unlink(),
    "forged": forge,
    "swapped": swap,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plan_that_was_touched_is_deleted_and_can_be_stored_again(
    cache: PlanCache, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = cache.store(key(), PLAN)
    FAULTS[fault](cache)
    with caplog.at_level(logging.WARNING, logger="fasdk.tensorrt"):
        assert cache.load(key()) is None
    assert "deleted and built again" in caplog.text
    assert not plan.exists()
    assert not plan.with_suffix(".json").exists()
    cache.store(key(), PLAN)
    assert cache.load(key()) == PLAN.data
    assert mode(cache.folder / KEY_FILE) == 0o600


def test_a_mac_key_that_is_a_link_is_not_followed(cache: PlanCache, tmp_path: Path) -> None:
    cache.store(key(), PLAN)
    elsewhere = tmp_path / "elsewhere"
    (cache.folder / KEY_FILE).rename(elsewhere)
    (cache.folder / KEY_FILE).symlink_to(elsewhere)
    assert cache.load(key()) is None


def test_a_plan_without_its_record_is_deleted(cache: PlanCache) -> None:
    plan = cache.store(key(), PLAN)
    plan.with_suffix(".json").unlink()
    assert cache.load(key()) is None
    assert not plan.exists()


def test_a_plan_that_cannot_be_read_or_deleted_is_named(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = cache.store(key(), PLAN)

    def refuse(path: Path | str, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(FasdkError, match=f"cannot delete plan .*{plan.stem}.*by hand"):
            cache.discard(key())
    monkeypatch.setattr("fasdk.backends.tensorrt.sealed.open_bounded", refuse)
    with pytest.raises(PlanError, match=f"cannot read plan .*{plan.stem}"):
        cache.load(key())


def test_a_folder_that_cannot_be_made_is_named(cache: PlanCache) -> None:
    cache = PlanCache(cache.folder / "absent" / "plans")
    with pytest.raises(FasdkError, match="cannot make plan cache"):
        cache.store(key(), PLAN)
