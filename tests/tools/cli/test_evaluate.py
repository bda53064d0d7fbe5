"""Verb evaluate: error rates on test lists, and refused lists."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.members import CALIBRATION, EVALUATION
from fasdk_calibration.datasets import open_dataset
from fasdk_calibration.error_rates import case as judging
from fasdk_calibration.metrics import apcer_by_species, auc, bpcer, fuse
from fasdk_tools.evaluation.scoring import score_dataset

from support.bright_captures import (
    BONA_FIDE,
    mixed,
    row,
    tiny_bundle,
    write_bundle_seen,
    write_list,
    write_silent_bundle,
)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Bounds by resampling are not what is tried here, and take most of the time."""
    few = partial(judging.bootstrap_intervals, resamples=20)
    monkeypatch.setattr(judging, "bootstrap_intervals", few)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "lobby.fasb")


@pytest.fixture
def listing(tmp_path) -> Path:
    return write_list(tmp_path, mixed())


@pytest.fixture
def evaluate(fasdk):
    def run(bundle, *protocols, options=(), status=0):
        words = [word for path in protocols for word in ("--protocol", path)]
        ran = fasdk("evaluate", bundle, *words, "--json", "--threads", 1, *options)
        assert ran.status == status, ran.stderr
        return json.loads(ran.stdout)

    return run


@pytest.fixture
def refused(fasdk):
    def run(*words):
        ran = fasdk("evaluate", *words)
        assert ran.status == 2
        assert ran.stdout == ""
        assert len(ran.error_lines) == 1, ran.stderr
        return ran.error_lines[0]

    return run


def test_figures_are_those_of_the_metrics_on_the_device_scores(evaluate, bundle, listing):
    document = evaluate(bundle, listing)
    scores = fuse(score_dataset(open_bundle(bundle), open_dataset(listing), threads=1).scores)
    (case,) = document["cases"]
    found = case["figures"]
    assert found["separation"]["auc"]["value"] == auc(scores.values, scores.is_bona_fide)
    (point,) = found["thresholds"]
    assert (point["name"], point["kind"], point["threshold"]) == (
        "standard",
        "operating point",
        0.5,
    )
    expected = apcer_by_species(scores.values, scores.is_bona_fide, scores.species, 0.5)
    assert [(r["species"], r["errors"], r["attempts"]) for r in point["overall"]["apcer"]] == [
        (name, rate.errors, rate.total) for name, rate in expected.items()
    ]
    assert point["overall"]["bpcer"]["rate"] == bpcer(scores.values, scores.is_bona_fide, 0.5).rate
    opened = open_bundle(bundle)
    assert document["bundle"]["id"] == opened.id
    assert document["bundle"]["graph_sha256"] == opened.manifest.members["model.onnx"]
    (said,) = document["lists"]
    assert (said["captures"], said["bona_fide"], said["attacks"]) == (45, 20, 25)
    assert document["level"] == "standard"
    assert document["unit"] == "presentation"


def test_the_documents_keys_belong_to_its_version(evaluate, bundle, listing):
    """Programs read these: renaming or removing one needs a new DOCUMENT_VERSION."""
    document = evaluate(bundle, listing)
    assert (document["document"], document["version"]) == ("fasdk evaluation", 2)
    assert " ".join(document) == (
        "document version bundle backend family source unit level lists development overlap cases "
        "not_evaluated family_figure worst limits evidence"
    )


def test_every_combination_that_leaves_what_is_required_is_judged(evaluate, bundle, listing):
    document = evaluate(bundle, listing, options=["--missing", "all"])
    cases = {case["missing"]: case for case in document["cases"]}
    assert list(cases) == ["none", "depth", "ir", "depth+ir"]
    assert cases["depth"]["modalities"] == ["rgb", "ir"]
    assert len(document["not_evaluated"]) == 3  # whatever takes the required rgb away
    assert all("requires" in line for line in document["not_evaluated"])


def test_a_point_is_never_borrowed_from_another_combination(evaluate, bundle, listing):
    options = ["--missing", "depth", "--missing", "depth,ir"]
    document = evaluate(bundle, listing, options=options)
    cases = {case["missing"]: case for case in document["cases"]}
    assert cases["depth"]["figures"]["thresholds"] == []
    assert "no operating point for rgb+ir" in cases["depth"]["thresholds_note"]
    assert "without a threshold only" in cases["depth"]["thresholds_note"]
    assert cases["depth"]["figures"]["separation"] is not None
    (alone,) = cases["depth+ir"]["figures"]["thresholds"]
    assert alone["threshold"] == 0.9


