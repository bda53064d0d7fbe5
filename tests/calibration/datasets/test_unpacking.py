"""Unpacking of WMCA's HDF5 files, written here with h5py as the distribution has them."""

from __future__ import annotations

import errno
import fcntl
import os
import tracemalloc
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.datasets import open_dataset
from fasdk_calibration.datasets.unpacking import unpack_wmca

from support.wmca_files import PARTS, part_path, pixels, write_part, write_video

LIVE, PRINT = "001_01_000_0_00", "002_01_015_3_01"


@pytest.fixture
def packed(tmp_path):
    folder = tmp_path / "packed"
    for video in (LIVE, PRINT):
        write_video(folder, video)
    return folder


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_frames_and_list_are_what_the_benchmark_has(packed, tmp_path):
    out = tmp_path / "out"
    report = unpack_wmca([packed], out)
    assert (report.videos, report.captures, report.unpaired_frames) == (2, 6, 0)
    folder = out / "WMCA-Image" / "R_CDIT" / LIVE
    assert {p.name for p in folder.iterdir()} == {"color", "depth", "ir"}
    assert {p.name for p in (folder / "ir").iterdir()} == {"0000.jpg", "0012.jpg", "0024.jpg"}
    color = cv2.imread(str(folder / "color" / "0012.jpg"), cv2.IMREAD_COLOR)[..., ::-1]
    wanted = pixels(PARTS["RGB"], 12).transpose(1, 2, 0)
    assert np.abs(color.astype(int) - wanted).max() <= 3, "red first, up to the JPEG"
    for plane, place in ((1, "depth"), (2, "ir")):
        found = cv2.imread(str(folder / place / "0012.jpg"), cv2.IMREAD_UNCHANGED)
        assert found.ndim == 2
        assert np.abs(found.astype(int) - pixels(PARTS["CDIT"], 12)[plane]).max() <= 2

    dataset = open_dataset(Path(report.list))
    dataset.require_files()
    assert [r.species for r in dataset.records] == ["bona fide"] * 3 + ["print"] * 3
    assert {(r.subject, r.depth_unit.value, r.face_crop) for r in dataset.records} == {
        ("WMCA/001", "level", True),
        ("WMCA/002", "level", True),
    }
    published = tmp_path / "W-test.txt"
    row = f"WMCA-Image/R_CDIT/{PRINT}/{{}}/0024.jpg"
    published.write_text(" ".join([*map(row.format, ("color", "depth", "ir")), "0"]))
    open_dataset(published, out).require_files()


def test_chosen_frames_and_those_of_one_file_alone(tmp_path):
    write_part(part_path(tmp_path / "in", "RGB", LIVE), 3, (12, 24, 36))
    write_part(part_path(tmp_path / "in", "CDIT", LIVE), 4, (12, 20, 24))
    report = unpack_wmca([tmp_path / "in"], tmp_path / "all")
    assert (report.captures, report.unpaired_frames) == (2, 2)
    report = unpack_wmca([tmp_path / "in"], tmp_path / "one", frames=(24, 36))
    assert report.captures == 1
    with pytest.raises(DatasetError, match="no video has a frame 36, 40: leave --frame out"):
        unpack_wmca([tmp_path / "in"], tmp_path / "none", frames=(40, 36))
    with pytest.raises(DatasetError, match=r"lacks color/0012\.jpg: it was unpacked with other"):
        unpack_wmca([tmp_path / "in"], tmp_path / "one")


