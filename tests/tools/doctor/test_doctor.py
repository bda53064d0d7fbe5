"""The doctor as a whole: sound machines, hangs, what it leaves alone, and the verb."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fasdk.backends.tensorrt.versions import NEWEST, OLDEST
from fasdk.errors import UsageError
from fasdk_tools.doctor import account, gpu, machine, native_probe, probes, run
from fasdk_tools.doctor import bundle as bundle_checks
from fasdk_tools.doctor.bundle_probe import read_only_cache
from fasdk_tools.doctor.child import Answer
from fasdk_tools.doctor.findings import Diagnosis, Finding, Group, Level, told_once
from fasdk_tools.doctor.place import Place, Request
from fasdk_tools.doctor.run import Check, diagnose

from support import machine_trees, tiny_bundle
from support.doctor_plants import ORIN_NANO_MODES, Answers, installed, looked, own_home

SOUND_GPU = {"cuda": "12.6", "gpus": ["Orin, compute capability 8.7"], "pycuda": "12.6"}


def levels(findings):
    return {each.check: each.level for each in findings}


def jetson(folder, tree):
    """Return a sound Jetson, and what its child processes would answer."""
    tree.write("etc/nvpmodel.conf", ORIN_NANO_MODES)
    answers = {"gpu": SOUND_GPU, "import tensorrt": {"version": f"{OLDEST}.0"}}
    answers["kernels"] = {"source": "fatbin"}
    return Place(root=folder, child=Answers(answers))


@pytest.mark.parametrize(
    ("make", "release", "jetpack"),
    [
        (machine_trees.orin_nano, "# R36 (release), REVISION: 4.3, GCID: 1", "JetPack 6"),
        (machine_trees.agx_thor, "# R39 (release), REVISION: 2.0, GCID: 1", "JetPack 7"),
    ],
)
def test_nothing_warns_on_a_sound_jetson(tmp_path, make, release, jetpack):
    tree = make(tmp_path)
    tree.write("etc/nv_tegra_release", release)
    place = jetson(tmp_path, tree)
    with installed("tensorrt", "pycuda"):
        found = looked(
            place,
            *(gpu.jetpack_findings, gpu.driver_findings, gpu.tensorrt_findings),
            *(gpu.kernel_findings, machine.condition_findings),
        )
    assert {each.level for each in found} <= {Level.OK, Level.UNKNOWN}, found
    assert levels(found)["power mode"] is Level.OK
    assert any(jetpack in each.found for each in found if each.check == "JetPack")


@pytest.mark.parametrize("make", [machine_trees.virtual_machine, machine_trees.desktop])
def test_what_is_not_there_is_said_and_is_no_warning(tmp_path, make):
    make(tmp_path)
    looks = (gpu.jetpack_findings, gpu.driver_findings, machine.condition_findings)
    found = looked(Place(root=tmp_path), *looks)
    assert levels(found)["power mode"] is levels(found)["JetPack"] is Level.UNKNOWN
    assert {each.level for each in found} <= {Level.OK, Level.UNKNOWN}


@pytest.mark.parametrize(
    ("mode", "modes", "level"),
    [
        ("15W", ORIN_NANO_MODES, Level.OK),
        ("7W", ORIN_NANO_MODES, Level.WARN),
        ("MAXN", ORIN_NANO_MODES, Level.OK),
        ("7W", "", Level.WARN),
        ("15W", "", Level.OK),
        ("120W", "", Level.OK),
    ],
)
def test_a_mode_below_the_usual_one_of_the_board_is_low(tmp_path, mode, modes, level):
    tree = machine_trees.orin_nano(tmp_path)
    tree.write("etc/nvpmodel.conf", modes)
    tree.write_power_mode(mode)
    found = looked(Place(root=tmp_path), machine.condition_findings)
    assert levels(found)["power mode"] is level


def test_a_jetson_that_does_not_tell_its_mode_is_unknown(tmp_path):
    machine_trees.orin_nano(tmp_path).write("nvpmodel.txt", "NVPM ERROR: Permission denied")
    found = looked(Place(root=tmp_path), machine.condition_findings)
    assert levels(found)["power mode"] is Level.UNKNOWN


@pytest.mark.parametrize(
    ("ahead_days", "level"), [(-3, Level.OK), (0.5, Level.OK), (1.5, Level.FAIL), (400, Level.FAIL)]
)
def test_a_clock_is_held_against_what_was_written_before(tmp_path, ahead_days, level):
    bundle = tmp_path / "door.fasb"
    bundle.touch()
    written_s = bundle.stat().st_mtime
    place = Place(now_s=lambda: written_s - ahead_days * 86_400, is_synchronized=lambda: None)
    (found,) = looked(place, machine.bundle_clock_findings, bundle=bundle)
    assert found.level is level


@pytest.mark.parametrize(("kept", "level"), [(True, "OK"), (False, "WARN"), (None, "OK")])
def test_a_clock_that_no_service_keeps_is_a_warning(kept, level):
    (found,) = looked(Place(is_synchronized=lambda: kept), machine.clock_findings)
    assert found.level.value == level


@pytest.mark.parametrize(
    ("limit", "pattern", "level"),
    [
        (0, "core", Level.OK),
        (-1, "core", Level.WARN),
        (4096, "|/usr/bin/dump", Level.WARN),
        (-1, "", Level.OK),
    ],
)
def test_core_dumps_are_on_where_the_limit_and_the_kernel_allow_them(
    tmp_path, limit, pattern, level
):
    machine_trees.virtual_machine(tmp_path).write("proc/sys/kernel/core_pattern", pattern)
    (found,) = looked(Place(root=tmp_path, core_limit=lambda: limit), machine.core_dump_findings)
    assert found.level is level


@pytest.mark.parametrize(
    ("version", "release", "level"),
    [
        ("10.2.9", "36", Level.FAIL),
        (f"{OLDEST}.0", "36", Level.OK),
        ("10.16.2.10", "39", Level.OK),
        (f"{NEWEST}.1", "39", Level.OK),
        ("11.5.0", "39", Level.WARN),
        ("11.0.0", "36", Level.FAIL),
        ("unknown", "36", Level.UNKNOWN),
    ],
)
def test_a_tensorrt_is_held_to_its_range_of_releases(tmp_path, version, release, level):
    tree = machine_trees.orin_nano(tmp_path)
    tree.write("etc/nv_tegra_release", f"# R{release} (release), REVISION: 1.0, GCID: 1")
    place = Place(root=tmp_path, child=Answers({"import tensorrt": {"version": version}}))
    with installed("tensorrt", "pycuda"):
        found = looked(place, gpu.tensorrt_findings)
    assert levels(found)["TensorRT"] is level


def test_what_opencv_was_built_with_is_read_from_its_own_text():
    text = """
  Video I/O:
    DC1394:                      NO
    FFMPEG:                      YES
      avcodec:                   YES (61.3.100)
    GStreamer:                   YES (1.20.3)
    v4l/v4l2:                    NO
