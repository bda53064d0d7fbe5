"""Recordings: whole presentations in the list, or none of them."""

from __future__ import annotations

import errno
import json
import os
import re
import stat

import pytest

from fasdk.errors import DatasetError, FasdkError, StateError
from fasdk_calibration.datasets import Label, open_dataset
from fasdk_calibration.datasets.check import check_dataset
from fasdk_calibration.datasets.presented import Presented
from fasdk_calibration.datasets.recording import FRAMES, LIST_NAME, open_recording

from support.recorded import capture, litter, presentations

PRINT = Presented.named("attack", "print", "s01", "lobby")
AGREED = "form 17, in the office"


def record(folder, *levels, presented=PRINT, consent=AGREED):
    with (
        open_recording(folder) as recording,
        recording.presentation(presented, consent) as presentation,
    ):
        for level in levels:
            presentation.add(capture(level))
    return presentation.name


def test_a_presentation_is_a_line_a_capture_with_its_frames(tmp_path):
    folder = tmp_path / "lobby"
    first = record(folder, 1, 2)
    live = Presented.named("bona fide", None, "s02", "lobby")
    second = record(folder, 3, presented=live)
    assert first.rpartition("-")[0] == second.rpartition("-")[0]
    dataset = open_dataset(folder / LIST_NAME)
    assert [r.presentation for r in dataset.records] == [first, first, second]
    assert [(r.label, r.species, r.subject) for r in dataset.records[1:]] == [
        (Label.ATTACK, "print", "s01"),
        (Label.BONA_FIDE, "bona fide", "s02"),
    ]
    assert {r.domain for r in dataset.records} == {"lobby"}
    assert presentations(folder) == {first: 2, second: 1}
    assert litter(folder) == []
    report = check_dataset(dataset, with_frames=True)
    assert (report.faults, report.subjects, report.presentations) == ((), 2, 2)


def test_frames_of_people_are_for_their_owner_alone(tmp_path):
    folder = tmp_path / "lobby"
    name = record(folder, 1)
    for path in (folder, folder / FRAMES, folder / FRAMES / name, folder / LIST_NAME):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    for path in (folder / FRAMES / name).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_consent_is_a_line_of_the_list_once_a_subject(tmp_path):
    folder = tmp_path / "lobby"
    record(folder, 1)
    record(folder, 2)
    record(folder, 3, consent=None)
    with open_recording(folder) as recording:
        assert recording.has_consent("s01") and not recording.has_consent("s1")
        with pytest.raises(DatasetError, match=r"does not say that s02 agreed .* give --consent"):
            recording.presentation(Presented.named("live", None, "s02", "lobby"))
        with pytest.raises(DatasetError, match="expected a sentence on one line"):
            recording.presentation(PRINT, "form 17\n{}")
    lines = [li for li in (folder / LIST_NAME).read_text().split("\n") if "consent" in li]
    assert len(lines) == 1
    assert re.fullmatch(
        r'# consent of "s01": form 17, in the office, said on \d{4}-\d\d-\d\dT[\d:]{8}\+00:00',
        lines[0],
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("attack", None, "s", "d"), "species not given: name what was presented"),
        (("attack", "live", "s", "d"), "species live: name what was presented"),
        (("bona fide", "print", "s", "d"), "a bona fide presentation has no species"),
        (("print", None, "s", "d"), "expected bona fide or attack"),
        (("attack", "print", " ", "d"), "subject is ' ', expected a name"),
        (("attack", "print", "s\n", "d"), "expected a name on one line"),
        (("attack", "", "s", "d"), "species is '', expected a name"),
    ],
)
def test_labels_and_names_that_a_list_could_not_hold(given, says):
    with pytest.raises(DatasetError, match=says):
        Presented.named(*given)


@pytest.mark.parametrize(
    ("label", "species"), [("Bona-Fide", None), ("live", "bona fide"), ("real", "none")]
)
def test_labels_are_the_words_of_lists(label, species):
    assert Presented.named(label, species, "s", "d").species == "bona fide"
    assert Presented.named("spoof", " print ", "s", "d").species == "print"


