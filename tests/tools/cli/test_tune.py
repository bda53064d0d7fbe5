"""Verb tune: thresholds by level and combination of modalities, or the shortage."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import PlanEntry
from fasdk.bundle.members import CALIBRATION, EVALUATION, GRAPH
from fasdk.bundle.signing import build_signer, generate_key
from fasdk.bundle.trust import TrustPolicy
from fasdk.session.session import Liveness
from fasdk_calibration.datasets import DatasetSource

from support import tiny_bundle
from support.graphs import write_small_bundle

ALL = ("rgb", "depth", "ir")
LEVELS = range(0, 256, 3)  # brightness of a frame: the tiny bundle calls bright faces live


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of frames, one of each modality and brightness, that lists may name again."""
    root = tmp_path_factory.mktemp("frames")
    for level in LEVELS:
        cv2.imwrite(str(root / f"{level}.rgb.png"), np.full((8, 8, 3), level, np.uint8))
        cv2.imwrite(str(root / f"{level}.ir.png"), np.full((8, 8), level, np.uint8))
    cv2.imwrite(str(root / "depth.png"), np.full((8, 8), 500, np.uint16))
    return root


def rows(label: str, levels: Iterable[int], held=ALL, *, start: int = 0, **changes) -> list[dict]:
    """Return one line a level: a capture of that brightness, a presentation and person of its own.

    Each is called by what it shows, where it stands and what it holds.
    """
    found = []
    for number, level in enumerate(levels, start):
        name = f"{label}-{number}-{'+'.join(held)}"
        near = 3 * round(level / 3)  # one of LEVELS
        names = {"rgb": f"{near}.rgb.png", "depth": "depth.png", "ir": f"{near}.ir.png"}
        row = {"id": name, "subject": name, "domain": "lab", "presentation": name}
        row |= {"label": "bona fide" if label == "bona fide" else "attack", "species": label}
        found.append(row | {m: names[m] for m in held} | changes)
    return found


def spread(low: int, high: int, count: int) -> list[int]:
    return [int(level) for level in np.linspace(low, high, count)]


def development(attacks: int = 62, held=ALL) -> list[dict]:
    """Return bright bona fide captures and, of two species, darker attacks; they overlap."""
    return [
        *rows("bona fide", spread(105, 240, 60), held),
        *rows("print", spread(15, 125, attacks), held),
        *rows("mask", spread(30, 135, attacks), held),
    ]


@pytest.fixture
def write_list(folder):
    def write(lines: list[dict], name: str = "development.jsonl") -> Path:
        path = folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def source(tmp_path) -> Path:
    return tiny_bundle.write(tmp_path / "lobby.fasb")


def tune(fasdk, source, out, protocol, *options):
    ran = fasdk("tune", source, "-o", out, "--protocol", protocol, "--json", *options)
    return ran, json.loads(ran.stdout)


def refused(ran, *words):
    assert ran.status == 2
    assert len(ran.error_lines) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    for word in words:
        assert str(word) in ran.error_lines[0]


def test_a_tuned_bundle_carries_thresholds_bounds_and_a_calibration(
    fasdk, source, write_list, tmp_path
):
    out = tmp_path / "tuned.fasb"
    ran, document = tune(
        fasdk,
        source,
        out,
        write_list(development()),
        "--level",
        "standard",
        "--level",
        "convenience",
    )
    assert ran.status == 0
    assert document["written"] is True
    before, after = open_bundle(source), open_bundle(out)
    assert (before.manifest.revision, after.manifest.revision) == (1, 2)
    assert document["bundle_id"] == after.id != before.id
    assert [p.id for p in after.manifest.operating_points] == [
        "standard/rgb+depth+ir",
        "convenience/rgb+depth+ir",
    ]
    standard, convenience = after.manifest.operating_points
    assert standard.threshold > convenience.threshold
    assert standard.apcer_upper <= 0.05 < convenience.apcer_upper <= 0.10
    assert standard.calibrated
    assert standard.graph_sha256 == after.manifest.members[GRAPH]
    (calibration,) = after.manifest.score_calibrations
    assert calibration.slope > 0
    assert after.signed_by == build_signer().key_id

    (subset,) = document["subsets"]
    assert (subset["modalities"], subset["refused"]) == (["rgb", "depth", "ir"], [])
    assert (subset["captures"], subset["presentations"], subset["bona_fide"]) == (184, 184, 60)
    assert subset["attacks"] == {"mask": 62, "print": 62}
    assert subset["calibration"]["slope"] == calibration.slope
    level = subset["levels"][0]
    assert (level["level"], level["target"]) == ("standard", 0.05)
    assert level["threshold"] == standard.threshold
    assert level["apcer"]["mask"]["errors"] == 0
    assert level["apcer"]["mask"]["one_sided_upper"] == pytest.approx(0.0472, abs=1e-4)
    assert level["bpcer"]["errors"] > 0


