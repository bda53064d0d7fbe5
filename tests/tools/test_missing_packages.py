"""Base install: a session works with it alone, and what needs more names the extra."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from importlib.metadata import packages_distributions

import cv2
import numpy as np
import pytest
import typer.main
from packaging.utils import canonicalize_name

import fasdk
from fasdk.backends.specs import BACKENDS
from fasdk.extras import EXTRAS
from fasdk.home import HOME_VARIABLE, home_path
from fasdk_calibration.synthetic import Species, Split, generate
from fasdk_tools.cli.root import app

from support import base_session, tiny_bundle
from support.audit_logs import write_log
from support.base_install import (
    SITES,
    answer_of,
    distributions_of,
    link_packages,
    project,
    requirements_of,
    run_isolated,
)

BASE = {"cryptography", "numpy", "pydantic", "typing-extensions"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return link_packages(tmp_path_factory.mktemp("base") / "site")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    low, lower = ((tiny_bundle.point(threshold=threshold),) for threshold in (0.002, 0.001))
    first = tiny_bundle.write(folder / "first.fasb", operating_points=low)
    return first, tiny_bundle.write(folder / "second.fasb", revision=2, operating_points=lower)


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Sound captures of people, one of them moved, dim and cut, with their faces."""
    arrays = {}
    for number in range(4):
        made = generate(4, number, Split.HELD_OUT, species=Species.BONA_FIDE).capture
        frames = {m.value: made.frame(m) for m in made.present}
        if number == 1:
            frames["ir"] = np.roll(frames["ir"], (40, -45), axis=(0, 1))
        if number == 2:
            frames["rgb"] = frames["rgb"] // 8
        if number == 3:
            del frames["depth"]
        arrays |= {f"{number}-{name}": frame for name, frame in frames.items()}
        box = made.face
        arrays[f"{number}-face"] = np.array([box.x, box.y, box.width, box.height])
    path = tmp_path_factory.mktemp("captures") / "captures.npz"
    np.savez(path, **arrays)
    return path


def test_the_base_install_is_what_a_session_needs_and_every_extra_exists():
    assert {each.name for each in requirements_of()} == BASE
    assert set(EXTRAS.values()) <= set(project()["optional-dependencies"])
    assert "onnxruntime" not in distributions_of("cli")
    named = {each.name for each in requirements_of("jetson")}
    assert {"pycuda", "rich", "typer"} <= named
    assert not {"onnxruntime", "opencv-python"} & named
    workstation = {each.name for each in requirements_of("build")}
    assert {"onnxruntime", "opencv-python", "jinja2", "rich", "torch", "typer"} <= workstation


@pytest.mark.slow
def test_a_package_is_in_the_extra_that_a_message_names_for_it():
    owners = packages_distributions()
    assert {spec.module for spec in BACKENDS} - {"tensorrt"} <= EXTRAS.keys()
    for module, extra in EXTRAS.items():
        if module in owners:  # pycuda is installed on devices alone
            owning = {canonicalize_name(name) for name in owners[module]}
            assert distributions_of(extra) & owning, module


@pytest.mark.slow
def test_open_check_and_swap_work_with_the_base_install_and_a_tensorrt(site, bundles, captures):
    sites = os.pathsep.join(map(str, SITES))
    module = ("-m", "support.base_session", sites, *bundles, captures)
    found = answer_of(run_isolated(site, *module, tests=True))
    assert found.pop("present") == []
    assert found.pop("loaded") == []
    # The same with everything installed: OpenCV measures, ONNX Runtime runs the graph.
    expected = base_session.judge(*bundles, str(captures), fasdk.Backend.ONNXRUNTIME)
    assert found == expected
    assert {each["verdict"] for each in found["gates"]} >= {"live", "retry"}
    assert found["plain"][0]["bundle"] != found["swapped"][0]["bundle"]


@pytest.mark.parametrize("words", [("--help",), ("check", "--json")])
def test_the_script_without_typer_is_one_line(site, words):
    module, _, function = project()["scripts"]["fasdk"].partition(":")
    program = f"from {module} import {function}; {function}()"
    ran = run_isolated(site, "-c", program, *words)
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("fasdk: the command line needs ")
    assert "`pip install '.[cli]'`" in line
    assert json.loads(ran.stdout)["error"] in line if "--json" in words else ran.stdout == ""


