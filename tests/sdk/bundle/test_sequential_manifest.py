"""Sequential tests in a manifest: bound to graph, scores and operating point."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.manifest import parse_manifest
from fasdk.capture import Modality
from fasdk.errors import BundleError

from support import tiny_bundle
from support.sequential_tests import sequential_test

POINT, CALIBRATION = tiny_bundle.point(calibrated=True), tiny_bundle.calibration()
OTHER_GRAPH = "f" * 64


def described(**changes):
    settings = {
        "operating_points": (POINT,),
        "score_calibrations": (CALIBRATION,),
        "sequential_tests": (sequential_test(),),
    }
    return tiny_bundle.manifest(**(settings | changes))


def test_sequential_test_survives_a_bundle_unchanged(tmp_path):
    manifest = described()
    write_bundle(tmp_path / "tested.fasb", manifest, tiny_bundle.members(manifest))
    assert open_bundle(tmp_path / "tested.fasb").manifest.sequential_tests == (sequential_test(),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operating_points": (), "score_calibrations": ()}, "without its operating point"),
        (
            {"operating_points": (tiny_bundle.point(),), "score_calibrations": ()},
            "without its operating point of calibrated scores",
        ),
        (
            {"operating_points": (tiny_bundle.point("strict", calibrated=True),)},
            r"sequential test standard/rgb\+depth\+ir comes without its operating point",
        ),
        ({"sequential_tests": (sequential_test(),) * 2}, "sequential_tests names one thing twice"),
        (
            {"sequential_tests": (sequential_test(modalities=(Modality.RGB,)),)},
            "sequential test standard/rgb comes without",
        ),
    ],
)
def test_sequential_test_without_its_operating_point_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        described(**changes)


def test_sequential_test_of_another_graph_is_refused(tmp_path):
    manifest = described().model_copy(
        update={"sequential_tests": (sequential_test(graph_sha256=OTHER_GRAPH),)}
    )
    with pytest.raises(
        BundleError, match=r"sequential test .* was chosen on graph ffffffffffffffff"
    ):
        write_bundle(tmp_path / "other.fasb", manifest, tiny_bundle.members(manifest))


def test_a_bundle_older_than_sequential_tests_says_build_again():
    document = json.loads(described().to_bytes())
    del document["sequential_tests"]
    raw = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(BundleError, match="sequential_tests: Field required: build it again"):
        parse_manifest(raw, "old.fasb")