def test_graph_golden_captures_plans_and_calibration_stay(fasdk, write_list, tmp_path):
    entry = PlanEntry(
        member="plans/sm86.plan", compute_capabilities=("8.6",), version="1", max_batch=4
    )
    described = tiny_bundle.manifest(plans=(entry,))
    members = tiny_bundle.members(described) | {entry.member: b"plan"}
    source = tmp_path / "planned.fasb"
    write_bundle(source, described, members)
    out = tmp_path / "tuned.fasb"
    ran, _ = tune(fasdk, source, out, write_list(development()), "--level", "standard")
    assert ran.status == 0
    before, after = open_bundle(source), open_bundle(out)
    kept = {k: bytes(v) for k, v in after.members.items() if k != EVALUATION}
    assert kept == {k: bytes(v) for k, v in before.members.items() if k != EVALUATION}
    assert after.manifest.plans == before.manifest.plans
    changed = {
        name
        for name, value in after.manifest
        if value != getattr(before.manifest, name) and name != "members"
    }
    assert changed == {
        "revision",
        "operating_points",
        "operating_points_note",
        "score_calibrations",
        "sizes",
    }
    verified = fasdk("verify", out, "--json")
    assert verified.status == 0
    assert json.loads(verified.stdout)["golden_drift"] <= 1e-6


def test_the_evaluation_document_lets_a_reviewer_count_again(fasdk, source, write_list, tmp_path):
    from hashlib import sha256

    protocol, out = write_list(development()), tmp_path / "tuned.fasb"
    tune(fasdk, source, out, protocol, "--level", "standard", "--missing", "depth")
    bundle = open_bundle(out)
    document = bundle.document(EVALUATION)
    assert (document["kind"], document["unit"]) == ("tuned", "presentation")
    assert document["list"] == "development.jsonl"
    assert document["list_sha256"] == sha256(protocol.read_bytes()).hexdigest()
    assert document["graph_sha256"] == bundle.manifest.members[GRAPH]
    assert document["from_bundle"] == open_bundle(source).id
    assert (document["captures"], document["presentations"]) == (184, 184)
    assert len(document["subjects"]) == 184
    assert document["targets"] == {"standard": 0.05}
    assert document["missing"] == [["depth"]]
    assert "Clopper-Pearson" in document["method"]
    assert [p["threshold"] for p in document["operating_points"]] == [
        p.threshold for p in bundle.manifest.operating_points
    ]
    assert len(document["subsets"]) == len(document["score_calibrations"]) == 2