# What each verb lacks where the base and the extra `cli` are installed; "" where it needs no more.
ROWS = {
    "accept": (("SIGNED", "--key", "KEY.pub"), ""),
    "attempts": ((), ""),
    "audit verify": (("AUDIT",), ""),
    "build-engine": (("SOURCE", "-o", "NEW", "--model", "minifasnet-v2"), "build"),
    "build-plan": (("BUNDLE",), "cpu"),
    "check": (("BUNDLE", "--rgb", "RGB.png"), "opencv"),
    "commission": (("BUNDLE", "--camera", "replay:FOLDER", "-o", "NEW.json"), "opencv"),
    "convert-clip": (("SOURCE",), "build"),
    "dataset check": (("LIST",), "opencv"),
    "dataset convert": (("LIST", "-o", "NEW.jsonl"), ""),
    "dataset crop": (("LIST", "-o", "NEW-crops"), "opencv"),
    "dataset split": (("LIST", "-o", "NEW-parts", "--part", "a=0.5", "--part", "b=0.5"), ""),
    "dataset unpack": (("wmca", "FOLDER", "-o", "NEW"), "hdf5"),
    "debug-parity": (("SOURCE", "--model", "mmdg"), "build"),
    "demo": ((), "build"),
    "describe": (("NET",), "build"),
    "doctor": ((), ""),
    "evaluate": (("BUNDLE", "--protocol", "LIST"), "opencv"),
    "inspect": (("BUNDLE",), ""),
    "keygen": (("NEW.pem",), ""),
    "metrics": (("SCORES",), ""),
    "models": ((), "build"),
    "plan-latency": (("BUNDLE",), "build"),
    "profile": (("BUNDLE",), "cpu"),
    "protocols": (("--tables", "P3"), "build"),
    "record": (
        (
            *("--camera", "replay:FOLDER", "--label", "live", "--subject", "1", "-o", "NEW.set"),
            *("--consent", "made up"),
        ),
        "opencv",
    ),
    "report": (("BUNDLE",), ""),
    "run": (("BUNDLE", "--camera", "replay:FOLDER"), "opencv"),
    "serve": (("BUNDLE", "--socket", "NEW.sock"), "serve"),
    "soak": (("BUNDLE", "--minutes", "0.1"), "cpu"),
    "synth": (("NEW.set", "--captures", "30"), "opencv"),
    "train": (("LIST", "-o", "NEW", "--model", "mmdg", "--development", "LIST"), "build"),
    "trust add": (("KEY.pub",), ""),
    "trust list": ((), ""),
    "trust revoke": (("KEY.pub",), ""),
    "tune": (("BUNDLE", "-o", "NEW", "--protocol", "LIST"), "opencv"),
    "verify": (("BUNDLE",), "cpu"),
}
ADDRESS = "pkcs11:token=vendor;object=key?module-path=/usr/lib/softhsm/libsofthsm2.so"
# The same for options and arguments that need more than their verb.
MORE = {
    "check of arrays": ("check", ("BUNDLE", "--rgb", "RGB.npy"), "cpu"),
    "evaluate --report": (
        "evaluate",
        ("BUNDLE", "--protocol", "LIST", "--report", "NEW.html"),
        "report",
    ),
    "profile --html": ("profile", ("BUNDLE", "--html", "NEW.html"), "report"),
    "profile --trace": ("profile", ("BUNDLE", "--trace", "NEW.trace"), "build"),
    "report -o": ("report", ("BUNDLE", "-o", "NEW.html"), "report"),
    "run opencv": ("run", ("BUNDLE", "--camera", "opencv:0"), "opencv"),
    "run --face-model": (
        "run",
        ("BUNDLE", "--camera", "realsense", "--face-model", "NET"),
        "opencv",
    ),
    "run realsense": ("run", ("BUNDLE", "--camera", "realsense:FILE.bag"), "realsense"),
    "verify rtx": ("verify", ("BUNDLE", "--backend", "tensorrt-rtx"), "rtx"),
    "verify openvino": ("verify", ("BUNDLE", "--backend", "openvino"), "openvino"),
    "tune with a token": (
        "tune",
        ("BUNDLE", "-o", "NEW", "--protocol", "LIST", "--sign-key", ADDRESS),
        "pkcs11",
    ),
}
CASES = {name: (name, *row) for name, row in ROWS.items()} | MORE

PROGRAM = """
import contextlib, io, json, sys
from pathlib import Path
from fasdk_tools.cli import main
answers = {}
for name, words in json.loads(Path(sys.argv[1]).read_text()).items():
    said, shown = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
        status = main(words)
    answers[name] = [status, said.getvalue()]
print(json.dumps(answers))
"""


