"""Verbs dataset convert, split and crop."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.frames import read_frame
from fasdk_calibration.datasets import DatasetSource, write_captures
from fasdk_calibration.synthetic import SceneSettings, generate_many

from support.published_layouts import DRAWN_AS, write_published

COUNTS = {"train": 6, "test": 3}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"), COUNTS, side=16)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A list of whole frames with face boxes."""
    folder = tmp_path_factory.mktemp("own")
    small = SceneSettings(width=96, height=72)
    return write_captures(generate_many(3, 4, settings=small, threads=1), folder, "train")


@pytest.mark.parametrize("name", ["all.jsonl", "all.csv"])
def test_what_is_converted_reads_as_it_did_without_a_root(fasdk, published, tmp_path, name):
    sets = [published[letter] for letter in "WCPS"]
    lists = [each.lists["train"] for each in sets]
    roots = [word for each in sets for word in ("--root", each.root)]
    out = tmp_path / "a folder" / name
    out.parent.mkdir()
    ran = fasdk("dataset", "convert", *lists, *roots, "-o", out, "--json")
    assert ran.status == 0, ran.stderr
    before = DatasetSource(tuple(lists), tuple(each.root for each in sets)).open()
    after = DatasetSource.of(out).open()
    assert json.loads(ran.stdout)["captures"] == len(before.records) == 24
    assert after.records == before.records
    assert after.root.resolve() == before.root
    for record in after.records[::6]:
        first, second = before.load(record, DRAWN_AS), after.load(record, DRAWN_AS)
        assert all(np.array_equal(first.frame(m), second.frame(m)) for m in Modality)


def test_a_list_beside_its_frames_needs_no_line_of_its_own(fasdk, own, tmp_path):
    shutil.copytree(own.parent, tmp_path / "moved")
    out = tmp_path / "moved" / "again.jsonl"
    assert fasdk("dataset", "convert", tmp_path / "moved" / own.name, "-o", out).status == 0
    assert out.read_text() == own.read_text()


def test_parts_share_no_person_and_are_drawn_by_the_seed(fasdk, published, tmp_path):
    folder = published["P"].root

    def split(name: str, seed: int) -> list[list[str]]:
        ran = fasdk(
            *("dataset", "split", folder, "-o", tmp_path / name, "--seed", seed),
            *("--part", "learn=0.5", "--part", "judge=0.5", "--json"),
        )
        assert ran.status == 0, ran.stderr
        parts = json.loads(ran.stdout)["parts"]
        return [sorted({r.subject for r in opened(each["list"])}) for each in parts]

    def opened(path: str):
        return DatasetSource.of(path).open().records

    first, again, other = split("a", 0), split("b", 0), [split(f"s{n}", n) for n in range(1, 6)]
    assert first == again
    assert any(first != each for each in other)
    learn, judge = first
    assert not set(learn) & set(judge)
    assert len(opened(tmp_path / "a" / "learn.jsonl")) + len(
        opened(tmp_path / "a" / "judge.jsonl")
    ) == sum(COUNTS.values())


def test_frames_are_cut_to_the_box_of_the_list(fasdk, own, tmp_path):
    rows = [json.loads(line) for line in own.read_text().splitlines()]
    del rows[1]["face"]
    rows[2]["ir_face"] = [3, 4, 20, 30]  # another view
    listing = own.with_name("some.jsonl")
    listing.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "crops"
    ran = fasdk("dataset", "crop", listing, "-o", out, "--json")
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["captures"], report["found"], len(report["failures"])) == (3, 0, 1)
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert failure["id"] == rows[1]["id"] and "no face box" in failure["reason"]
    cut = DatasetSource.of(out / "captures.jsonl").open()
    del rows[1]
    for row, record in zip(rows, cut.records, strict=True):
        assert record.face_crop and record.species == row["species"]
        for modality in Modality:
            x, y, width, height = row.get(f"{modality.value}_face", row["face"])
            whole = read_frame(own.parent / row[modality.value], modality)
            expected = whole[max(y, 0) : y + height, max(x, 0) : x + width]
            assert np.array_equal(cut.load(record).frame(modality), expected)