def test_tuning_twice_gives_the_same_bytes(fasdk, source, write_list, tmp_path):
    outs = [tmp_path / "one.fasb", tmp_path / "two.fasb"]
    for out in outs:
        tune(fasdk, source, out, write_list(development()), "--level", "standard")
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_check_judges_by_the_tuned_threshold_of_the_level(
    fasdk, source, write_list, folder, tmp_path
):
    out = tmp_path / "tuned.fasb"
    lines = [*rows("bona fide", spread(105, 240, 60)), *rows("print", spread(15, 150, 300))]
    ran, document = tune(fasdk, source, out, write_list(lines))
    assert ran.status == 0
    thresholds = {found["level"]: found["threshold"] for found in document["subsets"][0]["levels"]}
    assert thresholds["convenience"] < thresholds["standard"] < thresholds["strict"]
    verdicts = {}
    for brightness in (30, 147, 240):
        frames = [
            "--rgb",
            folder / f"{brightness}.rgb.png",
            "--ir",
            folder / f"{brightness}.ir.png",
        ]
        frames += ["--depth", folder / "depth.png", "--backend", "onnxruntime", "--json"]
        for level, threshold in thresholds.items():
            checked = fasdk("check", out, *frames, "--level", level)
            decision = json.loads(checked.stdout)
            assert decision["operating_point"] == f"{level}/rgb+depth+ir"
            assert decision["threshold"] == threshold
            assert decision["verdict"] == ("live" if decision["score"] > threshold else "spoof")
            assert checked.status == (0 if decision["verdict"] == "live" else 1)
            verdicts[brightness, level] = decision["verdict"]
    assert {verdicts[30, level] for level in thresholds} == {"spoof"}
    assert {verdicts[240, level] for level in thresholds} == {"live"}
    assert (verdicts[147, "convenience"], verdicts[147, "strict"]) == ("live", "spoof")


def test_too_little_data_is_exit_1_with_how_many_more_and_nothing_written(
    fasdk, source, write_list, tmp_path
):
    out = tmp_path / "tuned.fasb"
    ran, document = tune(fasdk, source, out, write_list(development(attacks=58)))
    assert ran.status == 1
    assert (document["written"], document["bundle_id"]) == (False, None)
    assert not out.exists()
    assert ran.error_lines == [
        "fasdk: standard with rgb+depth+ir needs 59 presentations of every species, has 58",
        "fasdk: strict with rgb+depth+ir needs 299 presentations of every species, has 58",
        "fasdk: nothing is written: give more captures, or --allow-missing-levels",
    ]
    (subset,) = document["subsets"]
    assert [x["level"] for x in subset["levels"]] == ["convenience"]
    assert [x["level"] for x in subset["refused"]] == ["standard", "strict"]
    assert subset["refused"][0]["shortages"] == [
        {"species": "mask", "attempts": 58, "more": 1},
        {"species": "print", "attempts": 58, "more": 1},
    ]


def test_levels_that_can_be_supported_are_written_when_asked_for(
    fasdk, source, write_list, frames, tmp_path
):
    out, protocol = tmp_path / "tuned.fasb", write_list(development(attacks=58))
    ran, document = tune(fasdk, source, out, protocol, "--allow-missing-levels")
    assert ran.status == 0
    assert document["written"] is True
    assert len(ran.error_lines) == 2  # and says what is missing
    manifest = open_bundle(out).manifest
    assert [p.id for p in manifest.operating_points] == ["convenience/rgb+depth+ir"]
    assert "not supported: standard/rgb+depth+ir, strict/rgb+depth+ir" in (
        manifest.operating_points_note
    )
    checked = fasdk("check", out, *frames.options, "--json", "--backend", "onnxruntime")
    assert checked.status == 1
    assert json.loads(checked.stdout)["verdict"] == "error"
    few = write_list(development(attacks=20), "few.jsonl")
    ran, document = tune(fasdk, source, tmp_path / "none.fasb", few, "--allow-missing-levels")
    assert (ran.status, document["written"]) == (1, False)
    assert not (tmp_path / "none.fasb").exists()


def test_each_combination_gets_its_own_calibration_and_points(fasdk, source, write_list, tmp_path):
    lines = [*development(), *development(held=("rgb", "ir"))]
    out = tmp_path / "tuned.fasb"
    ran, document = tune(
        fasdk, source, out, write_list(lines), "--level", "standard", "--missing", "depth,ir"
    )
    assert ran.status == 0
    assert [s["modalities"] for s in document["subsets"]] == [
        ["rgb", "depth", "ir"],
        ["rgb", "ir"],
        ["rgb"],
    ]
    assert [s["captures"] for s in document["subsets"]] == [184, 184, 368]
    manifest = open_bundle(out).manifest
    assert [p.id for p in manifest.operating_points] == [
        "standard/rgb+depth+ir",
        "standard/rgb+ir",
        "standard/rgb",
    ]
    assert [c.modalities for c in manifest.score_calibrations] == [
        p.modalities for p in manifest.operating_points
    ]
    assert len({c.slope for c in manifest.score_calibrations}) == 3


