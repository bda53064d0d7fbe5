"""Manifest: its canonical form, wrong fields, and rules between fields."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.manifest import parse_manifest
from fasdk.bundle.members import GRAPH, MANIFEST
from fasdk.capture import Modality
from fasdk.errors import BundleError

from support import tiny_bundle
from support.altered_bundle import plan_entry, refuse, with_manifest


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"[]", "a JSON list, expected an object"),
        (b"null", "a JSON NoneType"),
        (b"{}", "schema version 'None', this fasdk reads 2 or 3"),
        (
            b'{"schema_version":0}',
            "schema version '0', this fasdk reads 2 or 3: build it again with `fasdk build-engine`",
        ),
        (b'{"schema_version":1}', "schema version '1', this fasdk reads 2 or 3"),
        (b'{"schema_version":true}', "schema version 'True'"),
        (b'{"schema_version":1.0}', "schema version '1.0'"),
        (b'{"schema_version":"' + b"9" * 9999 + b'"}', "schema version"),
        (b'{"schema_version":2}', "Field required"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, bundle_members, raw, words):
    error = refuse(tmp_path, bundle_members | {MANIFEST: raw}, words)
    assert len(str(error)) < 400


def test_a_manifest_in_any_but_its_canonical_form_is_refused(tmp_path, bundle_members):
    raw = bundle_members[MANIFEST]
    document = json.loads(raw)
    threshold = f'"threshold":{document["operating_points"][0]["threshold"]}'.encode()
    assert threshold == b'"threshold":0.5'
    others = [
        json.dumps(document).encode(),
        json.dumps(dict(reversed(document.items())), separators=(",", ":")).encode(),
        raw + b"\n",
        b" " + raw,
        raw.replace(threshold, b'"threshold":0.50', 1),
        raw.replace(threshold, b'"threshold":5e-1', 1),
        raw.replace(threshold, b'"threshold":"0.5"', 1),
        raw.replace(threshold, b'"threshold":0.1,"threshold":0.5', 1),
        raw.replace(b'"averages"', b'"\\u0061verages"', 1),
        raw.decode().encode("utf-16"),
    ]
    for other in others:
        assert other != raw
        refuse(tmp_path, bundle_members | {MANIFEST: other}, MANIFEST)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(backdoor=True), "backdoor"),
        (lambda d: d["inputs"]["rgb"].update(gamma=2.2), "gamma"),
        (lambda d: d.update(revision=0), "revision"),
        (lambda d: d["members"].update({GRAPH: "0" * 64}), "another precision or model voids it"),
        (lambda d: d["members"].update({GRAPH: "no digest"}), "this is no digest"),
        (
            lambda d: d.update(operating_points=[]) or d["members"].update({GRAPH: "0" * 64}),
            "digest",
        ),
        (lambda d: d["members"].update({"golden/0.npz": "no digest"}), "digest"),
        (lambda d: d["operating_points"][0].update(threshold=-1), "threshold"),
        (lambda d: d["operating_points"].append(d["operating_points"][0]), "twice"),
        (
            lambda d: d["operating_points"].append(
                d["operating_points"][0] | {"modalities": ["ir", "depth", "rgb"], "threshold": 0.1}
            ),
            "twice",
        ),
        (lambda d: d["model"]["config"].update(scale=float("nan")), MANIFEST),
        (lambda d: d["model"]["config"].update(scale=float("inf")), MANIFEST),
        (lambda d: d.update(golden_tolerance=0.5), "golden_tolerance"),
        (lambda d: d.update(live_index=2), "live_index 2 is outside"),
        (lambda d: d.update(precision="int4"), "precision"),
        (lambda d: d.update(plans=[plan_entry("plans/a.plan")]), "plans/a.plan"),
        (lambda d: d.update(plans=[plan_entry(GRAPH)]), "plans"),
        (lambda d: d.update(labels=["live", "live"]), "labels names one thing twice"),
        (lambda d: d.update(modalities=["rgb", "rgb", "depth", "ir"]), "modalities"),
        (lambda d: d.update(required=["rgb", "rgb"]), "required"),
        (lambda d: d["inputs"].pop("ir"), "inputs and modalities"),
        (lambda d: d["inputs"]["rgb"].update(depth=d["inputs"]["depth"]["depth"]), "depth alone"),
        (lambda d: d["inputs"]["depth"].update(depth=None), "depth alone"),
    ],
)
def test_a_manifest_with_a_wrong_field_names_it(tmp_path, bundle_members, change, words):
    refuse(tmp_path, with_manifest(bundle_members, change), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"required": (Modality.RGB,), "modalities": (Modality.DEPTH,)}, "modalities"),
        ({"operating_points": (tiny_bundle.point(), tiny_bundle.point())}, "twice"),
    ],
)
def test_an_inconsistent_manifest_cannot_be_made(changes, words):
    with pytest.raises(ValidationError, match=words):
        tiny_bundle.manifest(**changes)


@pytest.mark.parametrize("presence", [False, True])
def test_the_manifest_says_which_inputs_the_graph_has(presence):
    described = tiny_bundle.manifest(presence=presence)
    images = {m.value: (3, 16, 16) for m in tiny_bundle.ALL}
    assert described.input_shapes == images | ({"present": (3,)} if presence else {})
    assert described.presence_order == (tiny_bundle.ALL if presence else None)


def test_points_and_required_modalities_must_be_the_models_own():
    spec = tiny_bundle.manifest().inputs[Modality.RGB]
    only_rgb = {"modalities": (Modality.RGB,), "inputs": {Modality.RGB: spec}}
    with pytest.raises(ValidationError, match="a modality the model lacks"):
        tiny_bundle.manifest(**only_rgb)
    with pytest.raises(ValidationError, match="not among the model's modalities"):
        tiny_bundle.manifest(**only_rgb, operating_points=(), required=(Modality.IR,))


def test_thresholds_of_another_graph_are_void(tmp_path):
    """A graph in another precision is another graph, so its digest tells."""
    described = tiny_bundle.manifest(reliability=False)
    bound = tiny_bundle.manifest().operating_points
    assert bound[0].graph_sha256 != described.operating_points[0].graph_sha256
    members = tiny_bundle.members(described)
    write_bundle(tmp_path / "own.fasb", described, members)
    for changes, words in [
        (
            {"operating_points": bound},
            r"operating point standard/rgb\+depth\+ir was chosen on graph",
        ),
        (
            {"operating_points": (), "score_calibrations": (tiny_bundle.calibration(),)},
            "score calibration was chosen on graph .* voids it",
        ),
    ]:
        with pytest.raises(BundleError, match=words):
            write_bundle(tmp_path / "other.fasb", described.model_copy(update=changes), members)
    assert not (tmp_path / "other.fasb").exists()


def test_a_bundle_older_than_the_binding_says_build_again(tmp_path, bundle_members):
    def forget_graph(document):
        for point in document["operating_points"]:
            del point["graph_sha256"]

    def forget_calibrations(document):
        del document["score_calibrations"]

    for change, field in [
        (forget_graph, "operating_points.0.graph_sha256"),
        (forget_calibrations, "score_calibrations"),
    ]:
        refuse(
            tmp_path,
            with_manifest(bundle_members, change),
            f"{field}: Field required: build it again with this release",
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"score_calibrations": (tiny_bundle.calibration(),)}, "comes with a score calibration"),
        (
            {"operating_points": (tiny_bundle.point(calibrated=True),)},
            "comes without a score calibration",
        ),
        (
            {"operating_points": (), "score_calibrations": (tiny_bundle.calibration(),) * 2},
            "score_calibrations names one thing twice",
        ),
    ],
)
def test_a_threshold_of_calibrated_scores_needs_that_calibration_and_no_other_has_it(
    changes, words
):
    with pytest.raises(ValidationError, match=words):
        tiny_bundle.manifest(**changes)


def test_a_manifest_without_the_new_crops_has_the_bytes_it_always_had():
    described = tiny_bundle.manifest()
    entry = json.loads(described.to_bytes())["inputs"]["rgb"]
    assert set(entry) == {
        "channel_order", "crop", "crop_scale", "depth", "height", "ir_composite", "mean",
        "missing_value", "std", "width",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("border_level", 0), ("fit", "stretch"), ("landmark_positions", None), ("crop_shape", "box")],
)
def test_a_setting_written_at_its_default_is_not_canonical(field, value):
    document = json.loads(tiny_bundle.manifest().to_bytes())
    document["inputs"]["rgb"][field] = value
    raw = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(BundleError, match="not in canonical form"):
        parse_manifest(raw, "x.fasb")