def test_captures_that_hold_different_modalities_are_judged_apart(evaluate, bundle, tmp_path):
    rows = mixed() + [row(level, BONA_FIDE, ("rgb",)) for level in (150, 200)]
    document = evaluate(bundle, write_list(tmp_path, rows))
    held = {"+".join(case["modalities"]): case["figures"] for case in document["cases"]}
    assert held["rgb+depth+ir"]["presentations"] == 45
    assert held["rgb"]["presentations"] == 2
    assert held["rgb"]["separation"] is None
    assert "no attack" in held["rgb"]["separation_note"]


def test_a_bundle_without_points_gets_figures_without_a_threshold(evaluate, tmp_path, listing):
    bundle = tiny_bundle.write(tmp_path / "plain.fasb", operating_points=())
    document = evaluate(bundle, listing)
    (case,) = document["cases"]
    assert document["level"] is None
    assert case["figures"]["thresholds"] == []
    assert "no operating point" in case["thresholds_note"]
    assert case["figures"]["separation"]["eer"]["value"] > 0
    assert document["worst"][0]["is_error"] is None


def test_a_level_may_be_chosen_and_must_be_there(evaluate, refused, tmp_path, listing):
    points = (tiny_bundle.point(), tiny_bundle.point(level="strict", threshold=0.8))
    bundle = tiny_bundle.write(tmp_path / "two.fasb", operating_points=points)
    both = evaluate(bundle, listing)["cases"][0]["figures"]["thresholds"]
    assert [t["name"] for t in both] == ["standard", "strict"]
    document = evaluate(bundle, listing, options=["--level", "strict"])
    assert [t["name"] for t in document["cases"][0]["figures"]["thresholds"]] == ["strict"]
    assert document["level"] == "strict"
    line = refused(bundle, "--protocol", listing, "--level", "paranoid")
    assert "'paranoid'" in line
    assert "standard, strict" in line


def test_a_development_list_adds_its_threshold_to_every_case(evaluate, bundle, tmp_path, listing):
    rows = [line | {"subject": f"other {line['subject']}"} for line in mixed(offset=3)]
    development = write_list(tmp_path, rows, "development")
    options = ["--development", development, "--missing", "depth"]
    document = evaluate(bundle, listing, options=options)
    scored = score_dataset(open_bundle(bundle), open_dataset(development), threads=1)
    full, reduced = (case["figures"]["thresholds"] for case in document["cases"])
    assert [t["name"] for t in full] == ["standard", "development EER"]
    assert [t["name"] for t in reduced] == ["development EER"]
    judged = scored.scores
    threshold = full[1]["threshold"]
    accepted = (judged.values[~judged.is_bona_fide] > threshold).mean()
    refused = (judged.values[judged.is_bona_fide] <= threshold).mean()
    assert abs(accepted - refused) < 0.06
    assert full[1]["overall"]["hter"]["value"] > 0
    assert document["development"]["name"] == "development"


@pytest.mark.parametrize(
    ("member", "said"),
    [(CALIBRATION, "calibration"), (EVALUATION, "thresholds came from")],
)
def test_subjects_the_bundle_has_seen_are_refused_or_reported(
    evaluate, refused, tmp_path, listing, member, said
):
    seen = ["person of mask-60-rgb+depth+ir", "someone else"]
    bundle = write_bundle_seen(tmp_path / "seen.fasb", seen, member)
    line = refused(bundle, "--protocol", listing)
    assert "shares 1 subject with" in line
    assert said in line
    assert seen[0] in line
    document = evaluate(bundle, listing, options=["--allow-overlap"])
    (overlap,) = document["overlap"]
    assert overlap["subjects"] == seen[:1]
    assert any("likely too good" in limit for limit in document["limits"])


def test_subjects_of_the_development_list_are_refused(refused, bundle, listing):
    line = refused(bundle, "--protocol", listing, "--development", listing)
    assert "shares 45 subjects with the development list" in line
    assert "and 35 more" in line


def test_new_subjects_are_checked_against_those_the_bundle_names(evaluate, tmp_path, listing):
    bundle = write_bundle_seen(tmp_path / "seen.fasb", ["someone else"])
    document = evaluate(bundle, listing)
    assert document["overlap"] == []
    unknown = [limit for limit in document["limits"] if "could not be checked" in limit]
    assert len(unknown) == 1  # calibration.json of the tiny bundle names nobody
    assert "calibrated" in unknown[0]


