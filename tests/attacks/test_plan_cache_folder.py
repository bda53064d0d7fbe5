"""Plan caches that somebody prepared: native code must come from this account on this machine.

Who has another account, a copy of a device's folder, its MAC key, or write access to the folder for
a moment puts a folder, link, FIFO, device or file where a plan is looked for. Answer: a folder that
others can fill or that is a link is refused with the fix; a copied folder and everything that is no
file of ours is rebuilt; nothing hangs or is read without end; an account that only reads the
folder never needs to write it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fasdk.backends.engine import Backend
from fasdk.backends.tensorrt.cache import PlanCache, PlanKey
from fasdk.backends.tensorrt.plan import BuiltPlan
from fasdk.backends.tensorrt.sealed import KEY_FILE
from fasdk.errors import PlanError
from fasdk.machine import machine_tag

PLAN = BuiltPlan(b"executable code", Backend.TENSORRT, "10.7.0", (), 4, 1.5)
OTHER_ACCOUNT = 54321


def plan_key(**changes: Any) -> PlanKey:
    fields: dict[str, Any] = {
        "graph_sha256": "a" * 64,
        "module": "tensorrt",
        "version": "10.7.0",
        "cuda": "12.6",
        "device": "Orin",
        "compute_capability": "8.7",
        "gpu_uuid": "1" * 32,
        "shapes": {"rgb": (3, 16, 16)},
        "max_batch": 4,
    }
    return PlanKey(**(fields | changes))


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    made = PlanCache.beside(tmp_path / "lobby.fasb")
    made.store(plan_key(), PLAN)
    return made


def chown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a path another account's, or this account another one where only root could."""
    if os.geteuid() == 0:
        os.chown(path, OTHER_ACCOUNT, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: OTHER_ACCOUNT)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720, 0o1777])
def test_a_folder_that_others_can_write_is_refused_and_the_fix_works(
    cache: PlanCache, mode: int
) -> None:
    cache.folder.chmod(mode)
    for attempt in (lambda: cache.load(plan_key()), lambda: cache.store(plan_key(), PLAN)):
        with pytest.raises(PlanError, match=rf"mode {mode:04o}, others can write there: remove it"):
            attempt()
    shutil.rmtree(cache.folder)  # the fix
    assert cache.load(plan_key()) is None
    cache.store(plan_key(), PLAN)
    assert cache.load(plan_key()) == PLAN.data
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


def test_a_folder_of_another_account_is_refused(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    chown(cache.folder, monkeypatch)
    with pytest.raises(PlanError, match="belongs to account"):
        cache.load(plan_key())
    with pytest.raises(PlanError, match="belongs to account"):
        cache.store(plan_key(), PLAN)
    with pytest.raises(PlanError, match="belongs to account"):
        cache.require_writable()


@pytest.mark.parametrize("target", ["folder", "nothing", "file"])
def test_a_link_in_place_of_the_folder_is_refused(
    cache: PlanCache, tmp_path: Path, target: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    cache.folder.rename(elsewhere)
    if target == "nothing":
        shutil.rmtree(elsewhere)
    if target == "file":
        elsewhere = elsewhere / KEY_FILE
    cache.folder.symlink_to(elsewhere)
    for attempt in (lambda: cache.load(plan_key()), lambda: cache.store(plan_key(), PLAN)):
        with pytest.raises(PlanError, match="is a link, expected a folder: remove it"):
            attempt()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    cache = PlanCache.beside(tmp_path / "lobby.fasb")
    os.mkfifo(cache.folder)
    with pytest.raises(PlanError, match="no folder"):
        cache.load(plan_key())


def test_a_folder_copied_to_another_machine_is_rebuilt_there(
    cache: PlanCache, tmp_path: Path
) -> None:
    copied = tmp_path / "copied.plans"
    shutil.copytree(cache.folder, copied)
    other = PlanCache(copied, machine="another machine")
    assert other.load(plan_key()) is None
    other.store(plan_key(), PLAN)
    assert other.load(plan_key()) == PLAN.data
    assert cache.load(plan_key()) == PLAN.data


def test_a_plan_of_another_gpu_of_that_name_is_not_used(cache: PlanCache) -> None:
    assert cache.load(plan_key(gpu_uuid="2" * 32)) is None


def test_a_plan_forged_with_a_stolen_key_for_another_machine_is_not_used(
    cache: PlanCache, tmp_path: Path
) -> None:
    forged = PlanCache(tmp_path / "attacker.plans", machine="the attacker's")
    forged.folder.mkdir(mode=0o700)
    shutil.copy2(cache.folder / KEY_FILE, forged.folder)
    forged.store(plan_key(), BuiltPlan(b"evil", Backend.TENSORRT, "10.7.0", (), 4, 1.5))
    for file in forged.folder.iterdir():
        shutil.copy2(file, cache.folder)
    assert cache.load(plan_key()) is None


def test_a_record_of_the_former_form_without_a_machine_is_not_used(cache: PlanCache) -> None:
    record_file = cache.folder / f"{plan_key().digest}.json"
    record = json.loads(record_file.read_text())
    message = f"fasdk plan 1\n{plan_key().digest}\n{record['plan_sha256']}".encode()
    mac_key = (cache.folder / KEY_FILE).read_bytes()
    record["mac"] = hmac.new(mac_key, message, hashlib.sha256).hexdigest()
    record_file.write_text(json.dumps(record))
    assert cache.load(plan_key()) is None


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"x")


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**32 + 2**20)


def writable(path: Path) -> None:
    path.write_bytes(b"executable code")
    path.chmod(0o666)


@pytest.mark.parametrize("name", ["plan", "json", KEY_FILE])
@pytest.mark.parametrize("put", [fifo, zeros, folder, endless, writable])
def test_what_is_no_file_of_ours_is_rebuilt_at_once(
    cache: PlanCache, name: str, put: Callable[[Path], None]
) -> None:
    path = cache.folder / (KEY_FILE if name == KEY_FILE else f"{plan_key().digest}.{name}")
    path.unlink()
    put(path)
    assert cache.load(plan_key()) is None
    cache.store(plan_key(), PLAN)
    assert cache.load(plan_key()) == PLAN.data
    assert len(list(cache.folder.iterdir())) == 3


def test_a_file_of_another_account_is_not_used(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[stat.ST_UID] = OTHER_ACCOUNT
        return os.stat_result(found)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        assert cache.load(plan_key()) is None


def test_an_account_that_may_only_read_uses_the_installers_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PlanCache.beside(tmp_path / "lobby.fasb")
    cache.folder.mkdir()
    cache.folder.chmod(0o750)  # as `install -d -g fasdk -m 0750` makes it
    group = os.getgroups()[0] if os.geteuid() else OTHER_ACCOUNT
    os.chown(cache.folder, -1, group)
    cache.store(plan_key(), PLAN)
    for file in cache.folder.iterdir():
        found = file.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o640, group)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # a folder this account cannot write
    assert cache.load(plan_key()) == PLAN.data
    before = sorted(cache.folder.iterdir())
    assert cache.load(plan_key(version="10.4.0")) is None
    with pytest.raises(PlanError, match="run `fasdk build-plan` on the bundle as the account that"):
        cache.require_writable()
    (cache.folder / f"{plan_key().digest}.plan").write_bytes(b"damaged")
    assert cache.load(plan_key()) is None
    assert sorted(cache.folder.iterdir()) == before


def test_the_tag_of_this_machine_is_stable_and_of_one_purpose() -> None:
    assert machine_tag("plans") == machine_tag("plans") != machine_tag("proofs")
