"""Table of bundle members: the one source of their names, order and number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.manifest import PlanEntry
from fasdk.bundle.members import GRAPH, MemberKind, is_digested, kind_of, missing_from, rank_of
from fasdk.errors import BundleError

from support import tiny_bundle

# One name of each kind; a kind without one fails below.
EXAMPLES = {
    MemberKind.MANIFEST: "manifest.json",
    MemberKind.SIGNATURE: "manifest.sig",
    MemberKind.GRAPH: "model.onnx",
    MemberKind.PLAN: "plans/rtx.plan",
    MemberKind.GOLDEN: "golden/000.npz",
    MemberKind.CALIBRATION: "calibration.json",
    MemberKind.EVALUATION: "evaluation.json",
}


@pytest.mark.parametrize("kind", MemberKind)
def test_every_kind_is_found_by_its_name_alone(kind):
    name = EXAMPLES[kind]
    assert [other for other in MemberKind if other.value.matches(name)] == [kind]
    assert kind_of(name) is kind


@pytest.mark.parametrize(
    "name",
    ["", "setup.py", "model.onnx2", "plans/", "plans/x", "golden/x.plan", ".npz", "a/golden/0.npz"],
)
def test_no_other_name_is_a_member(name):
    assert kind_of(name) is None
    assert rank_of(name) is None


def test_a_bundle_with_every_kind_holds_them_in_the_tables_order(tmp_path):
    entry = PlanEntry(
        member="plans/rtx.plan", compute_capabilities=("8.6",), version="1", max_batch=4
    )
    described = tiny_bundle.manifest(plans=(entry,))
    members = tiny_bundle.members(described) | {"plans/rtx.plan": b"plan"}
    path = tmp_path / "all.fasb"
    shuffled = dict(sorted(members.items(), reverse=True))
    write_bundle(path, described, shuffled)
    kinds = [kind_of(name) for name in open_bundle(path).member_sizes]
    assert list(dict.fromkeys(kinds)) == list(MemberKind)


def test_only_the_manifest_and_its_signature_have_no_digest(tmp_path):
    assert [k for k in MemberKind if not is_digested(EXAMPLES[k])] == [
        MemberKind.MANIFEST,
        MemberKind.SIGNATURE,
    ]
    described = tiny_bundle.manifest()
    for kind in (MemberKind.MANIFEST, MemberKind.SIGNATURE):
        members = tiny_bundle.members(described) | {EXAMPLES[kind]: b""}
        with pytest.raises(BundleError, match="is written by write_bundle"):
            write_bundle(tmp_path / "x.fasb", described, members)


def test_required_members_are_named_when_absent():
    assert missing_from({GRAPH}) == ["manifest.json"]
    assert missing_from(set(EXAMPLES.values())) == []


def test_the_bytes_of_a_bundle_do_not_depend_on_the_order_given(tmp_path, bundle_path):
    described = tiny_bundle.manifest()
    reversed_members = dict(reversed(tiny_bundle.members(described).items()))
    write_bundle(tmp_path / "again.fasb", described, reversed_members)
    assert (tmp_path / "again.fasb").read_bytes() == bundle_path.read_bytes()
    assert next(iter(read_archive(bundle_path.read_bytes(), "x"))) == "manifest.json"


def test_a_rule_with_a_folder_takes_names_in_it():
    rule = replace(MemberKind.PLAN.value, prefix="notes/", suffix=".txt")
    assert rule.matches("notes/a.txt")
    assert not rule.matches("notes/a.plan")
