"""Bundles of schema version 2, whose output `reliability` is the model's certainty."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.manifest import SCHEMA_VERSION
from fasdk.errors import BundleError
from fasdk.session.session import Liveness

from support import tiny_bundle


def check(path):
    """Return the decisions on one capture by a lane and by a batch."""
    bundle, capture = open_bundle(path), tiny_bundle.capture(200)
    with Liveness(bundle, OnnxRuntimeEngine(bytes(bundle.graph))) as session:
        return session.check(capture), *session.check_batch([capture])


def test_its_reliability_is_told_as_certainty(tmp_path):
    old = check(tiny_bundle.write(tmp_path / "old.fasb", schema_version=2))
    new = check(tiny_bundle.write(tmp_path / "new.fasb"))
    for was, is_now in zip(old, new, strict=True):
        assert (was.reliability, is_now.certainty) == ({}, {})
        assert was.certainty == is_now.reliability
        assert set(was.certainty) == {"rgb", "depth", "ir"}


def test_it_keeps_its_version_and_its_bytes(tmp_path):
    bundle = open_bundle(tiny_bundle.write(tmp_path / "old.fasb", schema_version=2))
    stated = json.loads(bundle.manifest.to_bytes())
    assert stated["schema_version"] == 2
    assert "certainty" not in stated
    members = {name: bytes(content) for name, content in bundle.members.items()}
    kept = bundle.manifest.model_copy(update={"revision": 2, "members": {}, "sizes": {}})
    assert write_bundle(tmp_path / "tuned.fasb", kept, members).schema_version == 2


def test_it_has_no_certainty_field(tmp_path):
    with pytest.raises(ValidationError, match="schema version 2 has it as reliability"):
        tiny_bundle.manifest(schema_version=2, certainty=True)
    with pytest.raises(BundleError, match="outputs are 'logits', 'reliability', expected"):
        open_bundle(tiny_bundle.write(tmp_path / "b.fasb", certainty=True))
    assert tiny_bundle.manifest().schema_version == SCHEMA_VERSION
