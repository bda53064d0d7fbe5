"""Score files as people write them: read right, or refused with a fix that works."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from fasdk.errors import DatasetError, UsageError
from fasdk_calibration.metrics import HigherIs, ScoreFileOptions, read_scores

from support.score_files import COUNT, FORMS, SCORES, Form, lines, options_of, try_form


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_a_form_is_read_right_or_refused_with_a_fix_that_works(tmp_path, form):
    outcome = try_form(form, tmp_path)
    assert outcome.ok, outcome.outcome


def test_no_two_forms_share_a_name():
    assert len({form.name for form in FORMS}) == len(FORMS) >= 60


def test_a_form_taken_for_another_is_found_out(tmp_path):
    swapped = lines(lambda r: str(SCORES[r]), lambda r: str(int(r in {0, 1, 2, 3, 4, 6})))
    assert not try_form(Form("one label swapped", {"s.csv": swapped.encode()}), tmp_path).ok


def test_scores_of_an_attack_are_turned_and_thresholds_turned_back(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(lines(lambda r: str(1 - SCORES[r]), lambda r: str(int(r < COUNT // 2))))
    found = read_scores(path, ScoreFileOptions(higher_is="attack"))
    assert found.higher_is is HigherIs.ATTACK
    assert found.scores.values[0] == -(1 - SCORES[0])
    assert found.in_file_units(found.scores.values[0]) == 1 - SCORES[0]
    with pytest.raises(UsageError, match="higher_is is 'spoof', expected live or attack"):
        ScoreFileOptions(higher_is="spoof")


def test_a_reading_that_was_told_is_kept_below_one_half(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(lines(lambda r: str(1 - SCORES[r]), lambda r: str(int(r < COUNT // 2))))
    found = read_scores(path, options_of("--higher-is live", tmp_path))
    assert found.scores.values[0] == 1 - SCORES[0]


def test_attacks_without_species_are_pooled_and_a_path_on_two_rows_is_doubted(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("path,score,label\na.png,0.9,1\na.png,0.8,1\nb.png,0.1,0\nc.png,0.2,0\n")
    found = read_scores(path)
    assert found.scores.species == ("bona fide", "bona fide", "attack", "attack")
    assert any("pooled as one species 'attack'" in line for line in found.warnings)
    assert any("'a.png' stands on 2 rows" in line for line in found.warnings)


def test_decisions_in_place_of_scores_are_said(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("score,label\n1,1\n1,1\n0,0\n1,0\n")
    assert any("they are decisions" in line for line in read_scores(path).warnings)


@pytest.mark.parametrize(
    ("text", "option", "message"),
    [
        ("score,label\n0.9,1\n0.1,0\n", "--score-column prob", "no column is 'prob' .*'score'"),
        ("0.9,1\n0.1,0\n", "--score-column 3", "no column is '3' .*numbers 1 to 2"),
        ("score,label\n0.9,1\n0.1,0\n", "--live-label live", "no row has label 'live': .* 1, 0"),
    ],
)
def test_an_option_that_fits_nothing_names_what_is_there(tmp_path, text, option, message):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_scores(path, options_of(option, tmp_path))


def test_two_members_of_an_archive_are_named(tmp_path):
    import zipfile

    path = tmp_path / "scores.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
        archive.writestr("xl/styles.xml", "<x/>")
    with pytest.raises(DatasetError, match=r"archive of 2 files .*saved as UTF-8 CSV"):
        read_scores(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scores.csv", "score,label\n0.9,1\n0.1,0\n")
    assert read_scores(path).scores.values.tolist() == [0.9, 0.1]


@pytest.mark.parametrize("name", ["scores.npz", "scores.json"])
def test_a_list_for_each_class_has_its_labels_in_the_names(tmp_path, name):
    lists = {"genuine": [0.9, 0.8, 0.7], "impostor_scores": [0.1, 0.2]}
    path = tmp_path / name
    if name.endswith("json"):
        path.write_text(json.dumps(lists))
    else:
        np.savez(path, **{key: np.array(values) for key, values in lists.items()})
    found = read_scores(path)
    assert found.scores.values.tolist() == [0.9, 0.8, 0.7, 0.1, 0.2]
    assert found.scores.is_bona_fide.tolist() == [True] * 3 + [False] * 2


def test_a_file_of_many_rows_is_read_in_seconds(tmp_path):
    path = tmp_path / "scores.csv"
    rows = (f"{i}.png,{i},{int(i > 9)}\n" for i in range(20_000))
    path.write_text("path,score,label\n" + "".join(rows))
    started = time.process_time()
    assert len(read_scores(path).scores) == 20_000
    assert time.process_time() - started < 10.0
