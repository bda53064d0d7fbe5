"""Capture lists in JSON Lines and CSV."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk.cameras.replay import ReplayCamera
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import (
    BONA_FIDE_SPECIES,
    CaptureRecord,
    DepthUnit,
    Label,
    LabeledCapture,
    load_capture,
    open_dataset,
    read_list,
    write_captures,
    write_list,
)

HEADER = "id,rgb,depth,ir,face,label,species,subject,domain,presentation"
ROW = 'a,a.png,,i.png,"1,2,3,4",attack,"print, flat",s1,lab,p1'
JSON = (
    '{"id": "a", "rgb": "a.png", "ir": "i.png", "face": [1, 2, 3, 4], "label": "attack", '
    '"species": "print, flat", "subject": "s1", "domain": "lab", "presentation": "p1"}\n'
)


def test_csv_and_json_lines_of_the_same_columns_are_the_same_records(tmp_path):
    (tmp_path / "l.csv").write_text(f"{HEADER}\n{ROW}\n")
    (tmp_path / "l.jsonl").write_text(JSON)
    (record,) = read_list(tmp_path / "l.csv")
    assert [record] == read_list(tmp_path / "l.jsonl")
    assert record.modalities == (Modality.RGB, Modality.IR)
    assert record.face == (1, 2, 3, 4)
    dataset = open_dataset(tmp_path / "l.csv")
    assert (dataset.name, dataset.root, dataset.records) == ("l", tmp_path, (record,))


@pytest.mark.parametrize(
    "cell", ["1,2,3,4,5,6,7,8,9", "1,2", "1,2,3,4,5,6,7,8,9,x", "nan" + ",1" * 9]
)
def test_landmarks_that_are_not_five_points_are_named(tmp_path, cell):
    (tmp_path / "l.csv").write_text(f'{HEADER},landmarks\n{ROW},"{cell}"\n')
    with pytest.raises(DatasetError, match=r"l\.csv:2: landmarks: .* is not five points: write x"):
        read_list(tmp_path / "l.csv")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"depth_face": "1,2,3,4"}, "says where the face is in depth, which is not there"),
        ({"depth_landmarks": "1,2,3,4,5,6,7,8,9,10"}, "in depth, which is not there"),
        ({"ir_face": "1,2,3"}, r"l\.csv:2: ir_face: .* is not four numbers"),
        ({"ir_face": "1,2,0,4"}, r"l\.csv:2: ir_face: face box .* has no area"),
        ({"ir_landmarks": "1,2"}, r"l\.csv:2: ir_landmarks: .* is not five points"),
    ],
)
def test_a_face_in_a_frame_of_its_own_is_checked(tmp_path, columns, says):
    cells = "".join(f',"{cell}"' for cell in columns.values())
    (tmp_path / "l.csv").write_text(f"{HEADER},{','.join(columns)}\n{ROW}{cells}\n")
    with pytest.raises(DatasetError, match=says):
        read_list(tmp_path / "l.csv")


def test_faces_in_frames_of_other_views_come_back_with_the_capture(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.uniform(5, 25, (5, 2)).astype(np.float32)
    capture = Capture(
        rgb=rng.integers(0, 255, (30, 40, 3), np.uint8),
        depth=rng.integers(400, 600, (20, 30), np.uint16),
        ir=rng.integers(0, 255, (20, 30), np.uint8),
        face=(5, 6, 20, 22),
        faces={Modality.DEPTH: FaceBox(2, 3, 11, 12), Modality.IR: FaceBox(4, 3, 10, 13)},
        landmarks=points,
        frame_landmarks={Modality.IR: points / 2},
    )
    item = LabeledCapture(capture, "a", Label.ATTACK, "print", "s", "d", "p")
    path = write_captures([item], tmp_path, "l")
    (record,) = read_list(path)
    with ReplayCamera(path) as camera:
        replayed = camera.read()
    for found in (load_capture(record, tmp_path), replayed):
        for modality in Modality:
            assert found.face_in(modality) == capture.face_in(modality)
        assert np.array_equal(found.landmarks, points)
        assert np.array_equal(found.landmarks_in(Modality.IR), points / 2)
        assert found.landmarks_in(Modality.DEPTH) is None
    alone = load_capture(record, tmp_path, modalities=[Modality.IR])
    assert alone.face_in(Modality.IR) == capture.faces[Modality.IR]
    assert np.array_equal(alone.landmarks, points / 2)
    both = load_capture(record, tmp_path, modalities=[Modality.DEPTH, Modality.IR])
    assert [both.face_in(m) for m in both.present] == list(capture.faces.values())
    assert both.landmarks is None  # depth shows another view, and the list has none in it
    (tmp_path / "one.jsonl").write_text(path.read_text().replace('"ir_face":[4,3,10,13],', ""))
    both = load_capture(
        read_list(tmp_path / "one.jsonl")[0], tmp_path, modalities=[Modality.DEPTH, Modality.IR]
    )
    assert both.face_in(Modality.DEPTH) == capture.faces[Modality.DEPTH]
    assert both.face_in(Modality.IR) == capture.face.scaled_to((40, 30), (30, 20))
    (tmp_path / "out.jsonl").write_text(
        path.read_text().replace('"ir_face":[4,3,10,13]', '"ir_face":[24,3,10,13]')
    )
    with pytest.raises(DatasetError, match="leaves the 30x20 frame"):
        load_capture(read_list(tmp_path / "out.jsonl")[0], tmp_path)


@pytest.mark.parametrize(
    "cell",
    ["1,2,3,4,5,6,7,8,9,10", "1 2;3 4;5 6;7 8;9 10", "[[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]"],
)
def test_landmarks_are_ten_numbers_in_a_cell(tmp_path, cell):
    (tmp_path / "l.csv").write_text(f'{HEADER},landmarks\n{ROW},"{cell}"\n')
    (record,) = read_list(tmp_path / "l.csv")
    assert record.landmarks == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))


def test_landmarks_are_loaded_in_pixels_of_the_first_frame_that_is_wanted(tmp_path):
    points = np.array([(10, 10), (30, 10), (20, 20), (12, 30), (28, 30)], np.float32)
    capture = Capture(
        rgb=np.zeros((40, 60, 3), np.uint8),
        ir=np.zeros((20, 30), np.uint8),
        face=(5, 5, 30, 30),
        landmarks=points,
    )
    item = LabeledCapture(capture, "a", Label.ATTACK, "print", "s", "lab", "p")
    (record,) = read_list(write_captures([item], tmp_path, "l"))
    assert np.array_equal(load_capture(record, tmp_path).landmarks, points)
    infrared = load_capture(record, tmp_path, modalities=[Modality.IR])
    assert np.array_equal(infrared.landmarks, points / 2)
    replayed = ReplayCamera(tmp_path / "l.jsonl")
    assert np.array_equal(replayed.read().landmarks, points)


def test_columns_stand_in_any_order_and_a_spreadsheets_mark_is_no_part_of_them(tmp_path):
    text = "subject,id,ir,presentation,domain,label,species,present,depth_unit,face_crop\r\n"
    text += "s,a,i.png,p,lab,bona fide,bona fide,ir,level,true\r\n\r\n"
    (tmp_path / "l.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (record,) = read_list(tmp_path / "l.csv")
    assert (record.depth_unit, record.face_crop) == (DepthUnit.LEVEL, True)
    assert record.is_bona_fide


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (HEADER, ROW.replace("attack", "cat"), r"csv:2: label: labels are 'cat', and nothing says"),
        (HEADER, ROW.replace("attack", "bona fide"), r"csv:2: line: .*contradict"),
        (HEADER, ROW.replace('"print, flat"', ""), r"csv:2: species: Field required"),
        (HEADER, ROW.replace('"print, flat"', "bona fide"), r"csv:2: line: .*contradict"),
        (HEADER, ROW.replace("1,2,3,4", "1,2,3"), r"csv:2: face"),
        (HEADER, ROW.replace("1,2,3,4", "1,2,x,4"), r"csv:2: face: .*'x'"),
        (HEADER, ROW.replace("a.png", "../a.png"), r"csv:2: rgb: .*below the list's folder"),
        (HEADER, ROW + ",more", r"csv:2: has 11 cells, the header 10"),
        (HEADER, ROW.removesuffix(",p1"), r"csv:2: has 9 cells, the header 10"),
        (HEADER, ROW + "\n" + ROW, r"csv:3: id 'a' appears twice"),
        (HEADER, ROW + '\nb,"a', r"csv:3: unexpected end of data"),
        (HEADER, "", r"is empty: a header and one row a capture"),
        ("", "", r"is empty"),
        (HEADER.replace("subject", "subjct"), ROW, r"csv:1: column 'subjct' is unknown: is it"),
        (HEADER + ",id", ROW + ",b", r"csv:1: column 'id' is repeated"),
        (
            HEADER + ",present",
            ROW + ",rgb+depth",
            r"states depth\+rgb and gives .* ir\+rgb",
        ),
        (HEADER + ",present", ROW + ",rgb+sonar", r"csv:2: present.1: Input should be 'rgb'"),
        (HEADER + ",depth_unit", ROW + ",inch", r"csv:2: depth_unit: 'inch' is neither millimeter"),
        (HEADER + ",face_crop", ROW + ",true", r"csv:2: line: .*face box and states .* face crops"),
    ],
)
def test_a_malformed_csv_is_named_by_line_and_field(tmp_path, header, row, message):
    (tmp_path / "l.csv").write_text(f"{header}\n{row}\n" if header else "")
    with pytest.raises(DatasetError, match=message):
        read_list(tmp_path / "l.csv")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("subject", ["a,b", 'say "a"', "a\u2028b", "a\u0085b", " Ünal ", "\ufeffa"])
def test_a_name_of_any_letters_survives(tmp_path, suffix, subject):
    (record,) = read_list_of(JSON.replace('"s1"', json.dumps(subject)), tmp_path)
    write_list([record], tmp_path / f"again{suffix}")
    assert read_list(tmp_path / f"again{suffix}") == [record]
    assert record.subject == subject


def read_list_of(text: str, folder: Path) -> list[CaptureRecord]:
    (folder / "l.jsonl").write_bytes(text.encode())
    return read_list(folder / "l.jsonl")


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)
paths = st.one_of(st.none(), st.from_regex(r"[a-z ,'\"]{1,8}/[0-9]{4}\.jpg", fullmatch=True))

coordinates = st.floats(-1e4, 1e4)


@st.composite
def records(draw: st.DrawFn) -> CaptureRecord:
    is_live = draw(st.booleans())
    frames = draw(st.tuples(paths, paths, paths).filter(any))
    face_crop = draw(st.booleans())
    boxes = st.tuples(st.integers(0, 5000), st.integers(0, 5000), *[st.integers(200, 400)] * 2)
    points = st.none() | st.tuples(*[st.tuples(coordinates, coordinates)] * 5)
    others = [m for m, path in zip(Modality, frames, strict=True) if path][1:]
    views = {f"{m.value}_landmarks": draw(points) for m in others}
    if not face_crop:
        views |= {f"{m.value}_face": draw(st.none() | boxes) for m in others}
    return CaptureRecord(
        id=draw(words),
        rgb=frames[0],
        depth=frames[1],
        ir=frames[2],
        face=None if face_crop else draw(st.none() | boxes),
        landmarks=draw(points),
        **views,
        label=Label.BONA_FIDE if is_live else Label.ATTACK,
        species=BONA_FIDE_SPECIES
        if is_live
        else draw(words.filter(lambda word: word != BONA_FIDE_SPECIES)),
        subject=draw(words),
        domain=draw(words),
        presentation=draw(words),
        depth_unit=draw(st.sampled_from(DepthUnit)),
        face_crop=face_crop,
    )


@settings(max_examples=50)
@given(st.lists(records(), min_size=1, max_size=4, unique_by=lambda record: record.id))
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_any_list_comes_back_as_written(tmp_path_factory, suffix, written):
    path = tmp_path_factory.mktemp("list") / f"l{suffix}"
    write_list(written, path)
    assert read_list(path) == written
