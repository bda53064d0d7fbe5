"""Summary of a set of scores, and its CSV file."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import (
    ErrorRate,
    Scores,
    ThresholdSource,
    bpcer_at_apcer,
    read_scores,
    summarize,
    worst_species,
)

NAN = float("nan")


def made(rows, **columns):
    """Scores from (value, species) pairs, one presentation and subject each."""
    count = len(rows)
    named = {
        "presentation": tuple(f"p{i}" for i in range(count)),
        "subject": tuple(f"s{i}" for i in range(count)),
        "domain": ("d",) * count,
    }
    return Scores(
        values=np.array([value for value, _ in rows]),
        is_bona_fide=np.array([species == "live" for _, species in rows]),
        species=tuple(species for _, species in rows),
        **(named | columns),
    )


ROWS = [
    (0.9, "live"),
    (0.8, "live"),
    (0.35, "live"),
    (0.7, "mask"),
    (0.1, "mask"),
    (0.3, "print"),
    (0.2, "print"),
    (0.1, "print"),
]


def test_every_figure_of_a_case_worked_by_hand():
    found = summarize(made(ROWS), threshold=0.3)
    assert found.apcer == {"mask": ErrorRate(1, 2), "print": ErrorRate(0, 3)}  # 0.3 is not above
    assert found.worst_species == "mask"
    assert found.bpcer == ErrorRate(0, 3)
    assert found.acer == pytest.approx((1 / 2 + 0) / 2)
    assert found.hter == pytest.approx((1 / 5 + 0) / 2)
    assert found.auc == pytest.approx(14 / 15)
    # Gaps at 0.3 and 0.35: |1/5 - 0| and |1/5 - 1/3|.
    assert found.eer_threshold == 0.35
    assert found.hter_at_eer == pytest.approx((1 / 5 + 1 / 3) / 2)
    assert found.eer == pytest.approx(1 / 5)
    at = {rates.name: rates for rates in found.bpcer_at_apcer}
    assert set(at) == {"BPCER10", "BPCER20", "BPCER100"}
    assert at["BPCER10"].threshold == 0.7
    assert at["BPCER10"].bpcer == ErrorRate(1, 3)
    assert (found.frames, found.presentations, found.subjects) == (8, 8, 8)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (0.1, "BPCER10"),
        (0.05, "BPCER20"),
        (0.01, "BPCER100"),
        (0.03, "BPCER at APCER 3 %"),
        (0.0, "BPCER at APCER 0 %"),
    ],
)
def test_only_a_whole_fraction_has_a_short_name(target, name):
    scores = made(ROWS)
    found = bpcer_at_apcer(scores.values, scores.is_bona_fide, scores.species, target)
    assert found.name == name


@pytest.mark.parametrize(("target", "accepted"), [(0.29, 29), (0.07, 7), (0.28999, 28), (0.0, 0)])
def test_a_target_of_29_in_100_allows_29_whatever_binary_makes_of_it(target, accepted):
    scores = made([(float(i), "print") for i in range(100)] + [(100.0, "live")])
    found = bpcer_at_apcer(scores.values, scores.is_bona_fide, scores.species, target)
    assert found.apcer == ErrorRate(accepted, 100)


@pytest.mark.parametrize("target", [-0.1, 1.0, NAN])
def test_a_target_outside_its_range_is_refused(target):
    scores = made(ROWS)
    with pytest.raises(DatasetError, match="not in"):
        bpcer_at_apcer(scores.values, scores.is_bona_fide, scores.species, target)


def test_the_threshold_may_be_given_or_come_from_either_set():
    development = made([(0.6, "live"), (0.5, "print"), (0.4, "print")])
    given = summarize(made(ROWS), threshold=0.75)
    chosen = summarize(made(ROWS), development=development)
    own = summarize(made(ROWS))
    assert (given.threshold, given.threshold_source) == (0.75, ThresholdSource.GIVEN)
    assert (chosen.threshold, chosen.threshold_source) == (0.5, ThresholdSource.DEVELOPMENT)
    assert (own.threshold, own.threshold_source) == (0.35, ThresholdSource.SAME_SCORES)
    assert own.hter == own.hter_at_eer
    assert chosen.eer_threshold == own.eer_threshold
    with pytest.raises(DatasetError, match="give one of them"):
        summarize(made(ROWS), threshold=0.5, development=development)


def test_presentations_are_counted_not_frames():
    twice = made(
        [*ROWS, (0.3, "live")],
        presentation=(*(f"p{i}" for i in range(8)), "p0"),
        subject=(*(f"s{i}" for i in range(8)), "s0"),
    )
    found = summarize(twice, threshold=0.65)
    # p0's frames 0.9 and 0.3 fuse to 0.6: refused, one of three.
    assert found.bpcer == ErrorRate(2, 3)
    assert (found.frames, found.presentations) == (9, 8)


def test_non_responses_are_counted_apart_and_in_no_other_rate():
    heard = np.array([False, True, True, True, False, True, True, True])
    found = summarize(made(ROWS, responded=heard), threshold=0.3)
    assert found.bpnrr == ErrorRate(1, 3)
    assert found.apnrr == {"mask": ErrorRate(1, 2), "print": ErrorRate(0, 3)}
    assert found.bpcer == ErrorRate(0, 2)
    assert found.apcer == {"mask": ErrorRate(1, 1), "print": ErrorRate(0, 3)}


def test_a_species_that_never_got_a_response_is_said_to_have_no_apcer():
    heard = np.array([True, True, True, False, False, True, True, True])
    found = summarize(made(ROWS, responded=heard), threshold=0.3)
    assert set(found.apcer) == {"print"}
    assert found.apnrr["mask"] == ErrorRate(2, 2)
    assert any("'mask' got a response: it has no APCER" in line for line in found.warnings)


@pytest.mark.parametrize(
    ("rows", "responded", "message"),
    [
        (ROWS[:3], None, "no attack presentation"),
        (ROWS[3:], None, "no bona fide presentation"),
        (ROWS[2:4], [True, False], "no attack presentation .* got a response"),
        (ROWS[2:4], [False, True], "no bona fide presentation .* got a response"),
    ],
)
def test_summarize_refuses_one_class_alone(rows, responded, message):
    columns = {} if responded is None else {"responded": np.array(responded)}
    with pytest.raises(DatasetError, match=message):
        summarize(made(rows, **columns), threshold=0.5)
    with pytest.raises(DatasetError, match="development scores: " + message):
        summarize(made(ROWS), development=made(rows, **columns))


@pytest.mark.parametrize(
    ("rows", "subject", "message"),
    [
        (ROWS, None, "bona fide presentations are of 3 subjects"),
        (ROWS, ("a",) * 3 + ("b", "c") * 2 + ("d",), "are of one subject: no interval"),
        (ROWS, None, "2 attacks of species 'mask' are too few for BPCER10, BPCER20, BPCER100"),
        ([(0.1, "live"), (0.9, "print")], None, "AUC 0.0000 is below one half"),
    ],
)
def test_summary_warns_of_few_subjects_and_small_samples(rows, subject, message):
    columns = {} if subject is None else {"subject": subject}
    assert any(message in line for line in summarize(made(rows, **columns)).warnings)


def test_many_people_and_attacks_need_no_warning():
    rng = np.random.default_rng(0)
    rows = [(float(rng.normal(2)), "live") for _ in range(120)]
    rows += [(float(rng.normal(0)), "print") for _ in range(120)]
    assert summarize(made(rows), resamples=20).warnings == ()


def test_the_worst_species_is_the_highest_rate_then_the_least_attempted():
    rates = {"a": ErrorRate(2, 20), "b": ErrorRate(1, 10), "c": ErrorRate(0, 1)}
    assert worst_species(rates) == "b"
    with pytest.raises(DatasetError, match="no PAI species"):
        worst_species({})


HEADER = "score,label,species,presentation,subject\n"
GOOD = HEADER + "0.9,1,,p1,s1\n0.7,1,,p1,s1\n0.1,0,print,p2,s2\n"


def test_a_file_is_read_row_by_row(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(GOOD)
    found = read_scores(path)
    assert found.scores.values.tolist() == [0.9, 0.7, 0.1]
    assert found.scores.is_bona_fide.tolist() == [True, True, False]
    assert found.scores.species == ("bona fide", "bona fide", "print")
    assert found.scores.presentation == ("p1", "p1", "p2")
    assert found.scores.subject == ("s1", "s1", "s2")
    assert found.warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip("\n"),
        "\n" + GOOD + "\n\n",
        GOOD.replace(",", " , "),
        GOOD.replace("print", '"print"'),
    ],
)
def test_read_scores_accepts_other_line_ends_and_a_byte_order_mark(tmp_path, text):
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text(GOOD)
    other.write_bytes(text.encode())
    one, two = read_scores(plain).scores, read_scores(other).scores
    np.testing.assert_array_equal(one.values, two.values)
    assert (one.species, one.presentation) == (two.species, two.presentation)


def test_columns_may_stand_in_any_order_beside_others(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("file,label,species,score,fold\na.png,1,live,0.9,1\nb.png,0,print,0.2,1\n")
    found = read_scores(path)
    assert found.scores.values.tolist() == [0.9, 0.2]
    assert [line.split(": ")[1] for line in found.warnings] == [
        "no column presentation",
        "no column subject",
    ]


def test_a_marked_non_response_needs_no_score(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(
        "score,label,species,responded\n0.9,1,,1\n,1,,0\nnan,0,print,0\n0.1,0,print,1\n"
    )
    found = read_scores(path).scores
    assert found.responded.tolist() == [True, False, False, True]
    assert np.isnan(found.values[1:3]).all()


def test_a_species_on_rows_of_both_labels_is_doubted(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("score,label,species\n0.9,1,print\n0.1,0,print\n")
    assert any(
        "'print' stands on rows of both labels" in line for line in read_scores(path).warnings
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty: a first row with score, label, species"),
        ("\n\n", "empty"),
        (HEADER, "no bona fide .* row among 0"),
        (HEADER + "0.9,1,,p,s\n", ":? no attack .label 0. row among 1"),
        (HEADER + "0.1,0,print,p,s\n", "no bona fide .label 1. row among 1"),
        ("score,species\n0.9,\n", ":2: label ''"),
        ("value,label,species\n0.9,1,\n0.8,0,print\n", ":1: no column 'score'"),
        ("score,label,species,label\n", ":1: column 'label' is named twice"),
        (GOOD + "0.5,0,print,p3\n", ":5: 4 fields, expected 5"),
        (GOOD + "0.5,0,print,p3,s3,9\n", ":5: 6 fields, expected 5"),
        (GOOD + "0.5;0;print;p3;s3\n", ":5: 1 fields, expected 5"),
        (GOOD + '0.5,0,"pri"nt,p3,s3\n', ":5: does not split as CSV"),
        (GOOD + '0.5,0,"print,p3,s3\n', "does not split as CSV"),
        (GOOD + "nan,0,print,p3,s3\n", ":5: score 'nan' is not a finite number"),
        (GOOD + ",0,print,p3,s3\n", ":5: score '' is not a finite number"),
        (GOOD + "inf,0,print,p3,s3\n", ":5: score 'inf' is not a finite number"),
        (GOOD + "1e999,0,print,p3,s3\n", ":5: score '1e999' is not a finite number"),
        (GOOD + "1_0,0,print,p3,s3\n", ":5: score '1_0' is not a finite number"),
        (GOOD + '"0,5",0,print,p3,s3\n', ":5: score '0,5' is not a finite number"),
        (GOOD + "0.5,2,print,p3,s3\n", ":5: label '2': expected 1 for bona fide or 0"),
        (GOOD + "0.5,live,print,p3,s3\n", ":5: label 'live'"),
        (GOOD + "0.5,,print,p3,s3\n", ":5: label ''"),
        (GOOD + "0.5,0,,p3,s3\n", ":5: species '' of an attack"),
        (GOOD + "0.5,0,bona fide,p3,s3\n", ":5: species 'bona fide' of an attack"),
        (GOOD + "0.5,0,print,,s3\n", ":5: presentation is empty"),
        (GOOD + "0.5,0,print,p3,\n", ":5: subject is empty"),
        (GOOD + "0.5,0,print,p1,s1\n", ":5: label '0' of presentation 'p1' was '1' at .*:2"),
        (GOOD + "0.5,0,mask,p2,s2\n", ":5: species 'mask' of presentation 'p2' was 'print'"),
        (GOOD + "0.5,0,print,p2,s9\n", ":5: subject 's9' of presentation 'p2' was 's2'"),
        (
            "score,label,species,responded\n0.9,1,,yes\n",
            ":2: responded 'yes': expected 1, or 0 for no response",
        ),
        (
            "score,label,species,responded\n0.9,1,,1\n0.1,0,print,0\n",
            "no attack .label 0. row got a response",
        ),
        (
            "score,label,species,responded\n0.9,1,,0\n0.1,0,print,1\n",
            "no bona fide .label 1. row got a response",
        ),
    ],
)
def test_a_bad_file_is_refused_by_file_and_line(tmp_path, text, message):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as refused:
        read_scores(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot read scores .*none\.csv: No such file"):
        read_scores(tmp_path / "none.csv")
    latin = tmp_path / "latin.csv"
    latin.write_bytes(GOOD.replace("print", "café").encode("latin-1"))
    with pytest.raises(DatasetError, match=r"latin\.csv are not UTF-8"):
        read_scores(latin)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DatasetError, match=r"folder\.csv: it is a directory"):
        read_scores(tmp_path / "folder.csv")