def test_an_error_during_a_presentation_leaves_what_was_there(tmp_path):
    folder = tmp_path / "lobby"
    record(folder, 1)
    before = (folder / LIST_NAME).read_bytes()
    with (
        pytest.raises(KeyboardInterrupt),
        open_recording(folder) as recording,
        recording.presentation(PRINT) as presentation,
    ):
        presentation.add(capture(2))
        raise KeyboardInterrupt
    assert (folder / LIST_NAME).read_bytes() == before
    assert litter(folder) == []


def test_a_new_folder_without_a_presentation_is_removed(tmp_path):
    folder = tmp_path / "lobby"
    with (
        pytest.raises(KeyboardInterrupt),
        open_recording(folder) as recording,
        recording.presentation(PRINT, AGREED) as presentation,
    ):
        presentation.add(capture())
        raise KeyboardInterrupt
    assert not folder.exists()
    folder.mkdir()
    with open_recording(folder):
        pass
    assert folder.is_dir()  # it was there before


def fail_at(patch, number, code):
    """Let the call of that number that needs space on the disk fail."""
    calls = 0

    def guard(function, counts=lambda *_: True):
        def called(*words, **more):
            nonlocal calls
            calls += bool(counts(*words))
            if calls == number and counts(*words):
                raise OSError(code, os.strerror(code))
            return function(*words, **more)

        return called

    patch.setattr(os, "open", guard(os.open, lambda _, flags, *__: flags & os.O_ACCMODE))
    for name in ("mkdir", "fsync", "link"):
        patch.setattr(os, name, guard(getattr(os, name)))
    return lambda: calls >= number


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_disk_that_is_full_at_any_write_leaves_whole_presentations(
    tmp_path_factory, monkeypatch, code, is_first
):
    number, failed = 0, True
    while failed:
        number += 1
        folder = tmp_path_factory.mktemp("full") / "lobby"
        old = set() if is_first else {record(folder, 1)}
        with monkeypatch.context() as patch:
            has_failed = fail_at(patch, number, code)
            try:
                record(folder, 2)
            except FasdkError as error:
                assert os.strerror(code) in str(error) and str(folder) in str(error)
            failed = has_failed()
        found = presentations(folder)
        assert old <= set(found) and len(found) <= len(old) + 1
        assert not (failed and set(found) == set()) or not folder.exists()
        assert litter(folder) == []
        with open_recording(folder) as recording:
            assert recording.count(PRINT) == len(found)
    assert number > 12  # a folder, frames, marks and the list


def test_what_a_killed_process_left_is_removed_and_its_number_not_used_again(tmp_path):
    folder = tmp_path / "lobby"
    name = record(folder, 1)
    of = name.rpartition("-")[0]
    counted, cut, begun, removed = (folder / FRAMES / f"{of}-0000{n}" for n in (1, 5, 6, 7))
    for path in (cut, begun, removed):
        path.mkdir()
    (counted / ".unfinished").touch()  # killed after the list was written
    (cut / ".unfinished").touch()
    (cut / "00.rgb.png").touch()
    (begun / "..unfinished.0123456789abcdef.part").touch()  # killed before the mark was
    (removed / "00.rgb.png").touch()  # whose lines were removed by hand
    (folder / FRAMES / "notes").mkdir()
    with open_recording(folder) as recording:
        assert {path.name for path in (folder / FRAMES).iterdir()} == {
            *(counted.name, removed.name, "notes")
        }
        assert not (counted / ".unfinished").exists()
        assert recording.presentation(PRINT).name == f"{of}-00008"
    assert presentations(folder) == {name: 1}


def test_frames_without_their_list_are_not_mixed_with_new_ones(tmp_path):
    folder = tmp_path / "lobby"
    record(folder, 1)
    (folder / LIST_NAME).unlink()
    with pytest.raises(DatasetError, match="does not exist: put the list back"):
        record(folder, 2)
    assert len(list((folder / FRAMES).iterdir())) == 1