def test_a_capture_counts_once_a_combination(fasdk, source, write_list, tmp_path):
    """Taking depth away, and depth again from what lacks it, gives the same rgb+ir once."""
    lines = [*development(), *development(held=("rgb", "ir"))]
    _, document = tune(
        fasdk,
        source,
        tmp_path / "x.fasb",
        write_list(lines),
        "--level",
        "standard",
        "--missing",
        "depth",
        "--missing",
        "depth",
    )
    assert [s["captures"] for s in document["subsets"]] == [184, 368]


def test_a_combination_of_one_class_is_refused_by_name(fasdk, source, write_list, tmp_path):
    lines = [
        *development(),
        *rows("print", [50] * 3, ("rgb",)),
        *rows("bona fide", [200], ("rgb", "ir")),
    ]
    ran, _ = tune(fasdk, source, tmp_path / "x.fasb", write_list(lines), "--level", "standard")
    assert ran.status == 1
    assert ran.error_lines[:2] == [
        "fasdk: standard with rgb+ir: no attack presentation: add some, "
        "at least 59 of each species",
        "fasdk: standard with rgb: no bona fide presentation: add some",
    ]


def test_a_model_that_ranks_attacks_first_supports_no_level(fasdk, source, write_list, tmp_path):
    lines = [*rows("bona fide", spread(20, 90, 60)), *rows("print", spread(120, 200, 300))]
    ran, document = tune(fasdk, source, tmp_path / "x.fasb", write_list(lines))
    assert ran.status == 1
    (line,) = ran.error_lines  # one reason, for three levels
    assert "score no lower than bona fide captures" in line
    assert all(level in line for level in ("convenience", "standard", "strict"))
    assert document["subsets"][0]["calibration"] is None


def test_frames_of_one_presentation_count_once(fasdk, source, write_list, tmp_path):
    lines = development()
    for line in list(lines):
        lines += [line | {"id": f"{line['id']}-{n}"} for n in range(2)]
    ran, document = tune(
        fasdk, source, tmp_path / "many.fasb", write_list(lines), "--level", "standard"
    )
    single, once = tune(
        fasdk,
        source,
        tmp_path / "one.fasb",
        write_list(development(), "one.jsonl"),
        "--level",
        "standard",
    )
    assert (ran.status, single.status) == (0, 0)
    (many,), (one,) = document["subsets"], once["subsets"]
    assert (many["captures"], many["presentations"]) == (3 * one["captures"], 184)
    assert many["levels"] == one["levels"]
    assert many["calibration"] == one["calibration"]


def test_tune_passes_on_the_notes_of_the_list(fasdk, source, write_list, tmp_path, monkeypatch):
    real = DatasetSource.open
    note = "the list names no subjects"
    monkeypatch.setattr(DatasetSource, "open", lambda self: replace(real(self), notes=(note,)))
    out = tmp_path / "tuned.fasb"
    ran, document = tune(fasdk, source, out, write_list(development()), "--level", "standard")
    assert ran.error_lines == [f"fasdk: note: {note}"]
    assert document["notes"] == open_bundle(out).document(EVALUATION)["notes"] == [note]