def test_a_quantized_bundle_that_hides_whom_it_saw_is_said_to(evaluate, tmp_path, listing):
    described = tiny_bundle.manifest(precision="int8-fp32", operating_points=())
    bundle = tmp_path / "hiding.fasb"
    tiny_bundle.write_bundle(bundle, described, {"model.onnx": tiny_bundle.graph_bytes()})
    said = [limit for limit in evaluate(bundle, listing)["limits"] if "could not be" in limit]
    assert len(said) == 1
    assert "calibrated" in said[0]


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("fp32", []),
        ("fp16", ["half precision in single"]),
        ("int8", ["as they are written", "half precision in single"]),
        ("int8-fp32", ["another CPU"]),
    ],
)
def test_evaluation_states_how_the_precision_affects_last_digits(
    evaluate, tmp_path, listing, precision, words
):
    described = tiny_bundle.manifest(precision=precision, operating_points=())
    bundle = tmp_path / "any.fasb"
    tiny_bundle.write_bundle(bundle, described, {"model.onnx": tiny_bundle.graph_bytes()})
    limits = evaluate(bundle, listing)["limits"]
    said = [limit for limit in limits if limit.startswith("The graph is")]
    assert len(said) == (1 if words else 0)
    assert all(word in said[0] for word in words)


@pytest.mark.parametrize(
    ("family", "options", "tests"),
    [
        ("P1", [], ["none"]),
        ("P2", ["--missing", "depth", "--missing", "ir"], ["depth", "ir"]),
        ("p2", [], ["depth", "ir", "depth+ir"]),
    ],
)
def test_a_protocol_family_is_the_mean_of_its_tests(
    evaluate, bundle, listing, family, options, tests
):
    document = evaluate(
        bundle, listing, options=["--family", family, "--source", "C, P and S", *options]
    )
    figure = document["family_figure"]
    cases = [document["cases"][index] for index in figure["tests"]]
    assert [case["missing"] for case in cases] == tests
    separations = [case["figures"]["separation"] for case in cases]
    assert figure["auc"] == pytest.approx(np.mean([s["auc"]["value"] for s in separations]))
    assert figure["hter_at_eer"] == pytest.approx(
        np.mean([s["hter_at_eer"]["value"] for s in separations])
    )
    assert figure["hter_at_development"] is None
    assert document["source"] == "C, P and S"


def test_p2_mean_leaves_out_other_missing_modalities(evaluate, tmp_path, listing):
    bundle = tiny_bundle.write(tmp_path / "free.fasb", required=())
    document = evaluate(bundle, listing, options=["--family", "P2", "--missing", "all"])
    assert len(document["cases"]) == 7
    tests = [document["cases"][index]["missing"] for index in document["family_figure"]["tests"]]
    assert tests == ["depth", "ir", "depth+ir"]


def test_several_targets_are_judged_one_by_one_and_together(evaluate, bundle, tmp_path):
    p = write_list(tmp_path, mixed(), "padisi")
    rows = [line | {"domain": "kiosk"} for line in mixed(offset=2)]
    s = write_list(tmp_path, rows, "surf")
    document = evaluate(bundle, p, s, options=["--family", "P3"])
    assert [case["list"] for case in document["cases"]] == ["padisi", "surf", "padisi + surf"]
    together = document["cases"][2]["figures"]
    assert together["presentations"] == 90
    assert [d["domain"] for d in together["domains"]] == ["kiosk", "lab"]
    assert document["family_figure"]["tests"] == [2]
    counts = [
        case["figures"]["thresholds"][0]["overall"]["bpcer"]["errors"] for case in document["cases"]
    ]
    assert counts[2] == counts[0] + counts[1]


def test_captures_without_an_answer_are_counted_apart(evaluate, tmp_path):
    bundle = write_silent_bundle(tmp_path / "silent.fasb")
    rows = [*mixed(), row(5, "print"), row(6, BONA_FIDE)]
    found = evaluate(bundle, write_list(tmp_path, rows))["cases"][0]["figures"]
    assert found["non_responses"]["frames"] == 2
    assert found["non_responses"]["bpnrr"]["errors"] == 1
    assert found["thresholds"][0]["overall"]["bpcer"]["attempts"] == 20
    assert found["presentations"] == 47


