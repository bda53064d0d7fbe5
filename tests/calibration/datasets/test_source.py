"""Data sets made of several lists and folders."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import DatasetError, UsageError
from fasdk.preprocess import depth_to_8bit
from fasdk_calibration.datasets import DatasetSource, ListOptions, announce_dataset

from support.published_layouts import DRAWN_AS, LETTERS, write_published

COUNTS = {"train": 6, "test": 6}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"), COUNTS)


def own_list(folder: Path, name: str, *subjects: str, **more: object) -> Path:
    """Return a list of attacks without frames, one of each subject."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"{number}",
            "rgb": f"{name}/{number}.png",
            "label": "attack",
            "species": "print",
            "subject": subject,
            "domain": "lab",
            "presentation": f"{name}-{number}",
            **more,
        }
        for number, subject in enumerate(subjects)
    ]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("as_folders", [False, True])
def test_lists_and_folders_of_all_published_layouts_are_one_data_set(published, as_folders):
    sets = published.values()
    source = (
        DatasetSource(tuple(each.root for each in sets))
        if as_folders
        else DatasetSource(
            tuple(each.lists["train"] for each in sets), tuple(each.root for each in sets)
        )
    )
    dataset = source.open()
    announce_dataset(dataset)
    assert {r.domain for r in dataset.records} == {"WMCA", "CeFA", "PADISI", "CASIA-SURF"}
    assert len(dataset.records) == len(LETTERS) * (12 if as_folders else 6)
    assert len({r.id for r in dataset.records}) == len(dataset.records)
    assert {r.is_bona_fide for r in dataset.records} == {True, False}
    for record in dataset.records:
        capture = dataset.load(record, DRAWN_AS)
        assert capture.present == tuple(Modality)
        levels = depth_to_8bit(capture.frame(Modality.DEPTH), DRAWN_AS)
        assert np.count_nonzero(levels) > 100
    with pytest.raises(DatasetError, match="depth is kept as 8-bit levels"):
        dataset.load(dataset.records[0])


def test_the_published_lists_train_on_three_domains(reference):
    lists = [reference / "mmdg-benchmark" / f"{letter}-train.txt.gz" for letter in "CPS"]
    dataset = DatasetSource.of(*lists, root=reference).open()
    assert len(dataset.records) == 4800 + 1090 + 6297
    assert dataset.name == "C-train+P-train+S-train"
    assert any(note.startswith("P-train: PADISI's lists name neither") for note in dataset.notes)
    first = gzip.decompress(lists[0].read_bytes()).split()[0].decode()
    assert (dataset.records[0].rgb, dataset.root) == (first, reference)


def test_records_of_lists_in_different_folders_start_at_what_the_folders_share(tmp_path):
    first = own_list(tmp_path / "a" / "x", "train", "ann")
    second = own_list(tmp_path / "b", "train", "bob")
    dataset = DatasetSource.of(first, second).open()
    assert dataset.root == tmp_path
    assert [r.rgb for r in dataset.records] == ["a/x/train/0.png", "b/train/0.png"]
    assert [r.id for r in dataset.records] == ["0", "train#2/0"]
    assert dataset.name == "train+train#2"
    with pytest.raises(DatasetError, match=r"^train#2, line 1: capture train#2/0: "):
        dataset.load(dataset.records[1])
    with pytest.raises(DatasetError, match=r"2 frames are not below .*\(line 1\)"):
        dataset.require_files()


def test_one_list_stays_as_it_is(tmp_path):
    path = own_list(tmp_path, "train", "ann")
    source = DatasetSource.of(path)
    assert (source.name, source.open().root, source.open().name) == (path.name, tmp_path, "train")
    assert source.sha256() == DatasetSource((path,), options=ListOptions()).sha256()
    assert DatasetSource.of(tmp_path).sha256() is None


def test_a_root_is_for_all_lists_or_one_for_each(tmp_path, published):
    first, second = own_list(tmp_path, "a", "ann"), own_list(tmp_path, "b", "bob")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    roots = (tmp_path / "one", tmp_path / "two")
    assert DatasetSource((first, second), roots[:1]).open().root == roots[0]
    assert [r.rgb for r in DatasetSource((first, second), roots).open().records] == [
        "one/a/0.png",
        "two/b/0.png",
    ]
    # A folder has its own; the root is the list's.
    mixed = DatasetSource((published["W"].root, first), roots[:1])
    assert [len(each.roots) for each in mixed.each()] == [0, 1]
    assert len(mixed.open().records) == sum(COUNTS.values()) + 1
    with pytest.raises(UsageError, match="2 roots for 3 lists: give one root for all"):
        DatasetSource((first, second, tmp_path / "c.jsonl"), roots)
    with pytest.raises(DatasetError, match="is a folder: a root goes with a list only"):
        DatasetSource((published["W"].root,), roots[:1]).open()
    with pytest.raises(UsageError, match="no list is given"):
        DatasetSource(())


def test_what_would_count_twice_is_refused(tmp_path):
    path = own_list(tmp_path, "train", "ann", "bob")
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    with pytest.raises(DatasetError, match=r"link\.jsonl is given twice"):
        DatasetSource.of(path, link).open()
    again = tmp_path / "again.jsonl"
    again.write_text(path.read_text())
    with pytest.raises(DatasetError, match=r"train and again share 2 captures, such as 0: .*twice"):
        DatasetSource.of(path, again).open()


def test_what_is_decided_of_one_list_alone_names_it(tmp_path):
    own = own_list(tmp_path, "own", "ann")
    other = tmp_path / "other.csv"
    other.write_text("rgb,label\nx.png,spoof\ny.png,live\n")
    dataset = DatasetSource.of(own, other).open()
    assert all(line.startswith("other: ") for line in dataset.notes)
    assert len(dataset.notes) == 3