@pytest.mark.parametrize(("away", "is_near"), [(0.0, True), (0.03, True), (0.05, False)])
def test_a_golden_capture_on_a_threshold_is_pointed_out(
    fasdk, source, write_list, tmp_path, monkeypatch, away, is_near
):
    """A device that rounds otherwise would refuse its engine for it."""
    # The capture's logits are made up: no engine reproduces them.
    monkeypatch.setattr(Liveness, "prove", lambda _: None)
    options = [write_list(development()), "--level", "standard"]
    out = tmp_path / "tuned.fasb"
    ran, _ = tune(fasdk, source, out, *options)
    assert ran.error_lines == []
    before, tuned = open_bundle(source), open_bundle(out)
    (point,), (calibration,) = tuned.manifest.operating_points, tuned.manifest.score_calibrations
    middle = (np.log(point.threshold / (1 - point.threshold)) - calibration.offset) / (
        calibration.slope
    )
    capture = before.golden[0].capture
    near = GoldenCapture(capture, np.float32([0.0, middle + away]))
    members = {k: bytes(v) for k, v in before.members.items()} | {"golden/0.npz": near.to_bytes()}
    other = tmp_path / "near.fasb"
    write_bundle(other, before.manifest, members)
    ran, document = tune(fasdk, other, tmp_path / "again.fasb", *options)
    assert ran.status == 0
    named = [note for note in document["notes"] if "golden capture 0 lies" in note]
    assert bool(named) is is_near
    assert len(ran.error_lines) == len(named)


def test_the_input_is_verified_and_the_output_signed_by_the_key_named(fasdk, write_list, tmp_path):
    vendor, tuner = tmp_path / "vendor.pem", tmp_path / "tuner.pem"
    vendor_public, vendor_id = generate_key(vendor)
    tuner_public, tuner_id = generate_key(tuner)
    source = tiny_bundle.write(tmp_path / "signed.fasb", sign_key=vendor)
    protocol = write_list(development())
    options = ["--level", "standard", "--key", vendor_public]
    own, resigned = tmp_path / "own.fasb", tmp_path / "resigned.fasb"
    ran, document = tune(fasdk, source, own, protocol, *options)
    assert (ran.status, document["signed_by"]) == (0, build_signer().key_id)
    assert document["trust"] == f"key {vendor_id}"
    assert open_bundle(own).signed_by == build_signer().key_id
    ran, document = tune(fasdk, source, resigned, protocol, *options, "--sign-key", tuner)
    assert (ran.status, document["signed_by"]) == (0, tuner_id)
    assert open_bundle(resigned, TrustPolicy.from_files(tuner_public)).signed_by == tuner_id
    out = tmp_path / "x.fasb"
    words = ("-o", out, "--protocol", protocol, "--key", vendor_public)
    refused(fasdk("tune", own, *words), "fits none")
    assert not out.exists()


def test_tune_refuses_subjects_that_calibrated_the_bundle(fasdk, write_list, tmp_path):
    lines = development()
    described = tiny_bundle.manifest()
    members = tiny_bundle.members(described)
    source = tmp_path / "int8.fasb"
    for subjects, status in [(["someone else"], 0), ([lines[0]["subject"], "x"], 2)]:
        document = tiny_bundle.calibration_json(subjects=subjects)
        write_bundle(source, described, members | {CALIBRATION: document})
        ran, _ = tune(
            fasdk, source, tmp_path / f"{status}.fasb", write_list(lines), "--level", "standard"
        )
        assert ran.status == status
    refused(ran, "shares 1 subject with the calibration of", lines[0]["subject"])
    write_bundle(
        source, described, members | {CALIBRATION: tiny_bundle.calibration_json(subjects="all")}
    )
    ran, _ = tune(fasdk, source, tmp_path / "y.fasb", write_list(lines))
    refused(ran, "subjects is no list")


def test_a_bundle_calibrated_by_an_older_release_is_refused_in_one_line(
    fasdk, write_list, tmp_path
):
    described = tiny_bundle.manifest()
    source = tmp_path / "old.fasb"
    members = tiny_bundle.members(described) | {CALIBRATION: b'{"subjects": ["ann"]}'}
    write_bundle(source, described, members)
    ran, _ = tune(fasdk, source, tmp_path / "new.fasb", write_list(development()))
    refused(ran, "old.fasb", "no schema version", "expected 2", "build the bundle again")