def test_faces_are_found_where_the_list_has_no_box(fasdk, reference, tmp_path):
    photographs = sorted((reference / "silent-face").glob("*.jpg"))
    assert len(photographs) == 2
    lines = [
        f"{path.name},{label}\n" for path, label in zip(photographs, ("spoof", "live"), strict=True)
    ]
    listing = tmp_path / "photos.csv"
    listing.write_text("rgb,label\n" + "".join(lines))
    model = next((reference / "yunet").glob("*.onnx"))
    ran = fasdk(
        *("dataset", "crop", listing, "--root", reference / "silent-face"),
        *("--face-model", model, "-o", tmp_path / "crops", "--json"),
    )
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["captures"], report["found"], report["failures"]) == (2, 2, [])
    again = fasdk(
        *("dataset", "crop", tmp_path / "crops" / "captures.jsonl", "-o", tmp_path / "twice"),
    )
    assert again.status == 2 and "cut to the face already" in again.error_lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("convert", "{own}", "-o", "{out}/x.txt"), "end it .jsonl or .csv"),
        (("convert", "{own}", "-o", "{out}/none/x.csv"), "its folder does not exist"),
        (("convert", "{own}", "-o", "{own}"), "is also LIST"),
        (("convert", "{list}", "--root", "{out}", "-o", "{out}/x.csv"), "not below {out}"),
        (("convert", "{list}", "--root", "{out}/no", "-o", "{out}/x.csv"), "does not exist"),
        (("convert", "{out}", "-o", "{out}/x.csv"), "holds no captures of a known data set"),
        (("split", "{own}", "-o", "{own}"), "exists: give the name of a new folder"),
        (("split", "{own}", "-o", "{out}/x", "--part", "a=0.5"), "make 0.5, expected 1"),
        (("split", "{own}", "-o", "{out}/x", "--part", "a=-1"), "a share of -1"),
        (("split", "{own}", "-o", "{out}/x", "--part", "../a=1"), "cannot name a list"),
        (("split", "{own}", "-o", "{out}/x", "--part", "a=half"), "'half' is no share"),
        (("split", "{own}", "-o", "{out}/x"), "give fewer parts, a larger share, or captures"),
        (("crop", "{own}", "-o", "{own}"), "exists: give the name"),
        (("crop", "{own}", "-o", "{out}/x", "--face-model", "{own}"), "YuNet"),
        (("crop", "{list}", "--root", "{root}", "-o", "{out}/x"), "cut to the face already"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    fasdk, own, published, tmp_path, words, message
):
    names = {
        "own": own,
        "out": tmp_path,
        "list": published["W"].lists["train"],
        "root": published["W"].root,
    }
    ran = fasdk("dataset", *(word.format(**names) for word in words))
    assert ran.status == 2, ran.stdout
    (line,) = ran.error_lines
    assert message.format(**names) in line
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_cannot_be_read_ends_a_crop_without_a_trace(fasdk, own, tmp_path):
    shutil.copytree(own.parent, tmp_path / "copy")
    listing = tmp_path / "copy" / own.name
    last = json.loads(listing.read_text().splitlines()[-1])
    (tmp_path / "copy" / last["ir"]).write_bytes(b"no image")
    ran = fasdk("dataset", "crop", listing, "-o", tmp_path / "crops")
    assert ran.status == 2 and f"line 4: capture {last['id']}" in ran.error_lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_list_that_names_nobody_is_not_split(fasdk, own, tmp_path):
    listing = own.with_name("nobody.csv")
    rows = [json.loads(line) for line in own.read_text().splitlines()]
    listing.write_text("rgb,label\n" + "".join(f"{r['rgb']},{r['label']}\n" for r in rows))
    ran = fasdk("dataset", "split", listing, "-o", tmp_path / "x", "--part", "a=1")
    assert ran.status == 2 and "does not say who is seen" in ran.error_lines[-1]
    assert Counter(tmp_path.iterdir()) == {}