def verbs_of(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs_of(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


@pytest.fixture(scope="module")
def files(tmp_path_factory, bundles):
    """What the rows name, by name."""
    from fasdk_tools.cli import main

    folder = tmp_path_factory.mktemp("files")
    frames = folder / "frames"
    frames.mkdir()
    for name, image in (
        ("0.rgb.png", np.full((24, 32, 3), 200, np.uint8)),
        ("0.depth.png", np.full((24, 32), 500, np.uint16)),
        ("0.ir.png", np.full((24, 32), 200, np.uint8)),
    ):
        assert cv2.imwrite(str(frames / name), image)
    np.save(folder / "rgb.npy", np.full((24, 32, 3), 200, np.uint8))
    rows = [
        {"label": ("bona fide", "attack")[n % 2], "species": ("bona fide", "print")[n % 2]}
        | {"subject": f"s{n}", "face": [4, 3, 20, 15]}
        | {m: f"frames/0.{m}.png" for m in ("rgb", "depth", "ir")}
        for n in range(4)
    ]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arrays = [{"rgb": "rgb.npy", "depth": "depth.npy", "ir": "ir.npy"}]
    np.save(folder / "depth.npy", np.full((24, 32), 500, np.uint16))
    np.save(folder / "ir.npy", np.full((24, 32), 200, np.uint8))
    (folder / "arrays.jsonl").write_text("".join(json.dumps(row) + "\n" for row in arrays))
    (folder / "scores.csv").write_text("score,label\n0.9,1\n0.1,0\n0.8,1\n0.3,0\n")
    for name in ("source.pth", "net.onnx", "file.bag"):
        (folder / name).write_bytes(b"not read")
    assert main(["keygen", str(folder / "key.pem")]) == 0
    signed = tiny_bundle.write(folder / "signed.fasb", folder / "key.pem")
    audit = folder / "door.audit"
    write_log(audit)
    return {
        "BUNDLE": bundles[0],
        "SIGNED": signed,
        "FOLDER": frames,
        "RGB.png": frames / "0.rgb.png",
        "RGB.npy": folder / "rgb.npy",
        "LIST": folder / "list.jsonl",
        "ARRAYS": folder / "arrays.jsonl",
        "AUDIT": audit,
        "SCORES": folder / "scores.csv",
        "SOURCE": folder / "source.pth",
        "NET": folder / "net.onnx",
        "FILE.bag": folder / "file.bag",
        "KEY": folder / "key.pem",
        "NEW": folder / "new",
    }


def filling(files):
    """Return a function that puts paths in the place of their names in a word."""
    names = re.compile("|".join(sorted(map(re.escape, files), key=len, reverse=True)))
    return lambda word: names.sub(lambda found: str(files[found[0]]), word)


@pytest.fixture(scope="module")
def answers(tmp_path_factory, files):
    """Exit status and standard error of every case, in one process without the packages."""
    site = link_packages(tmp_path_factory.mktemp("cli") / "site", "cli")
    filled = filling(files)
    asked = {name: [*verb.split(), *map(filled, words)] for name, (verb, words, _) in CASES.items()}
    path = site.parent / "asked.json"
    path.write_text(json.dumps(asked))
    # Of its own, since some of the verbs change what the account trusts.
    home = shutil.copytree(home_path(), site.parent / "home")
    return answer_of(run_isolated(site, "-c", PROGRAM, path, **{HOME_VARIABLE: home}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("build-plan", "BUNDLE"),
        ("check", "BUNDLE", "--rgb", "RGB.npy", "--missing-modalities", "degrade"),
        ("profile", "BUNDLE", "--seconds", "0.2"),
        ("run", "BUNDLE", "--camera", "replay:ARRAYS", "--no-gates", "--each-frame"),
        ("verify", "BUNDLE", "--backend", "tensorrt"),
    ],
)
def test_a_verb_of_a_device_needs_the_command_line_and_a_tensorrt_alone(tmp_path, files, words):
    site = link_packages(tmp_path / "site", "cli")
    sites = os.pathsep.join(map(str, SITES))
    program = (
        "import sys; from support.base_session import put_tensorrt_in_place as put; "
        "put(sys.argv[1].split(':')); from fasdk_tools.cli import main; "
        "sys.exit(main(sys.argv[2:]))"
    )
    ran = run_isolated(site, "-c", program, sites, *map(filling(files), words), tests=True)
    assert ran.returncode == (1 if words[0] == "check" else 0), ran.stderr
    assert "pip install" not in ran.stderr


def test_there_is_a_row_for_every_verb():
    assert sorted(ROWS) == sorted(verbs_of(typer.main.get_command(app)))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_verb_names_the_extra_it_lacks_in_one_line(answers, name):
    status, said = answers[name]
    lines = [
        line
        for line in said.splitlines()
        if line.strip()
        and "━" not in line
        and not line.startswith(("fasdk: warning: ", "fasdk: note: "))
    ]
    extra = CASES[name][2]
    if not extra:
        assert (status, lines) == (0, []), said
        return
    assert status == 2
    assert len(lines) == 1, said
    named = re.findall(r"`pip install '\.\[(\w+)\]'` in a checkout of fasdk", lines[0])
    assert named == [extra], said


def test_an_opencv_that_cannot_be_imported_is_named_so(monkeypatch, tmp_path):
    broken = tmp_path / "cv2.py"
    broken.write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.delitem(sys.modules, "cv2")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        fasdk.errors.PackageError, match=r"needs cv2, which cannot be imported \(num"
    ):
        from fasdk.faces import FaceFinder

        FaceFinder(tmp_path / "yunet.onnx")