"""
    assert probes.built_with(text) == {"FFMPEG": True, "GStreamer": True, "V4L2": False}
    assert probes.built_with("") == dict.fromkeys(("FFMPEG", "GStreamer", "V4L2"), False)


def test_native_preprocessing_that_differs_from_numpy_fails(monkeypatch):
    from fasdk import preprocess
    from fasdk.preprocess import Implementation, to_tensor

    assert bundle_checks.difference_finding(native_probe.differences()).level is Level.OK

    def other(frame, face, spec, *, using):
        tensor = to_tensor(frame, face, spec, using=using)
        is_color = frame.ndim == 3
        return tensor + np.float32(1e-6) * (using is Implementation.NATIVE and is_color)

    monkeypatch.setattr(preprocess, "to_tensor", other)
    found = bundle_checks.difference_finding(native_probe.differences())
    assert found.level is Level.FAIL
    assert "rgb in" in found.found
    assert "depth" not in found.found


def test_the_plan_cache_of_the_self_test_deletes_nothing(tmp_path):
    from fasdk.backends.tensorrt.cache import PlanKey
    from fasdk.errors import PlanError

    shape = {"rgb": (3, 16, 16)}
    key = PlanKey(
        graph_sha256="0" * 64,
        module="tensorrt",
        version=f"{OLDEST}.0",
        cuda="12.6",
        device="Orin",
        compute_capability="8.7",
        shapes=shape,
        max_batch=1,
    )
    cache = read_only_cache(tmp_path / "door.fasb")
    cache.folder.mkdir(mode=0o700)
    broken = [cache.folder / f"{key.digest}.{kind}" for kind in ("plan", "json")]
    for path in broken:
        path.write_bytes(b"damaged")
    assert cache.load(key) is None
    with pytest.raises(PlanError, match="holds no plan for this machine"):
        cache.require_writable()
    assert all(path.read_bytes() == b"damaged" for path in broken)


def test_a_check_that_hangs_or_fails_holds_up_no_other(monkeypatch):
    release = threading.Event()

    def hang(place, request):
        release.wait(30)
        return []

    def fail(place, request):
        raise ValueError("planted")

    def sound(place, request):
        return [Finding(Group.GPU, "driver", Level.OK, "there")]

    checks = (
        Check(Group.MACHINE, "hanging", hang),
        Check(Group.MACHINE, "failing", fail),
        Check(Group.GPU, "driver", sound),
    )
    monkeypatch.setattr(run, "CHECKS", checks)
    start_s = time.monotonic()
    found = diagnose(Request(), limit_s=0.3).findings
    release.set()
    assert time.monotonic() - start_s < 20
    assert {each.check: (each.level.value, each.found) for each in found} == {
        "driver": ("OK", "there"),
        "hanging": ("WARN", "the check did not end in time: what it looks at hangs"),
        "failing": ("WARN", "the check failed: ValueError: planted"),
    }


def test_a_file_of_the_kernel_that_hangs_ends_in_a_line(tmp_path, monkeypatch):
    machine_trees.virtual_machine(tmp_path)
    folder = tmp_path / "proc" / "driver" / "nvidia"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "version")  # opening it waits for a writer
    monkeypatch.setattr(run, "CHECKS", (Check(Group.GPU, "driver", gpu.driver_findings),))
    (found,) = diagnose(Request(), Place(root=tmp_path), limit_s=0.3).findings
    assert (found.level, found.check) == (Level.WARN, "driver")
    os.close(os.open(folder / "version", os.O_RDWR | os.O_NONBLOCK))


def test_a_complaint_without_a_fix_is_refused():
    with pytest.raises(UsageError, match="has level FAIL and no fix"):
        Finding(Group.GPU, "driver", Level.FAIL, "old")


def test_names_are_told_once_in_a_group():
    one = Finding(Group.GPU, "driver", Level.OK, "a")
    other = Finding(Group.CAMERAS, "driver", Level.OK, "b")
    assert [each.check for each in told_once([one, one, other])] == ["driver", "driver 2", "driver"]


def test_gstreamer_gets_a_copy_of_its_list_of_plug_ins(tmp_path, monkeypatch):
    known = tmp_path / "gstreamer-1.0" / "registry.x86_64.bin"
    known.parent.mkdir()
    known.write_bytes(b"known")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []

    def child(probe, question, limit_s, environment=None):
        path = Path(environment["GST_REGISTRY"]) if environment else None
        seen.append(path and (path != known and path.read_bytes()))
        return Answer({"error": "no such camera: plug one in"})

    for spec in ("csi:0", "opencv:videotestsrc ! appsink", "opencv:0"):
        looked(Place(child=child), bundle_checks.asked_findings, cameras=(spec,))
    assert seen == [b"known", b"known", None]
    assert known.read_bytes() == b"known"


def test_an_account_without_a_folder_is_given_none(tmp_path):
    with own_home(tmp_path / "home") as home:
        found = looked(Place(), account.account_findings, account.disk_findings)
        assert not home.exists()
    assert {each.level for each in found} <= {Level.OK, Level.WARN}


def contents(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


@pytest.mark.slow
def test_a_sound_machine_with_a_bundle_fails_nowhere_and_is_left_as_it_was(tmp_path):
    with own_home(tmp_path / "home"):
        bundle = tiny_bundle.write(tmp_path / "door.fasb")
        before = contents(tmp_path)
        start_s = time.monotonic()
        diagnosis = diagnose(Request(bundle=bundle))
        seconds = time.monotonic() - start_s
        assert contents(tmp_path) == before
    assert diagnosis.is_sound, [each for each in diagnosis.findings if each.level is Level.FAIL]
    assert diagnosis.seconds == pytest.approx(seconds, abs=1.0)
    found = {each.check: each for each in diagnosis.findings}
    assert found["golden captures"].found.startswith("3 reproduced on onnxruntime")
    assert "captures/s" in found["rate"].found
    assert found["signature"].level is Level.OK


@pytest.fixture
def diagnosed(monkeypatch):
    """Let the doctor find what a test says, and return the requests that were made."""
    requests = []

    def given(*findings):
        def diagnose(request, *, on_progress):
            requests.append(request)
            on_progress(1, 1)
            return Diagnosis(findings, 1.5)

        monkeypatch.setattr(run, "diagnose", diagnose)
        return requests

    return given


SOUND = Finding(Group.GPU, "driver", Level.OK, "driver 550.54")
WARNED = Finding(Group.MACHINE, "clock", Level.WARN, "kept by nobody", "`timedatectl`")
FAILED = Finding(Group.BUNDLE, "signature", Level.FAIL, "fits no key", "`fasdk trust add`")


@pytest.mark.parametrize(
    ("findings", "status", "answer"),
    [
        ((SOUND, WARNED), 0, "Nothing failed, 1 warning"),
        ((SOUND, WARNED, FAILED), 1, "1 check failed, 1 warning: fix each FAIL first"),
    ],
)
def test_the_verb_prints_a_line_a_check_with_its_fix(fasdk, diagnosed, findings, status, answer):
    diagnosed(*findings)
    ran = fasdk("doctor")
    assert ran.status == status
    assert ran.stdout.startswith(answer)
    assert "  clock  WARN kept by nobody. Fix: `timedatectl`" in ran.stdout
    assert ("  signature  FAIL fits no key. Fix: `fasdk trust add`" in ran.stdout) == bool(status)


def test_json_is_one_document_with_every_check(fasdk, diagnosed):
    diagnosed(SOUND, FAILED)
    ran = fasdk("doctor", "--json")
    document = json.loads(ran.stdout)
    assert ran.status == 1
    assert (document["ok"], document["failed"], document["warnings"]) == (False, 1, 0)
    assert document["checks"][1] == {
        "group": "Bundle",
        "check": "signature",
        "level": "FAIL",
        "found": "fits no key",
        "fix": "`fasdk trust add`",
    }


def test_what_is_asked_for_is_handed_on(fasdk, diagnosed, tmp_path):
    requests = diagnosed(SOUND)
    words = ("--camera", "opencv:0", "--camera", "realsense", "--backend", "onnxruntime")
    assert fasdk("doctor", "door.fasb", *words, "--allow", "rollback", "--unsigned").status == 0
    (request,) = requests
    assert request.cameras == ("opencv:0", "realsense")
    assert (request.backend, request.allow, request.unsigned) == (
        "onnxruntime",
        ("rollback",),
        True,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--key", "a.pub"), "name one"),
        (("door.fasb", "--key", "a.pub", "--unsigned"), "exclude each other"),
        (("door.fasb", "--backend", "cuda"), "unknown backend"),
        (("door.fasb", "--allow", "all"), "allow"),
        (("a.fasb", "b.fasb"), "argument"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(fasdk, words, said):
    ran = fasdk("doctor", *words)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert said in line


def test_a_passphrase_in_a_camera_is_shown_nowhere():
    place = Place(child=Answers({"camera": Answer(None, "crashed by SIGSEGV")}))
    cameras = ("opencv:rtsp://joe:hush@door/1",)
    (found,) = looked(place, bundle_checks.asked_findings, cameras=cameras)
    assert "hush" not in found.found + found.check + found.fix