def test_memory_does_not_grow_with_a_video(tmp_path):
    side, frames = 256, 24
    write_video(tmp_path / "in", LIVE, range(frames), side)
    unpack_wmca([tmp_path / "in"], tmp_path / "warm", frames=(0,))
    tracemalloc.start()
    unpack_wmca([tmp_path / "in"], tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 7 * side * side, "some frames of 7 planes, not all 24"


def rewrite(path: Path, change) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def replaced_by(name, data):
    def change(file):
        del file[name]
        file[name] = data

    return change


def external_dataset(file):
    del file["Frame_12/array"]
    file["Frame_12"].create_dataset("array", (3, 4, 4), "u1", external=[("/etc/passwd", 0, 48)])


CUT = {size: (lambda path, n=size: path.write_bytes(path.read_bytes()[:n])) for size in (9, 700)}
FAULTS = {
    "empty": (lambda path: path.write_bytes(b""), "is empty: copy it again"),
    "text": (lambda path: path.write_text("<html>"), "is no HDF5 file"),
    **{f"cut at {n}": (cut, "is cut short or damaged: copy it again") for n, cut in CUT.items()},
    "cut at the end": (
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "is cut short or damaged",
    ),
    "raw recording": (
        lambda path: rewrite(path, lambda f: [f.pop(k) for k in list(f)]),
        "has no frames: expected WMCA's preprocessed files",
    ),
    "no array": (lambda path: rewrite(path, replaced_by("Frame_12", 1)), "Frame_12 has no array"),
    "floating point": (
        lambda path: rewrite(path, replaced_by("Frame_12/array", np.zeros((3, 4, 4)))),
        r"Frame_12/array is float64 \[3, 4, 4\], expected uint8",
    ),
    "two dimensions": (
        lambda path: rewrite(path, replaced_by("Frame_12/array", np.zeros((3, 4), np.uint8))),
        r"Frame_12/array is uint8 \[3, 4\], expected uint8 \[3 or 4, height, width\]",
    ),
    "planes that differ": (
        lambda path: rewrite(path, replaced_by("Frame_12/array", np.zeros((4, 4, 4), np.uint8))),
        r"frames of \[3, 4\] planes",
    ),
    "a link to another file": (
        lambda path: rewrite(
            path, replaced_by("Frame_12/array", h5py.ExternalLink("/etc/other.hdf5", "/a"))
        ),
        "Frame_12 has no array",
    ),
    "data in another file": (
        lambda path: rewrite(path, external_dataset),
        "has its data in another file",
    ),
    "no partner": (Path.unlink, "has no file of its name in the part RGB: give that part's"),
    "a name of none": (
        lambda path: path.rename(path.with_name("face.hdf5")),
        "face is no video's name of WMCA",
    ),
    "a species of none": (
        lambda path: path.rename(path.with_name("001_01_000_4_99.hdf5")),
        "type and PAI 4_99",
    ),
    "twice": (
        lambda path: write_part(path.parent / "again" / path.name, 3),
        "are of one video: leave one out",
    ),
    "no frame in common": (
        lambda path: write_part(path, 3, (1, 2)),
        "share no frame",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_none_of_wmcas_is_refused_before_anything_is_written(
    fault, packed, tmp_path
):
    change, complaint = FAULTS[fault]
    change(part_path(packed, "RGB", PRINT))
    with pytest.raises(DatasetError, match=complaint) as caught:
        unpack_wmca([packed], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_faults_of_several_files_are_counted_and_folders_must_hold_some(packed, tmp_path):
    for part in PARTS:
        part_path(packed, part, LIVE).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"is empty: copy it again \(and 1 more files like it"):
        unpack_wmca([packed], tmp_path / "out")
    with pytest.raises(DatasetError, match=r"is no folder"):
        unpack_wmca([tmp_path / "absent"], tmp_path / "out")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \.hdf5 file"):
        unpack_wmca([tmp_path / "hollow"], tmp_path / "out")


def test_damaged_data_stop_the_run_and_the_same_command_goes_on(packed, tmp_path):
    path, out = part_path(packed, "CDIT", PRINT), tmp_path / "out"
    whole = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file["Frame_24/array"].id.get_chunk_info(0)
    damaged = bytearray(whole)
    damaged[chunk.byte_offset + 2 : chunk.byte_offset + 9] = b"\xff" * 7
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"Frame_24 is damaged: copy the file again"):
        unpack_wmca([packed], out)
    assert {p.name for p in (out / "WMCA-Image" / "R_CDIT").iterdir()} == {LIVE}
    assert not (out / "wmca.jsonl").exists()
    path.write_bytes(whole)
    report = unpack_wmca([packed], out)
    assert (report.videos, report.already_there) == (2, 1)


# As a write fails on a full disk: without the file's name.
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interrupt_leaves_whole_videos_alone(
    error, packed, tmp_path, monkeypatch
):
    out, write, written = tmp_path / "out", Path.write_bytes, []

    def failing(path, data):
        if len(written) == 13:  # the fifth frame of the second video
            raise error
        written.append(path)
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", failing)
        with pytest.raises((DatasetError, KeyboardInterrupt)) as caught:
            unpack_wmca([packed], out)
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"cannot write {out / 'WMCA-Image' / 'R_CDIT' / PRINT}: No space left: 1 of 2 videos "
            "are unpacked, and the same command goes on once that is mended"
        )
    assert {p.name for p in (out / "WMCA-Image" / "R_CDIT").iterdir()} == {LIVE}
    assert not (out / "wmca.jsonl").exists()
    # What a killed process leaves.
    (out / "WMCA-Image" / "R_CDIT" / f".{PRINT}.x7.part" / "color").mkdir(parents=True)
    report = unpack_wmca([packed], out)
    assert (report.captures, report.already_there) == (6, 1)
    again = tmp_path / "again"
    unpack_wmca([packed], again)
    assert tree(out) == tree(again)


def test_two_runs_into_one_folder_are_kept_apart(packed, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    descriptor = os.open(out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(DatasetError, match="another process unpacks into"):
            unpack_wmca([packed], out)
    finally:
        os.close(descriptor)
    unpack_wmca([packed], out)
