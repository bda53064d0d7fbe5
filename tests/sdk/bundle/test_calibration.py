"""Reader of calibration.json: the current schema, and refusal of others."""

from __future__ import annotations

import json

import pytest

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.calibration import CALIBRATION_SCHEMA, read_calibration
from fasdk.bundle.members import CALIBRATION
from fasdk.errors import BundleError

from support import tiny_bundle


def bundle_with(tmp_path, document):
    described = tiny_bundle.manifest()
    path = tmp_path / "tiny.fasb"
    members = tiny_bundle.members(described)
    del members[CALIBRATION]
    if document is not None:
        members[CALIBRATION] = document
    write_bundle(path, described, members)
    return open_bundle(path)


def test_the_current_schema_is_read(tmp_path):
    found = read_calibration(bundle_with(tmp_path, tiny_bundle.calibration_json(subjects=["ann"])))
    assert found == {"schema_version": CALIBRATION_SCHEMA, "subjects": ["ann"]}


def test_a_bundle_without_one_has_none(tmp_path):
    assert read_calibration(bundle_with(tmp_path, None)) is None


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"subjects": ["ann"]}, "no schema version"),
        ({"schema_version": None}, "no schema version"),
        ({"schema_version": CALIBRATION_SCHEMA + 1}, f"schema version {CALIBRATION_SCHEMA + 1}"),
        ({"schema_version": 1}, "schema version 1"),
        ({"schema_version": str(CALIBRATION_SCHEMA)}, f"schema version '{CALIBRATION_SCHEMA}'"),
    ],
)
def test_another_schema_is_refused_in_one_line_with_both_versions(tmp_path, document, found):
    bundle = bundle_with(tmp_path, json.dumps(document).encode())
    with pytest.raises(BundleError) as refusal:
        read_calibration(bundle)
    line = str(refusal.value)
    assert "\n" not in line
    for words in ("tiny.fasb", CALIBRATION, found, f"expected {CALIBRATION_SCHEMA}", "build the"):
        assert words in line


def test_calibration_that_is_no_json_object_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"calibration\.json"):
        read_calibration(bundle_with(tmp_path, b"[]"))
