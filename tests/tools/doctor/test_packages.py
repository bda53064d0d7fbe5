"""Packages, TensorRT flavors and keys as the doctor judges them."""

from __future__ import annotations

import os
import sys
from datetime import date, timedelta
from email.message import Message
from types import SimpleNamespace

import pytest

from fasdk.bundle.signing import generate_key
from fasdk.bundle.trust_store import add_key
from fasdk_tools.doctor import account, bundle, gpu, packages
from fasdk_tools.doctor.child import Answer
from fasdk_tools.doctor.findings import Level
from fasdk_tools.doctor.place import Place

from support import machine_trees, tiny_bundle
from support.doctor_plants import Answers, installed, looked, own_home

OPENCV = {"version": "4.12.0", "file": "/x/cv2/__init__.py", "built_with": {"FFMPEG": True}}


def named(findings, check):
    (found,) = (each for each in findings if each.check == check)
    return found


@pytest.fixture
def one_extra(monkeypatch):
    """Let cv2, and what else is named, be the packages of one extra."""

    def make(**answers):
        monkeypatch.setattr(packages, "EXTRAS", dict.fromkeys(answers or ("cv2",), "opencv"))
        sound = {f"import {name}": {"version": "99"} for name in ("numpy", "pydantic")}
        sound |= {f"import {name}": {"version": "99"} for name in ("cryptography",)}
        sound["import typing_extensions"] = {"version": "99"}
        given = {f"import {name}": answer for name, answer in answers.items()}
        return Place(child=Answers(sound | given))

    return make


def test_an_extra_that_is_partly_there_is_a_warning(one_extra):
    place = one_extra(cv2={"version": "4.12"}, no_such_package={})
    found = named(looked(place, packages.package_findings), "extra opencv")
    assert found.level is Level.WARN
    assert "no_such_package is not installed" in found.found


def test_an_import_that_hangs_is_a_warning_since_a_busy_machine_does_that_too(one_extra):
    place = one_extra(cv2=Answer(None, "gave no answer within 10 s", hung=True))
    found = named(looked(place, packages.package_findings), "extra opencv")
    assert found.level is Level.WARN
    assert "python -c 'import cv2'" in found.fix


def test_the_base_packages_are_those_that_fasdk_requires(one_extra):
    found = named(
        looked(one_extra(cv2={"version": "1"}), packages.package_findings), "base packages"
    )
    assert found.level is Level.OK
    for name in ("numpy", "pydantic", "cryptography", "typing_extensions"):
        assert name in found.found


def test_another_cv2_behind_the_one_that_is_used_is_a_warning(tmp_path, monkeypatch):
    hidden = tmp_path / "dist-packages"
    (hidden / "cv2").mkdir(parents=True)
    (hidden / "cv2" / "__init__.py").touch()
    place = Place(child=Answers({"opencv": OPENCV}))
    assert named(looked(place, packages.opencv_findings), "cv2").level is Level.OK
    monkeypatch.setattr(sys, "path", [*sys.path, str(hidden)])
    found = named(looked(place, packages.opencv_findings), "cv2")
    assert found.level is Level.WARN
    assert str(hidden) in found.found


@pytest.mark.parametrize(("wanted", "level"), [(">=3.10", Level.OK), (">=3.99", Level.FAIL)])
def test_python_is_held_to_the_range_of_the_release(monkeypatch, wanted, level):
    metadata = Message()
    metadata["Requires-Python"] = wanted
    installed_fasdk = SimpleNamespace(metadata=metadata)
    monkeypatch.setattr(packages, "distribution", lambda _: installed_fasdk)
    assert named(looked(Place(), packages.python_findings), "python").level is level


def test_two_tensorrt_side_by_side_are_a_warning(tmp_path, monkeypatch):
    machine_trees.virtual_machine(tmp_path)
    names = {"tensorrt-cu12": "10.9.0", "tensorrt-cu13": "10.13.0"}
    monkeypatch.setattr(gpu, "names_of", lambda _: names)
    with installed():
        found = named(looked(Place(root=tmp_path), gpu.tensorrt_findings), "TensorRT flavors")
    assert found.level is Level.WARN
    assert "tensorrt-cu12, tensorrt-cu13" in found.found


def test_a_release_of_jetson_linux_that_is_not_known_is_a_warning(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    tree.write("etc/nv_tegra_release", "# R99 (release), REVISION: 0.0, GCID: 1")
    found = named(looked(Place(root=tmp_path), gpu.jetpack_findings), "JetPack")
    assert found.level is Level.WARN


def test_a_key_that_expires_soon_is_a_warning(tmp_path):
    with own_home(tmp_path / "home"):
        public, _ = generate_key(tmp_path / "vendor.pem")
        day = date.today() + timedelta(days=9)
        add_key(public, expires=day)
        found = named(looked(Place(), account.account_findings), "trusted keys")
    assert found.level is Level.WARN
    assert f"expires on {day}" in found.found


def test_a_bundle_without_a_threshold_is_a_warning_and_still_judged(tmp_path):
    with own_home(tmp_path / "home"):
        door = tiny_bundle.write(tmp_path / "door.fasb", operating_points=())
        found = looked(Place(), bundle.asked_findings, bundle=door)
    assert named(found, "bundle").level is Level.WARN
    assert named(found, "golden captures").level is Level.OK
    assert named(found, "rate").level is Level.OK


@pytest.mark.parametrize(
    ("room", "level"),
    [
        ({"free_bytes": 5 << 30, "free_files": None, "is_read_only": False}, Level.OK),
        ({"free_bytes": 5 << 30, "free_files": 3, "is_read_only": False}, Level.FAIL),
        ({"free_bytes": 1 << 20, "free_files": 5000, "is_read_only": False}, Level.FAIL),
        ({"free_bytes": 500 << 20, "free_files": 5000, "is_read_only": False}, Level.WARN),
        ({"free_bytes": 5 << 30, "free_files": 5000, "is_read_only": True}, Level.WARN),
        ({"error": "Stale file handle"}, Level.FAIL),
    ],
)
def test_room_on_a_disk_is_judged_by_bytes_and_files(room, level):
    class Everywhere(dict):
        def __missing__(self, path):
            return room

    place = Place(child=Answers({"space": Everywhere()}))
    found = looked(place, account.disk_findings)
    assert {each.level for each in found} == {level}
    assert os.environ["FASDK_HOME"] in named(found, "disk of state").found
