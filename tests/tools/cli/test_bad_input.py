"""Bad input of every verb: one line, exit 2 and no partial file."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FACE = ["--face", "80,40,150,160"]


def build_arguments(source, out, model="mmdg", **options):
    arguments = ["build-engine", source, "-o", out, "--model", model, "--backend", "onnxruntime"]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    return arguments


def assert_refused(ran, *words):
    assert ran.status == 2
    assert len(ran.error_lines) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    for word in words:
        assert str(word) in ran.error_lines[0]


class PlantedCode:
    """Unpickling this makes a folder: if the folder appears, code ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_does_not_exist(fasdk, tmp_path):
    ran = fasdk(*build_arguments(tmp_path / "none.pth", tmp_path / "out.fasb"))
    assert_refused(ran, "none.pth")


def test_a_pickle_with_code_is_refused_and_its_code_never_runs(fasdk, tmp_path):
    trap, source = tmp_path / "code-ran", tmp_path / "trap.pth"
    torch.save({"state_dict": {"weight": PlantedCode(trap)}}, source)
    assert_refused(fasdk(*build_arguments(source, tmp_path / "out.fasb")), "trap.pth")
    source.write_bytes(pickle.dumps(PlantedCode(trap)))
    assert_refused(fasdk(*build_arguments(source, tmp_path / "out.fasb")), "trap.pth")
    assert not trap.exists()


def test_a_checkpoint_of_another_model_is_named(fasdk, checkpoint, tmp_path):
    ran = fasdk(*build_arguments(checkpoint, tmp_path / "out.fasb", model="minifasnet-v2"))
    assert_refused(ran, checkpoint.name, "mmdg")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint(fasdk, checkpoint, tmp_path, share):
    whole = checkpoint.read_bytes()
    source = tmp_path / "cut.safetensors"
    source.write_bytes(whole[: int(len(whole) * share)])
    assert_refused(fasdk(*build_arguments(source, tmp_path / "out.fasb")), "cut.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9999])
@pytest.mark.parametrize("verb", ["inspect", "verify", "check", "profile", "build-plan"])
def test_a_truncated_bundle(fasdk, bundle, frames, tmp_path, share, verb):
    whole = bundle.read_bytes()
    source = tmp_path / "cut.fasb"
    source.write_bytes(whole[: int(len(whole) * share)])
    options = [*frames.options, *FACE] if verb == "check" else []
    assert_refused(fasdk(verb, source, *options), "cut.fasb")


def test_an_unknown_model_lists_the_known(fasdk, checkpoint, tmp_path):
    ran = fasdk(*build_arguments(checkpoint, tmp_path / "out.fasb", model="mmgd"))
    assert_refused(ran, "mmgd", "mmdg", "minifasnet-v2")


@pytest.mark.parametrize("precision", ["fp8", "int8", "auto"])
def test_a_precision_that_is_unknown_or_not_yet_there(fasdk, checkpoint, tmp_path, precision):
    ran = fasdk(*build_arguments(checkpoint, tmp_path / "out.fasb", precision=precision))
    assert_refused(ran, precision)
    assert not (tmp_path / "out.fasb").exists()


def test_an_unknown_backend_lists_the_known(fasdk, bundle):
    assert_refused(fasdk("verify", bundle, "--backend", "tensorflow"), "tensorrt-rtx")


def test_an_image_that_does_not_decode(fasdk, bundle, frames, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(frames.rgb.read_bytes()[:100])
    options = ["--rgb", broken, "--depth", frames.depth, "--ir", frames.ir]
    assert_refused(fasdk("check", bundle, *options, *FACE), "broken.png")


def test_a_depth_image_of_8_bits_is_not_millimeters(fasdk, bundle, frames):
    options = ["--rgb", frames.rgb, "--depth", frames.ir, "--ir", frames.ir]
    assert_refused(fasdk("check", bundle, *options, *FACE), "16")


def test_an_absent_modality_that_the_bundle_requires(fasdk, checkpoint, frames, tmp_path):
    strict = tmp_path / "strict.fasb"
    build = ("build-engine", checkpoint, "-o", strict, "--model", "mmdg")
    assert fasdk(*build, "--backend", "onnxruntime", "--require", "rgb,depth").status == 0
    ran = fasdk("check", strict, "--rgb", frames.rgb, "--ir", frames.ir, *FACE)
    assert_refused(ran, "depth")


@pytest.mark.parametrize(
    ("model", "required", "words"),
    [("mmdg", "rgb,thermal", "thermal"), ("minifasnet-v2", "depth", "does not look at it")],
)
def test_a_required_modality_nobody_knows(fasdk, checkpoint, tmp_path, model, required, words):
    build = ("build-engine", checkpoint, "-o", tmp_path / "x.fasb", "--model", model)
    assert_refused(fasdk(*build, "--require", required), words)


@pytest.mark.parametrize(
    "face",
    [
        "300,40,150,160",  # past the right edge
        "80,100,150,160",  # past the bottom
        "-1,40,150,160",  # before the left edge
        "80,40,0,160",  # no area
        "80,40,150",  # three numbers
        "a,b,c,d",
        "80.5,40,150,160",
    ],
)
def test_a_face_box_outside_the_frame_or_malformed(fasdk, bundle, frames, face):
    assert_refused(fasdk("check", bundle, *frames.options, f"--face={face}"))


def test_a_face_box_that_the_model_needs_is_missing(fasdk, bundle, frames):
    assert_refused(fasdk("check", bundle, *frames.options), "--face")


@pytest.mark.parametrize("points", ["1,2,3", "1,2,3,4,5,6,7,8,9,x", "1,2,3,4,5,6,7,8,9,nan"])
def test_landmarks_that_are_not_five_points(fasdk, bundle, frames, points):
    words = ("check", bundle, *frames.options, *FACE, f"--landmarks={points}")
    assert_refused(fasdk(*words), "is not x,y of five points")


def test_a_full_disk_leaves_the_old_bundle_and_no_scraps(fasdk, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "out.fasb"
    out.write_bytes(b"the old one")

    def no_space(_descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", no_space)
    assert_refused(fasdk(*build_arguments(checkpoint, out)), "out.fasb", "No space left")
    assert out.read_bytes() == b"the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["out.fasb"]


def test_a_real_write_limit_leaves_the_old_bundle(checkpoint, tmp_path):
    out = tmp_path / "out.fasb"
    out.write_bytes(b"the old one")
    arguments = [str(a) for a in build_arguments(checkpoint, out)]
    ran = subprocess.run(
        [sys.executable, "-m", "fasdk_tools.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert ran.returncode == 2, ran.stderr
    assert "File too large" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert out.read_bytes() == b"the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["out.fasb"]


def test_a_missing_folder_is_refused_before_any_work(fasdk, checkpoint, tmp_path):
    ran = fasdk(*build_arguments(checkpoint, tmp_path / "none" / "out.fasb"))
    assert_refused(ran, "folder")


def test_errors_are_json_too_when_asked_for(fasdk, tmp_path):
    import json

    ran = fasdk("inspect", tmp_path / "none.fasb", "--json")
    assert_refused(ran)
    assert "none.fasb" in json.loads(ran.stdout)["error"]
