"""Readers of data sets on folders of frames."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.preprocess import DepthEncoding, DepthPolarity, depth_to_8bit
from fasdk_calibration.datasets import open_dataset

DEPTH = DepthEncoding(near_mm=400, far_mm=900, polarity=DepthPolarity.NEAR_BRIGHT)
TRUTH = """transaction_id,trial_id,trial_name,ground_truth,participant_id
t1,zd6c8787,FACE_SMILE,m00000,p1
t2,1c7d905a,FACE_NEUTRAL,m50601,p2
t3,07aabb12,FACE_NEUTRAL,m50901,p2
"""


def add_video(folder: Path, *frames: str, color: str = "color", without: str = "") -> None:
    for inner in (color, "depth", "ir"):
        for frame in frames if inner != without else ():
            (folder / inner).mkdir(parents=True, exist_ok=True)
            pixels = np.full((6, 6, 3), 10 * len(frame), np.uint8)
            assert cv2.imwrite(str(folder / inner / frame), pixels)


def padisi_array(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 22, 32, 25), np.float32)


def test_wmca_as_unpacked_to_jpeg(tmp_path):
    videos = tmp_path / "WMCA-Image" / "R_CDIT"
    add_video(videos / "001_01_000_0_00", "0012.jpg", "0024.jpg")
    add_video(videos / "001_01_000_2_80", "0012.jpg")
    (videos / "001_01_000_2_80" / "thermal").mkdir()
    dataset = open_dataset(tmp_path)
    assert [(r.id, r.species, r.subject) for r in dataset.records] == [
        ("WMCA-Image/R_CDIT/001_01_000_0_00/0012", "bona fide", "WMCA/001"),
        ("WMCA-Image/R_CDIT/001_01_000_0_00/0024", "bona fide", "WMCA/001"),
        ("WMCA-Image/R_CDIT/001_01_000_2_80/0012", "flexible mask", "WMCA/001"),
    ]
    assert dataset.records[0].ir == "WMCA-Image/R_CDIT/001_01_000_0_00/ir/0012.jpg"
    assert len({record.presentation for record in dataset.records}) == 2
    assert dataset.notes == ()
    capture = dataset.load(dataset.records[2], DEPTH)
    assert capture.present == tuple(Modality)
    assert (depth_to_8bit(capture.frame(Modality.DEPTH), DEPTH) == 80).all()


@pytest.mark.parametrize(
    ("live", "fake"),
    [
        ("Val/real_part", "Val/fake_part"),
        ("CASIA-SURF-CROP/real_part/real_val_part", "CASIA-SURF-CROP/fake_part/fake_val_part"),
    ],
)
def test_casia_surf_in_both_layouts(tmp_path, live, fake):
    add_video(tmp_path / live / "CLKJ_AS0005" / "real.rssdk", "9.jpg", "121.jpg")
    add_video(tmp_path / fake / "CLKJ_AS0005" / "01_e_s.rssdk", "121.jpg")
    add_video(tmp_path / fake / "CLKJ_AS0005" / "06_enm_b.rssdk", "31.jpg")
    records = open_dataset(tmp_path).records
    assert Counter(record.species for record in records) == {
        "bona fide": 2,
        "flat print without eyes": 1,
        "curved print without eyes nose and mouth": 1,
    }
    assert {record.subject for record in records} == {"CASIA-SURF/CLKJ_AS0005"}
    assert [r.rgb for r in records if r.is_bona_fide] == [
        f"{live}/CLKJ_AS0005/real.rssdk/color/9.jpg",
        f"{live}/CLKJ_AS0005/real.rssdk/color/121.jpg",
    ]


@pytest.mark.parametrize(
    ("race", "masks", "color"),
    [("CeFA-Race", "CeFA-Mask", "profile"), ("Ethnicity", "Mask", "color")],
)
def test_cefa_in_both_layouts(tmp_path, race, masks, color):
    add_video(tmp_path / race / "AF" / "AF-300" / "1_300_1_1_1", "0026.jpg", color=color)
    add_video(
        tmp_path / race / "EA" / "EA-012-198006250024" / "3_012_3_1_4", "0026.jpg", color=color
    )
    add_video(tmp_path / masks / "3D-Mask" / "073" / "1_073_1_0_2_1_2", "0001.jpg", color=color)
    add_video(
        tmp_path / masks / "Silicone-Mask" / "008" / "2_008_1_1_2_1_4", "0076.jpg", color=color
    )
    records = open_dataset(tmp_path).records
    assert {(r.species, r.subject) for r in records} == {
        ("bona fide", "CeFA/AF-300"),
        ("replay", "CeFA/EA-012"),
        ("rigid mask", "CeFA/3D-Mask-073"),
        ("silicone mask", "CeFA/Silicone-Mask-008"),
    }
    assert all(record.modalities == tuple(Modality) for record in records)


def test_padisi_arrays_by_either_name_and_folders_of_images(tmp_path):
    (tmp_path / "padisi_USC_FACE_ground_truth.csv").write_text(TRUTH)
    np.savez(tmp_path / "ID_t1_zd6c8787_FACE_SMILE.npz", data=padisi_array(1))
    np.savez_compressed(tmp_path / "1c7d905a.npz", data=padisi_array(2))
    (tmp_path / "07aabb12").mkdir()
    for name in ("color", "depth", "ir"):
        cv2.imwrite(str(tmp_path / "07aabb12" / f"{name}.jpg"), np.full((6, 6, 3), 9, np.uint8))
    dataset = open_dataset(tmp_path)
    assert [(r.id, r.species, r.subject) for r in dataset.records] == [
        ("07aabb12", "tattoo", "PADISI/p2"),
        ("1c7d905a", "makeup", "PADISI/p2"),
        ("zd6c8787", "bona fide", "PADISI/p1"),
    ]
    for record, seed in ((dataset.records[1], 2), (dataset.records[2], 1)):
        capture = dataset.load(record, DEPTH)
        x = np.ceil(padisi_array(seed)[0] * 255).astype(np.uint8)
        assert np.array_equal(capture.frame(Modality.RGB), np.dstack([x[2], x[1], x[0]]))
        assert np.array_equal(capture.frame(Modality.IR), x[3])
        assert np.array_equal(depth_to_8bit(capture.frame(Modality.DEPTH), DEPTH), x[4])
    assert dataset.load(dataset.records[0], DEPTH).present == tuple(Modality)


def test_a_padisi_list_finds_its_trials_in_any_layout(tmp_path):
    root = tmp_path / "Data"
    root.mkdir()
    np.savez(root / "ID_t1_zd6c8787_FACE_SMILE.npz", data=padisi_array(1))
    (root / "1c7d905a").mkdir()
    cv2.imwrite(str(root / "1c7d905a" / "color.jpg"), np.full((6, 6, 3), 9, np.uint8))
    listing = tmp_path / "P-test.txt"
    listing.write_bytes(b"zd6c8787.npz\t1\n1c7d905a.npz\t0\n00000000.npz\t0")
    dataset = open_dataset(listing, root)
    first, second, third = dataset.records
    assert first.depth == "ID_t1_zd6c8787_FACE_SMILE.npz"
    assert (second.rgb, second.modalities) == ("1c7d905a/color.jpg", (Modality.RGB,))
    assert [path.name for path in dataset.missing_files()] == ["00000000.npz"]
    assert third.species == "unspecified"
    assert dataset.load(first, DEPTH).present == tuple(Modality)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"data": np.zeros((1, 21, 4, 4), np.float32)}, r"float32 \[1, 21, 4, 4\], expected float"),
        ({"data": np.zeros((22, 4, 4), np.float32)}, r"float32 \[22, 4, 4\], expected float"),
        ({"data": np.zeros((1, 22, 0, 4), np.float32)}, r"\[1, 22, 0, 4\], expected float"),
        ({"data": np.zeros((1, 22, 4, 4), np.uint8)}, r"uint8 .*expected float"),
        ({"data": np.full((1, 22, 4, 4), 2.0)}, r"leaves \[0, 1\]"),
        ({"data": np.full((1, 22, 4, 4), np.nan)}, r"leaves \[0, 1\]"),
        ({"array": np.zeros((1, 22, 4, 4))}, "holds no array called data"),
        ({"data": np.array([None, {}], object)}, "is no NumPy archive"),
    ],
)
def test_a_padisi_array_of_another_kind_is_named(tmp_path, data, message):
    (tmp_path / "padisi_USC_FACE_ground_truth.csv").write_text(TRUTH)
    np.savez(tmp_path / "zd6c8787.npz", **data)
    dataset = open_dataset(tmp_path)
    with pytest.raises(DatasetError, match=rf"capture zd6c8787: .*zd6c8787\.npz.*{message}"):
        dataset.load(dataset.records[0], DEPTH)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.95])
def test_a_damaged_padisi_array_is_named(tmp_path, keep):
    (tmp_path / "padisi_USC_FACE_ground_truth.csv").write_text(TRUTH)
    path = tmp_path / "zd6c8787.npz"
    np.savez(path, data=padisi_array(3))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    dataset = open_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"capture zd6c8787: .*no NumPy archive"):
        dataset.load(dataset.records[0], DEPTH)


def test_padisi_without_its_ground_truth_or_with_a_trial_twice_is_refused(tmp_path):
    np.savez(tmp_path / "zd6c8787.npz", data=padisi_array(1))
    with pytest.raises(DatasetError, match="PADISI captures without labels: put"):
        open_dataset(tmp_path)
    (tmp_path / "padisi_USC_FACE_ground_truth.csv").write_text(TRUTH)
    np.savez(tmp_path / "ID_t1_zd6c8787_FACE_SMILE.npz", data=padisi_array(1))
    with pytest.raises(DatasetError, match="are both trial zd6c8787"):
        open_dataset(tmp_path)
    (tmp_path / "ID_t1_zd6c8787_FACE_SMILE.npz").unlink()
    np.savez(tmp_path / "ffffffff.npz", data=padisi_array(1))
    with pytest.raises(DatasetError, match="trial ffffffff is not in"):
        open_dataset(tmp_path)


def test_a_frame_that_only_some_sensors_have_is_kept_and_noted(tmp_path):
    folder = tmp_path / "100_03_015_2_10"
    add_video(folder, "0012.jpg", "0013.jpg")
    (folder / "depth" / "0012.jpg").unlink()
    add_video(tmp_path / "100_03_015_0_00", "0012.jpg", without="ir")
    dataset = open_dataset(tmp_path)
    assert [record.modalities for record in dataset.records] == [
        (Modality.RGB, Modality.DEPTH),
        (Modality.RGB, Modality.IR),
        tuple(Modality),
    ]
    assert dataset.notes == ("2 of 3 captures lack a modality: no frame of that name is there",)
    assert dataset.load(dataset.records[1], DEPTH).present == (Modality.RGB, Modality.IR)


def test_the_folder_of_one_video_says_what_it_is_by_its_own_name(tmp_path, monkeypatch):
    add_video(tmp_path / "001_01_000_3_01", "0012.jpg")
    monkeypatch.chdir(tmp_path / "001_01_000_3_01")
    (record,) = open_dataset(Path()).records
    assert (record.species, record.rgb) == ("print", "color/0012.jpg")


def test_a_folder_of_no_known_layout_says_what_was_found(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(DatasetError, match=r"holds no captures of .*: found notes\.md; expected"):
        open_dataset(tmp_path)
    add_video(tmp_path / "holiday", "1.jpg")
    with pytest.raises(DatasetError, match=r"holiday is no capture of a known data set"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="a root goes with a list only"):
        open_dataset(tmp_path, tmp_path)


def test_wmcas_own_hdf5_says_how_to_unpack_it(tmp_path):
    folder = tmp_path / "preprocessed-face-station_CDIT" / "WMCA" / "face-station" / "12.02.18"
    folder.mkdir(parents=True)
    (folder / "100_03_015_2_10.hdf5").write_bytes(b"\x89HDF")
    with pytest.raises(DatasetError, match=r"100_03_015_2_10\.hdf5 is WMCA's HDF5.*unpack"):
        open_dataset(tmp_path)