def test_an_answer_that_is_not_finite_is_refused(fasdk, write_list, tmp_path, monkeypatch):
    model = onnx.load_from_string(tiny_bundle.graph_bytes())
    weight = next(w for w in model.graph.initializer if w.name == "weight")
    weight.CopyFrom(numpy_helper.from_array(np.full((9, 2), np.nan, np.float32), "weight"))
    described = tiny_bundle.manifest(operating_points=())
    source = tmp_path / "nan.fasb"
    members = tiny_bundle.members(described) | {GRAPH: model.SerializeToString()}
    write_bundle(source, described, members)
    ran, _ = tune(fasdk, source, tmp_path / "out.fasb", write_list(development()))
    refused(ran, "golden capture 0", "score nan")
    monkeypatch.setattr(Liveness, "prove", lambda _: None)
    ran, _ = tune(fasdk, source, tmp_path / "out.fasb", write_list(development()))
    refused(ran, "bona fide-0-rgb+depth+ir", "not a finite number")


@pytest.mark.parametrize("label", ["bona fide", "print"])
def test_a_list_of_one_class_is_refused(fasdk, source, write_list, tmp_path, label):
    absent = "attack" if label == "bona fide" else "bona fide"
    ran, _ = tune(fasdk, source, tmp_path / "out.fasb", write_list(rows(label, [9, 99])))
    refused(ran, f"no {absent} capture", "both classes")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--missing", "thermal"], ["--missing", "'thermal' is no modality"]),
        (["--missing", "rgb"], ["rgb", "requires"]),
        (["--level", "paranoid"], ["--level paranoid", "give its bound"]),
        (["--level", ""], ["give its bound"]),
        (["--level", "strict=tiny"], ["'tiny' is no number"]),
        (["--level", "strict=0"], ["strict", "not in"]),
        (["--level", "strict=nan"], ["strict", "not in"]),
        (["--level", "STRICT=0.1"], ["lower case"]),
        (["--level", "strict", "--level", "strict=0.2"], ["named twice"]),
        (["--level", "strict=0.2", "--level", "standard"], ["allows more than standard=0.05"]),
        (["--sign-key", "absent.pem"], ["absent.pem"]),
        (["--key", "absent.pem"], ["absent.pem"]),
        (["--threads", "-1"], ["--threads"]),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    fasdk, source, write_list, tmp_path, options, words
):
    ran, _ = tune(fasdk, source, tmp_path / "out.fasb", write_list(development()), *options)
    refused(ran, *words)
    assert not (tmp_path / "out.fasb").exists()


def test_a_bundle_that_does_not_look_at_a_modality_cannot_miss_it(fasdk, write_list, tmp_path):
    source = write_small_bundle(tmp_path / "rgb.fasb", operating_points=())
    ran, _ = tune(
        fasdk, source, tmp_path / "out.fasb", write_list(development()), "--missing", "depth"
    )
    refused(ran, "--missing depth", "rgb")


def test_files_that_are_not_there_are_named(fasdk, source, write_list, folder, tmp_path):
    protocol, out = write_list(development()), tmp_path / "out.fasb"
    refused(tune(fasdk, tmp_path / "none.fasb", out, protocol)[0], "none.fasb")
    refused(tune(fasdk, source, out, tmp_path / "none.jsonl")[0], "none.jsonl")
    refused(tune(fasdk, source, tmp_path / "no" / "out.fasb", protocol)[0], "folder does not exist")
    refused(tune(fasdk, source, source, protocol)[0], "lobby.fasb", "is also the bundle itself")
    refused(tune(fasdk, source, out, protocol, "--root", tmp_path)[0], "rgb.png")
    (folder / "broken.jsonl").write_text("{")
    refused(tune(fasdk, source, out, folder / "broken.jsonl")[0], "broken.jsonl:1")
    assert not out.exists()


def test_tune_prints_a_table_and_inspect_shows_the_bounds(fasdk, source, write_list, tmp_path):
    out = tmp_path / "tuned.fasb"
    ran = fasdk(
        "tune", source, "-o", out, "--protocol", write_list(development()), "--level", "standard"
    )
    assert ran.status == 0
    for word in ("revision", "standard", "rgb+depth+ir", "4.7", "0/62"):
        assert word in ran.stdout
    shown = fasdk("inspect", out)
    for word in ("Operating points", "standard", "4.72 %", "calibrated"):
        assert word in shown.stdout
    ran = fasdk("tune", source, "-o", tmp_path / "x.fasb", "--protocol", write_list(development()))
    assert ran.status == 1
    assert "not written" in ran.stdout