def test_the_worst_captures_are_named_attack_first(evaluate, bundle, listing):
    worst = evaluate(bundle, listing, options=["--worst", 2])["worst"]
    assert [w["id"] for w in worst] == [
        "mask-150-rgb+depth+ir",
        "print-142-rgb+depth+ir",
        "bona fide-120-rgb+depth+ir",
        "bona fide-125-rgb+depth+ir",
    ]
    assert [w["is_error"] for w in worst] == [True] * 4
    assert evaluate(bundle, listing, options=["--worst", 0])["worst"] == []


def test_without_json_there_are_tables_and_with_it_one_document(fasdk, bundle, listing):
    words = ["evaluate", bundle, "--protocol", listing, "--threads", 1]
    plain = fasdk(*words)
    assert plain.status == 0
    for word in ("AUC", "worst APCER", "BPCER", "standard", "mask", "print", "13.33 %"):
        assert word in plain.stdout
    ran = fasdk(*words, "--json")
    json.loads(ran.stdout)
    assert ran.error_lines == []


def test_a_wrong_root_names_the_first_ten_missing_files(refused, bundle, tmp_path, listing):
    (tmp_path / "elsewhere").mkdir()
    line = refused(bundle, "--protocol", listing, "--root", tmp_path / "elsewhere")
    assert line.count(".png") == 10
    assert "elsewhere" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--missing", "thermal"], "'thermal' is no modality: choose among rgb, depth, ir"),
        (["--missing", "depth,"], "'' is no modality"),
        (["--missing", "rgb"], "left without rgb, which this bundle requires"),
        (["--family", "P4"], "choose one of P1, P2, P3"),
        (["--report", "/no/such/folder/report.html"], "its folder does not exist"),
        (["--development", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_wrong_options_are_one_line(refused, bundle, listing, options, said):
    assert said in refused(bundle, "--protocol", listing, *options)


def test_lists_that_would_count_twice_or_make_no_protocol_are_refused(refused, bundle, tmp_path):
    one = write_list(tmp_path, mixed(), "one")
    two = write_list(tmp_path, mixed(), "two")
    line = refused(bundle, "--protocol", one, "--protocol", two)
    assert "share 45 presentations" in line
    assert "called one" in refused(bundle, "--protocol", one, "--protocol", one)
    line = refused(bundle, "--protocol", one, "--protocol", two, "--family", "P1")
    assert "one test list; 2 were given" in line
    assert "--protocol LIST" in refused(bundle)


def test_a_bundle_that_is_none_is_one_line(refused, tmp_path, listing):
    broken = tmp_path / "broken.fasb"
    broken.write_bytes(b"not a bundle")
    assert "broken.fasb" in refused(broken, "--protocol", listing)


def test_a_list_of_the_benchmark_is_judged_as_published(evaluate, bundle, tmp_path):
    brightness = {
        "035_01_000_0_00": 210,
        "027_02_000_0_00": 140,
        "001_03_000_2_80": 60,
        "012_03_000_4_15": 135,
    }
    lines = []
    for video, level in brightness.items():
        for frame, brighter in (("0012", 0), ("0024", 4)):
            paths = []
            for modality in ("color", "depth", "ir"):
                path = f"WMCA-Image/R_CDIT/{video}/{modality}/{frame}.jpg"
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                shown = 128 if modality == "depth" else level + brighter
                cv2.imwrite(str(tmp_path / path), np.full((64, 64, 3), shown, np.uint8))
                paths.append(path)
            lines.append(f"{' '.join(paths)} {int('_000_0_' in video)}")
    listing = tmp_path / "W-test.txt"
    listing.write_bytes("\r\n".join(lines).encode())  # no newline at the end, as published
    options = ["--root", tmp_path, "--family", "P1", "--source", "C, P and S"]
    document = evaluate(bundle, listing, options=options)
    (case,) = document["cases"]
    found = case["figures"]
    assert (found["captures"], found["presentations"], found["subjects"]) == (8, 4, 4)
    assert (found["bona_fide"], found["attacks"]) == (2, 2)
    assert found["separation"]["auc"]["value"] == 1.0
    assert document["lists"][0]["domains"] == ["WMCA"]
    assert found["thresholds"][0]["overall"]["attacks_accepted"]["errors"] == 1
    assert document["family_figure"]["auc"] == 1.0