def listed(folder):
    return (folder / LIST_NAME).read_text().split("\n")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda lines: lines[1:], r"captures\.jsonl:1: is no list of a recording"),
        (lambda lines: [*lines[:2], lines[2][:-1], *lines[3:]], r"jsonl:3: is no JSON object"),
        (lambda lines: [*lines[:2], f"[{lines[2]}]"], r"jsonl:3: is no JSON object"),
        (lambda lines: [*lines, lines[2]], "appears twice"),
        (lambda lines: [li.replace("attack", "bona fide") for li in lines], "contradict"),
        (lambda lines: [*lines[:2], lines[2].replace("s01", "s2"), *lines[3:]], "has another"),
        (lambda lines: [li.replace("/00.", "/99.") for li in lines], "frames are not below"),
        (lambda lines: ["# fasdk record 01234567", *lines[1:]], "another recording than 01234567"),
    ],
)
def test_a_list_that_no_recording_can_have_written_is_left_alone(tmp_path, edit, says):
    folder = tmp_path / "lobby"
    record(folder, 1, 2)
    changed = "\n".join(edit(listed(folder)))
    (folder / LIST_NAME).write_text(changed)
    with pytest.raises(DatasetError, match=says) as error:
        record(folder, 3)
    assert "\n" not in str(error.value)
    assert listed(folder) == changed.split("\n")
    assert len(list((folder / FRAMES).iterdir())) == 1


def test_lines_may_be_removed_and_mended_by_hand(tmp_path):
    folder = tmp_path / "lobby"
    first, second = record(folder, 1), record(folder, 2)
    text = "\n".join(li for li in listed(folder) if first not in li).replace("print", "screen")
    (folder / LIST_NAME).write_text(f"# mended\n{text}".replace("# mended\n", "", 1).rstrip("\n"))
    third = record(folder, 3)
    assert presentations(folder) == {second: 1, third: 1}
    assert open_dataset(folder / LIST_NAME).records[0].species == "screen"
    for line in listed(folder):
        if line and not line.startswith("#"):
            json.loads(line)
    text = "\n".join(li for li in listed(folder) if li.startswith("#"))
    (folder / LIST_NAME).write_text(text)  # no capture is left
    fourth = record(folder, 4, consent=None)
    assert presentations(folder) == {fourth: 1}


def test_a_list_that_is_edited_meanwhile_keeps_the_edit(tmp_path):
    folder = tmp_path / "lobby"
    name = record(folder, 1)
    with (
        pytest.raises(DatasetError, match="was changed by something else"),
        open_recording(folder) as recording,
        recording.presentation(PRINT) as presentation,
    ):
        presentation.add(capture(2))
        with (folder / LIST_NAME).open("a") as file:
            file.write("# a note\n")
    assert listed(folder)[-2] == "# a note"
    assert presentations(folder) == {name: 1}
    assert litter(folder) == []


def test_a_folder_that_cannot_be_made_or_is_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is no folder"):
        record(tmp_path / "file", 1)
    with pytest.raises(DatasetError, match="give one in a folder that exists"):
        record(tmp_path / "none" / "lobby", 1)
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / LIST_NAME).symlink_to("captures.jsonl")
    with pytest.raises(DatasetError, match="cannot read"):
        record(tmp_path / "loop", 1)
    (tmp_path / "loop" / LIST_NAME).unlink()
    (tmp_path / "loop" / LIST_NAME).write_bytes(b"\xff\xfe#\0")
    with pytest.raises(DatasetError, match="is no UTF-8 text"):
        record(tmp_path / "loop", 1)


def test_one_process_records_into_a_folder_at_a_time(tmp_path, monkeypatch):
    record(tmp_path / "lobby", 1)
    monkeypatch.setattr("fasdk.file_lock._POLL_S", 0.0)
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("fasdk.file_lock.time.monotonic", lambda: next(clock))
    with (
        open_recording(tmp_path / "lobby"),
        pytest.raises(StateError, match="is held by another process"),
        open_recording(tmp_path / "lobby"),
    ):
        pass
