"""Verb metrics: scores of any system in, error rates with bounds out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

HEADER = "score,label,species"


def write(path, rows, header=HEADER):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def random_rows():
    rng = np.random.default_rng(11)
    return [
        (round(float(rng.normal(live)), 1), live, "live" if live else rng.choice(["print", "mask"]))
        for live in rng.integers(0, 2, 300).tolist()
    ]


def test_the_json_document_has_the_figures_anyone_can_recompute(fasdk, tmp_path, random_rows):
    path = write(tmp_path / "scores.csv", random_rows)
    ran = fasdk("metrics", path, "--json")
    assert ran.status == 0
    found = json.loads(ran.stdout)
    scores = np.array([row[0] for row in random_rows])
    live = np.array([row[1] for row in random_rows]) == 1
    assert found["auc"] == pytest.approx(roc_auc_score(live, scores), abs=1e-9)

    gaps = {t: abs((scores[~live] > t).mean() - (scores[live] <= t).mean()) for t in set(scores)}
    least = min(gaps.values())
    assert found["threshold"] == min(t for t, gap in gaps.items() if gap <= least + 1e-12)
    threshold = found["threshold"]
    refused = (scores[live] <= threshold).mean()
    accepted = (scores[~live] > threshold).mean()
    assert found["hter_at_eer"] == pytest.approx((accepted + refused) / 2, abs=1e-12)
    assert min(accepted, refused) - 0.02 <= found["eer"] <= max(accepted, refused) + 0.02

    species = np.array([row[2] for row in random_rows])
    counted = {name: scores[species == name] > threshold for name in ("print", "mask")}
    assert set(found["apcer"]) == set(counted)
    for rate, errors in [
        *((found["apcer"][name], errors) for name, errors in counted.items()),
        (found["bpcer"], scores[live] <= threshold),
    ]:
        k, n = int(errors.sum()), errors.size
        assert (rate["errors"], rate["attempts"]) == (k, n)
        assert rate["rate"] == pytest.approx(k / n)
        assert rate["lower"] == pytest.approx(beta.ppf(0.025, k, n - k + 1), abs=1e-9)
        assert rate["upper"] == pytest.approx(beta.ppf(0.975, k + 1, n - k), abs=1e-9)
        assert rate["upper_one_sided"] == pytest.approx(beta.ppf(0.95, k + 1, n - k), abs=1e-9)


def test_frames_of_one_presentation_are_fused_and_its_absence_is_a_warning(fasdk, tmp_path):
    rows = [
        (0.9, 1, "live", "a", "s1"),
        (0.3, 1, "live", "a", "s1"),
        (0.2, 0, "print", "b", "s2"),
        (0.8, 0, "print", "b", "s2"),
    ]
    fused = write(tmp_path / "fused.csv", rows, f"{HEADER},presentation,subject")
    plain = write(tmp_path / "plain.csv", [row[:3] for row in rows])
    one = fasdk("metrics", fused, "--threshold", 0.55, "--json")
    assert json.loads(one.stdout)["bpcer"]["attempts"] == 1
    assert json.loads(one.stdout)["bpcer"]["errors"] == 0
    assert not any("no column" in line for line in one.error_lines)
    two = fasdk("metrics", plain, "--threshold", 0.55, "--json")
    assert json.loads(two.stdout)["bpcer"]["attempts"] == 2
    assert any("no column presentation" in line for line in two.error_lines)
    assert any("no column presentation" in line for line in json.loads(two.stdout)["warnings"])


@pytest.mark.parametrize(
    ("options", "threshold", "source", "errors"),
    [
        (["--threshold", "0.5"], 0.5, "given", 1),  # 0.5 is not above 0.5
        (["--threshold", "0.4999"], 0.4999, "given", 0),
        ([], 0.4, "these scores", 0),
        (["--development", "development.csv"], 0.7, "development set", 1),
    ],
)
def test_live_means_above_the_threshold_wherever_it_comes_from(
    fasdk, tmp_path, monkeypatch, options, threshold, source, errors
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scores.csv", [(0.9, 1, "live"), (0.5, 1, "live"), (0.4, 0, "print")])
    write(tmp_path / "development.csv", [(0.8, 1, "live"), (0.7, 0, "print")])
    found = json.loads(fasdk("metrics", "scores.csv", *options, "--json").stdout)
    assert (found["threshold"], found["threshold_from"]) == (threshold, source)
    assert found["bpcer"]["errors"] == errors


def test_the_same_command_prints_the_same_bytes_and_one_document(fasdk, tmp_path, random_rows):
    path = write(tmp_path / "scores.csv", random_rows)
    first = fasdk("metrics", path, "--json").stdout
    assert first == fasdk("metrics", path, "--json").stdout
    assert first != fasdk("metrics", path, "--json", "--seed", 1).stdout
    assert json.loads(first)["resampled"] == {"unit": "subject", "resamples": 1000, "seed": 0}


def test_the_tables_say_what_is_not_of_the_standard(fasdk, tmp_path, random_rows):
    path = write(tmp_path / "scores.csv", [*random_rows, ("", 0, "print")], HEADER)
    path.write_text(
        "\n".join(
            f"{line},{flag}"
            for line, flag in zip(
                path.read_text().split(), ["responded", *["1"] * len(random_rows), "0"], strict=True
            )
        )
    )
    ran = fasdk("metrics", path)
    assert ran.status == 0
    for text in ("HTER*", "ACER*", "* not of that standard", "ISO/IEC 30107-3", "BPCER20", "APNRR"):
        assert text in ran.stdout
    document = json.loads(fasdk("metrics", path, "--json").stdout)
    assert document["not_of_iso_iec_30107_3"] == ["acer", "hter", "hter_at_eer"]
    assert document["apnrr"]["print"]["errors"] == 1
    for row in ("APCER", "BPCER"):
        assert row in ran.stdout
    shown = f"{100 * document['apcer']['mask']['rate']:.2f}"
    assert shown in ran.stdout


def test_metrics_names_subjects_in_both_files(fasdk, tmp_path):
    rows = [(0.9, 1, "live", "s1"), (0.8, 1, "live", "s2"), (0.1, 0, "print", "s3")]
    one = write(tmp_path / "one.csv", rows, f"{HEADER},subject")
    two = write(tmp_path / "two.csv", rows[1:], f"{HEADER},subject")
    apart = write(
        tmp_path / "apart.csv", [(0.9, 1, "live", "x"), (0.1, 0, "print", "y")], f"{HEADER},subject"
    )
    assert "2 subjects, such as 's2'" in fasdk("metrics", one, "--development", two).stderr
    assert "such as" not in fasdk("metrics", one, "--development", apart).stderr


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("0.9,1,live\n0.1,2,print", [], (":3", "label '2'")),
        ("0.9,1,live\n0.8,1,live", [], ("no attack",)),
        ("0.1,0,print\n0.2,0,print", [], ("no bona fide",)),
        ("0.9,1,live\nnan,0,print", [], (":3", "'nan'")),
        ("0.9,1,live\n0.1,0", [], (":3", "2 fields")),
        ("0.9,1,live\n0.1,0,print", ["--threshold", "nan"], ("--threshold nan",)),
        ("0.9,1,live\n0.1,0,print", ["--threshold", "x"], ("--threshold", "valid")),
        ("0.9,1,live\n0.1,0,print", ["--resamples", "0"], ("--resamples",)),
        ("0.9,1,live\n0.1,0,print", ["--development", "none.csv"], ("none.csv",)),
        (
            "0.9,1,live\n0.1,0,print",
            ["--threshold", "0.5", "--development", "scores.csv"],
            ("--threshold and --development",),
        ),
    ],
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_bad_input_is_one_line_and_status_two(
    fasdk, tmp_path, monkeypatch, text, options, words, as_json
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text(f"{HEADER}\n{text}\n")
    ran = fasdk("metrics", "scores.csv", *options, *as_json)
    assert ran.status == 2
    assert len(ran.error_lines) == 1
    assert "Traceback" not in ran.stderr
    for word in words:
        assert word in ran.error_lines[0]
    if as_json:
        assert json.loads(ran.stdout)["error"]


@pytest.mark.parametrize("missing", ["score", "label"])
def test_a_missing_column_is_named(fasdk, tmp_path, missing):
    header = "score,label".replace(missing, "other")
    path = write(tmp_path / "scores.csv", [(0.9, 1), (0.1, 0)], header)
    ran = fasdk("metrics", path)
    assert ran.status == 2
    assert f"no column '{missing}'" in ran.error_lines[0]
    assert path.name in ran.error_lines[0]
    fixed = fasdk("metrics", path, f"--{missing}-column", "other")
    assert fixed.status == 0 and "label 1 (1)" in fixed.stdout


ATTACK_ROWS = [(0.1, 1), (0.2, 1), (0.6, 1), (0.5, 0), (0.8, 0), (0.9, 0)]


def test_a_reversed_score_is_asked_about_and_thresholds_stay_in_the_files_units(fasdk, tmp_path):
    path = write(tmp_path / "scores.csv", ATTACK_ROWS, "score,label")
    asked = fasdk("metrics", path)
    assert asked.status == 2 and "--higher-is attack" in asked.error_lines[0]
    ran = fasdk("metrics", path, "--higher-is", "attack", "--threshold", "0.55", "--json")
    found = json.loads(ran.stdout)
    assert (found["threshold"], found["higher_is"]) == (0.55, "attack")
    assert (found["bpcer"]["errors"], found["apcer"]["attack"]["errors"]) == (1, 1)
    assert "bona fide: label 1 (3); attack: label 0 (3)" in found["read_as"]
    kept = fasdk("metrics", path, "--higher-is", "live", "--json")
    assert json.loads(kept.stdout)["auc"] < 0.5


def test_labels_of_another_file_serve_both_sets_of_scores(fasdk, tmp_path):
    scores, labels = tmp_path / "scores.txt", tmp_path / "labels.txt"
    scores.write_text("".join(f"{i}.png {value}\n" for i, (value, _) in enumerate(ATTACK_ROWS)))
    labels.write_text("".join(f"{i}.png {1 - live}\n" for i, (_, live) in enumerate(ATTACK_ROWS)))
    options = ["--labels", labels, "--development", scores]
    refused = fasdk("metrics", scores, *options)
    assert refused.status == 2 and "no column 'label'" in refused.error_lines[0]
    ran = fasdk("metrics", scores, *options, "--development-labels", labels, "--json")
    assert json.loads(ran.stdout)["threshold_from"] == "development set"
    alone = fasdk("metrics", scores, "--labels", labels, "--development-labels", labels)
    assert alone.status == 2 and "--development" in alone.error_lines[0]


def test_scores_of_two_scales_do_not_share_a_threshold(fasdk, tmp_path):
    one = write(tmp_path / "one.csv", [(0.9, 1), (0.1, 0)], "score,label")
    two = write(tmp_path / "two.csv", [(90, 1), (10, 0)], "score,label")
    ran = fasdk("metrics", one, "--development", two)
    assert ran.status == 2
    assert "one.csv run from 0.1 to 0.9 and those of" in ran.error_lines[0]
    other = write(tmp_path / "other.csv", [(0.1, 1), (0.9, 0)], "spoof_score,label")
    assert "more live" in fasdk("metrics", one, "--development", other).error_lines[0]
    far = fasdk("metrics", two, "--threshold", "0.5")
    assert any("in the units of the scores, which run from 10 to 90" in x for x in far.error_lines)
