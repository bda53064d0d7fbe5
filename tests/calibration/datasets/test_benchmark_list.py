"""List format of the MMDG benchmark: reading and writing."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.datasets import (
    DepthUnit,
    Label,
    LabelConvention,
    open_dataset,
    read_benchmark_list,
    write_benchmark_list,
)

WMCA = "WMCA-Image/R_CDIT/{0}/color/0012.jpg WMCA-Image/R_CDIT/{0}/depth/0012.jpg "
WMCA += "WMCA-Image/R_CDIT/{0}/ir/0012.jpg {1}"

# rows, bona fide, duplicates, videos, subjects; counted in the lists as they were published
PUBLISHED = {
    "C-train": (4800, 1200, 0, 1600, 400),
    "C-val": (2401, 601, 0, 801, 201),
    "C-test": (6739, 1200, 4, 3255, 507),
    "P-train": (1090, 597, 0, 1090, 1090),
    "P-val": (272, 145, 0, 272, 272),
    "P-test": (667, 363, 0, 667, 667),
    "S-train": (6297, 900, 20, 2099, 300),
    "S-val": (2100, 300, 0, 700, 100),
    "S-test": (12564, 1800, 56, 4188, 600),
    "W-train": (1695, 372, 0, 565, 35),
    "W-val": (1671, 324, 0, 557, 34),
    "W-test": (1671, 345, 0, 557, 34),
}
# Flex-Modal's files of one WMCA type each hold these many rows
WMCA_SPECIES = {
    "bona fide": 1041,
    "fake head": 366,
    "flexible mask": 1137,
    "glasses": 225,
    "paper mask": 213,
    "print": 600,
    "replay": 1044,
    "rigid mask": 411,
}


def write(path: Path, *lines: str, ending: str = "\n") -> Path:
    path.write_bytes("".join(line + ending for line in lines).encode())
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_list_counts_as_published_and_is_written_back_to_the_byte(
    reference, tmp_path, name
):
    path = reference / "mmdg-benchmark" / f"{name}.txt.gz"
    published = gzip.decompress(path.read_bytes())
    write_benchmark_list(read_benchmark_list(path), tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == published
    write_benchmark_list(read_benchmark_list(path), tmp_path / "again.txt.gz")
    assert gzip.decompress((tmp_path / "again.txt.gz").read_bytes()) == published

    dataset = open_dataset(path)
    records = dataset.records
    counts = (
        len(records),
        sum(record.is_bona_fide for record in records),
        len(records) - len({(r.rgb, r.depth, r.ir) for r in records}),
        len({record.presentation for record in records}),
        len({record.subject for record in records}),
    )
    assert counts == PUBLISHED[name]
    assert dataset.name == name
    assert len({record.id for record in records}) == len(records)
    assert {r.depth_unit for r in records} == {DepthUnit.LEVEL}
    assert all(record.face_crop for record in records)


def test_wmca_names_give_the_species_flex_modal_published(reference):
    lists = reference / "mmdg-benchmark"
    found = Counter(
        record.species
        for split in ("train", "val", "test")
        for record in open_dataset(lists / f"W-{split}.txt.gz").records
    )
    assert found == WMCA_SPECIES


def test_a_flex_modal_list_is_casia_surf_then_cefa(reference, tmp_path):
    parts = [
        gzip.decompress((reference / "mmdg-benchmark" / f"{letter}-val.txt.gz").read_bytes())
        for letter in "SC"
    ]
    path = tmp_path / "CASIA-SURF_CeFA_val.txt"
    path.write_bytes(b"\r\n".join(parts))
    records = open_dataset(path).records
    assert len(records) == 4501
    assert sum(record.is_bona_fide for record in records) == 901
    assert Counter(record.domain for record in records) == {"CASIA-SURF": 2100, "CeFA": 2401}
    write_benchmark_list(read_benchmark_list(path), tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_endings_and_a_missing_last_newline_survive(tmp_path, ending, last):
    lines = [WMCA.format("001_01_000_0_00", 1), WMCA.format("001_01_000_2_80", 0)]
    text = ending.join(lines) + (ending if last else "")
    path = tmp_path / "l.txt"
    path.write_bytes(text.encode())
    assert len(open_dataset(path).records) == 2
    assert read_benchmark_list(path).text == text


def test_a_repeated_row_is_kept_under_an_id_of_its_own(tmp_path):
    line = WMCA.format("001_01_000_0_00", 1)
    records = open_dataset(write(tmp_path / "l.txt", line, line, line)).records
    path = "WMCA-Image/R_CDIT/001_01_000_0_00/color/0012.jpg"
    assert [record.id for record in records] == [path, f"{path}#2", f"{path}#3"]
    assert {record.rgb for record in records} == {path}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a/color/1.jpg a/depth/1.jpg a/ir/1.jpg 1", "no capture of a known data set"),
        (WMCA.format("001_01_000_0_00", 2), "label: labels are '1', '2', and nothing says"),
        (WMCA.format("001_01_000_0_00", "live"), "label: labels are '1', 'live', numbers and"),
        (WMCA.format("001_01_000_0_00", 0), "label 0 is not what .* says, bona fide"),
        (WMCA.format("001_01_000_3_01", 1), "label 1 is not what .* says, print"),
        (WMCA.format("001_01_000_2_74", 0), "type and PAI 2_74, which WMCA does not define"),
        (WMCA.format("somebody", 0), "no capture of a known data set"),
        (WMCA.format("001_01_000_0_00", 1).replace("/ir/", "/thermal/"), "folder 'thermal'"),
        (WMCA.format("001_01_000_0_00", 1).replace("/ir/", "/depth/"), "in the column of ir"),
        ("a/color/1.jpg a/depth/1.jpg 1", "does not split as the other lines do"),
        ("../x.npz\t1", "does not split as the other lines do"),
    ],
)
def test_a_line_that_is_not_understood_is_named_by_file_and_line(tmp_path, line, message):
    good = WMCA.format("001_01_000_0_00", 1)
    with pytest.raises(DatasetError, match=rf"l\.txt:2: .*{message}"):
        open_dataset(write(tmp_path / "l.txt", good, line, good))


@pytest.mark.parametrize(
    "line",
    [
        "",
        WMCA.format("002_01_000_0_00", 1).replace(" ", "  "),
        WMCA.format("002_01_000_0_00", 1).replace(" ", "\t"),
        WMCA.format("002_01_000_0_00", "1 "),
    ],
)
def test_spaces_and_empty_lines_between_captures_do_not_matter(tmp_path, line):
    good = WMCA.format("001_01_000_0_00", 1)
    records = open_dataset(write(tmp_path / "l.txt", good, line, good)).records
    assert [record.subject for record in records] == ["WMCA/001", "WMCA/002", "WMCA/001"][
        :: 1 if line else 2
    ]


def test_a_path_of_an_archive_leads_nowhere_else(tmp_path):
    with pytest.raises(DatasetError, match=r"l\.txt:1: .*below the list's folder"):
        open_dataset(write(tmp_path / "l.txt", "../x.npz\t1"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xfe", "is empty"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_benchmark_list_refuses_empty_and_binary_files(tmp_path, content, message):
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path / "l.txt")
    with pytest.raises(DatasetError, match=r"cannot read list .*No such file"):
        open_dataset(tmp_path / "absent.txt")


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.9])
def test_a_damaged_gzip_file_is_refused(tmp_path, keep):
    data = gzip.compress((WMCA.format("001_01_000_0_00", 1) + "\n").encode() * 50)
    path = tmp_path / "l.txt.gz"
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(DatasetError, match=r"l\.txt\.gz (is no whole gzip file|is empty)"):
        open_dataset(path)


def test_a_live_0_list_needs_its_convention_said_and_is_never_guessed(tmp_path):
    live = "CASIA_SURF/Data/Val/real_part/CLKJ_BS1632/real.rssdk/color/0015.jpg 0"
    fake = "CASIA_SURF/Data/Val/fake_part/CLKJ_BS1245/02_e_b.rssdk/color/0017.jpg 1"
    path = write(tmp_path / "CASIA_SURF@p1_image_dev.txt", live, fake)
    with pytest.raises(DatasetError, match=r"dev\.txt:1: .*1-is-live: give the list's own"):
        open_dataset(path)
    first, second = open_dataset(path, convention=LabelConvention.ZERO_IS_LIVE).records
    assert (first.label, second.label) == (Label.BONA_FIDE, Label.ATTACK)
    assert second.species == "curved print without eyes"
    assert second.depth == fake.replace("/color/", "/depth/").removesuffix(" 1")
    assert second.ir == fake.replace("/color/", "/ir/").removesuffix(" 1")
    assert read_benchmark_list(path).text == path.read_text()
    good = write(tmp_path / "w.txt", WMCA.format("001_01_000_0_00", 1))
    with pytest.raises(DatasetError, match=r"w\.txt:1: .*0-is-live"):
        open_dataset(good, convention=LabelConvention.ZERO_IS_LIVE)


TRUTH = """transaction_id,trial_id,trial_name,modality,ground_truth,participant_id,gender
t1,zd6c8787,FACE,FACE,m00000,p1,F
t2,1c7d905a,FACE,FACE,m50602,p2,M
"""


def test_padisi_species_and_subjects_come_from_its_ground_truth_alone(tmp_path):
    path = write(tmp_path / "P-val.txt", "zd6c8787.npz\t1", "1c7d905a.npz\t0")
    unknown = open_dataset(path)
    assert [record.species for record in unknown.records] == ["bona fide", "unspecified"]
    assert "neither species nor subjects" in unknown.notes[0]
    (tmp_path / "padisi_USC_FACE_ground_truth.csv").write_text(TRUTH)
    known = open_dataset(path)
    assert [record.species for record in known.records] == ["bona fide", "makeup"]
    assert [record.subject for record in known.records] == ["PADISI/p1", "PADISI/p2"]
    assert known.notes == ()
    write(path, "zd6c8787.npz\t0")
    with pytest.raises(DatasetError, match=r"P-val\.txt:1: label 0 is not what"):
        open_dataset(path)
    write(path, "ffffffff.npz\t0")
    with pytest.raises(DatasetError, match=r"P-val\.txt:1: trial ffffffff is not in"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("m50602", "m51002"), r"csv:3: ground truth 'm51002' is none"),
        (("m50602", "m506"), r"csv:3: ground truth 'm506' is none"),
        (("participant_id", "person"), r"csv:1: lacks column participant_id"),
        (("t2,1c7d905a,FACE,FACE,m50602,p2,M", "t2,1c7d905a"), r"csv:3: has fewer cells"),
    ],
)
def test_a_malformed_ground_truth_is_named_by_line(tmp_path, change, message):
    path = write(tmp_path / "P-val.txt", "zd6c8787.npz\t1")
    (tmp_path / "padisi_USC_FACE_ground_truth.csv").write_text(TRUTH.replace(*change))
    with pytest.raises(DatasetError, match=message):
        open_dataset(path)


def test_a_source_of_another_kind_says_what_is_expected(tmp_path):
    (tmp_path / "l.xml").write_text("<a/>")
    with pytest.raises(DatasetError, match=r"l\.xml:1: '<a/>' is neither a header"):
        open_dataset(tmp_path / "l.xml")
    good = write(tmp_path / "w.txt", WMCA.format("001_01_000_0_00", 1))
    with pytest.raises(DatasetError, match=r"root .*nowhere does not exist"):
        open_dataset(good, tmp_path / "nowhere")


def test_a_wrong_root_names_the_first_ten_missing_files(tmp_path):
    lines = [WMCA.format(f"{client:03d}_01_000_0_00", 1) for client in range(5)]
    path = write(tmp_path / "w.txt", *lines)
    dataset = open_dataset(path, tmp_path)
    with pytest.raises(
        DatasetError, match=r"w: 15 frames are not below .*0012\.jpg \(line 4\), \.\.\.:"
    ) as e:
        dataset.require_files()
    assert str(e.value).count("0012.jpg") == 10
    for record in dataset.records:
        for name in (record.rgb, record.depth, record.ir):
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_bytes(b"")
    dataset.require_files()