def vendors(count: int = 150) -> list[dict]:
    """Return what a vendor tunes on: as `development`, with more attacks."""
    return development(count)


def of_site(change: int, attacks: int = 20, people: int = 40) -> list[dict]:
    """Return a site's captures: people of its own, and the brightest levels changed by so much."""
    return [
        *rows("bona fide", spread(105 + change, 240 + change, people), subject="w"),
        *rows("print", spread(15, 125 + change, attacks), subject="x"),
        *rows("mask", spread(30, 135 + change, attacks), subject="y"),
    ]


@pytest.fixture
def vendor_bundle(fasdk, source, write_list, tmp_path):
    out = tmp_path / "vendor.fasb"
    ran, _ = tune(fasdk, source, out, write_list(vendors()), "--level", "standard")
    assert ran.status == 0
    return out


SITE = ("--level", "standard", "--vendor-development")


def test_a_site_with_lower_scores_gets_a_lower_threshold_with_20_attacks_of_a_species(
    fasdk, vendor_bundle, write_list, tmp_path
):
    out, listed = tmp_path / "site.fasb", write_list(of_site(-45), "site.jsonl")
    ran, document = tune(fasdk, vendor_bundle, out, listed, *SITE)
    assert ran.status == 0, ran.stderr
    before, after = open_bundle(vendor_bundle).manifest, open_bundle(out).manifest
    (was,), (now,) = before.operating_points, after.operating_points
    assert now.threshold < was.threshold
    assert now.apcer_upper == 0.05
    assert "merged with the vendor's development scores" in now.source
    assert after.score_calibrations == before.score_calibrations
    assert after.sequential_tests == ()
    (subset,) = document["subsets"]
    assert subset["attacks"] == {"mask": 20, "print": 20}
    # The same list alone supports nothing.
    alone, found = tune(fasdk, vendor_bundle, tmp_path / "alone.fasb", listed, *SITE[:2])
    assert alone.status == 1 and not found["written"]
    # Nobody borrows a site's few captures as if they were a vendor's.
    again, _ = tune(fasdk, out, tmp_path / "again.fasb", listed, *SITE)
    refused(again, "carries no development scores")


def test_a_site_with_higher_scores_gets_a_higher_threshold(
    fasdk, vendor_bundle, write_list, tmp_path
):
    out, listed = tmp_path / "site.fasb", write_list(of_site(12), "site.jsonl")
    ran, _ = tune(fasdk, vendor_bundle, out, listed, *SITE)
    assert ran.status == 0, ran.stderr
    (was,) = open_bundle(vendor_bundle).manifest.operating_points
    (now,) = open_bundle(out).manifest.operating_points
    assert now.threshold > was.threshold


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"attacks": 19}, "needs 20 site presentations of every species, has 19"),
        ({"people": 20}, "needs 30 genuine site presentations; has 20"),
    ],
)
def test_too_little_of_a_site_writes_nothing(
    fasdk, vendor_bundle, write_list, tmp_path, changed, words
):
    out = tmp_path / "site.fasb"
    listed = write_list(of_site(0, **changed), "site.jsonl")
    ran, document = tune(fasdk, vendor_bundle, out, listed, *SITE)
    assert ran.status == 1 and not document["written"]
    assert words in ran.stderr and not out.exists()


def test_a_bundle_without_development_scores_lends_none(fasdk, source, write_list, tmp_path):
    listed = write_list(of_site(0), "site.jsonl")
    ran, _ = tune(fasdk, source, tmp_path / "site.fasb", listed, *SITE)
    refused(ran, source, "carries no development scores")


def test_development_scores_are_numbers_in_order_and_name_nobody(vendor_bundle):
    (stored,) = open_bundle(vendor_bundle).document(EVALUATION)["development_scores"]
    assert set(stored) == {"modalities", "bona_fide", "attacks"}
    assert len(stored["bona_fide"]) == 60 and len(stored["attacks"]["mask"]) == 150
    for values in (stored["bona_fide"], *stored["attacks"].values()):
        assert values == sorted(values)
