"""Opening of bundles: any changed byte is refused with its reason."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fasdk.bundle import bundle as bundle_module
from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.manifest import PlanEntry, Precision
from fasdk.bundle.members import GRAPH, MANIFEST, SIGNATURE
from fasdk.bundle.signing import build_signer, generate_key
from fasdk.bundle.trust import TrustPolicy
from fasdk.capture import FaceBox, Modality
from fasdk.errors import BundleError, FasdkError, TrustError
from fasdk.preprocess import PreprocessSpec

from support import tiny_bundle
from support.altered_bundle import plan_entry, refuse, with_manifest


def test_a_bundle_opens_with_what_was_written(bundle, bundle_path, bundle_members):
    manifest = bundle.manifest
    assert manifest.model_copy(update={"members": {}, "sizes": {}}) == tiny_bundle.manifest()
    assert bundle.id == hashlib.sha256(bundle_members[MANIFEST]).hexdigest()
    assert bundle.size_bytes == bundle_path.stat().st_size
    assert bytes(bundle.graph) == tiny_bundle.graph_bytes()
    assert (bundle.has_signature, bundle.signed_by) == (True, build_signer().key_id)
    assert list(bundle.member_sizes) == [
        MANIFEST,
        SIGNATURE,
        GRAPH,
        "golden/0.npz",
        "golden/1.npz",
        "golden/2.npz",
        "calibration.json",
        "evaluation.json",
    ]
    assert bundle.member_sizes == {k: len(v) for k, v in bundle_members.items()}
    assert bundle.document("evaluation.json") == {"captures": 3}
    assert bundle.document("absent.json") is None


def test_writing_twice_gives_the_same_bytes(bundle_path, tmp_path):
    again = tiny_bundle.write(tmp_path / "again.fasb")
    assert zipfile.is_zipfile(again)
    assert again.read_bytes() == bundle_path.read_bytes()


def test_golden_captures_come_back_to_the_bit(bundle):
    first, second, third = bundle.golden
    assert np.array_equal(first.capture.rgb, tiny_bundle.capture(200).rgb)
    assert second.capture.face == FaceBox(4, 3, 20, 15)
    assert third.capture.present == (Modality.RGB,)
    assert first.logits.dtype == np.float32


@pytest.mark.parametrize("member", [GRAPH, "golden/0.npz", "calibration.json", "evaluation.json"])
def test_any_altered_member_is_named(tmp_path, bundle_members, member):
    content = bundle_members[member]
    altered = content[:-1] + bytes([content[-1] ^ 1])
    refuse(tmp_path, bundle_members | {member: altered}, member, "digest")


def test_a_missing_or_extra_member_is_named(tmp_path, bundle_members):
    for member in (GRAPH, "golden/1.npz"):
        fewer = {k: v for k, v in bundle_members.items() if k != member}
        refuse(tmp_path, fewer, "members and manifest disagree", member)
    more = dict(list(bundle_members.items())[:6]) | {"golden/9.npz": b""}
    more |= {k: v for k, v in bundle_members.items() if k not in more}
    refuse(tmp_path, more, "disagree", "golden/9.npz")


def test_a_graph_is_needed_even_if_the_manifest_does_without(tmp_path, bundle_members):
    def forget(document):
        del document["members"][GRAPH], document["sizes"][GRAPH]

    members = with_manifest(bundle_members, forget)
    refuse(tmp_path, {k: v for k, v in members.items() if k != GRAPH}, GRAPH)


def test_member_order_and_names_are_fixed(tmp_path, bundle_members):
    items = list(bundle_members.items())
    refuse(tmp_path, dict([*items[1:], items[0]]), "first member is not manifest.json")
    refuse(tmp_path, dict([items[0], *items[2:], items[1]]), "not in canonical order")
    refuse(tmp_path, bundle_members | {"setup.py": b""}, "'setup.py'", "not a member")


def test_the_members_are_handed_out_without_what_write_bundle_writes(bundle, bundle_members):
    assert {k: bytes(v) for k, v in bundle.members.items()} == {
        k: v for k, v in bundle_members.items() if k not in (MANIFEST, SIGNATURE)
    }


def test_a_plan_is_handed_out_as_it_was_verified(tmp_path):
    entry = PlanEntry(**plan_entry("plans/sm86.plan"))
    described = tiny_bundle.manifest(plans=(entry,))
    path = tmp_path / "plan.fasb"
    write_bundle(path, described, tiny_bundle.members(described) | {entry.member: b"plan"})
    opened = open_bundle(path)
    assert bytes(opened.plan(opened.manifest.plans[0])) == b"plan"


def test_a_plan_nobody_lists_is_refused(tmp_path):
    described = tiny_bundle.manifest()
    members = tiny_bundle.members(described) | {"plans/sm86.plan": b"plan"}
    with pytest.raises(BundleError, match=r"disagree about plans/sm86\.plan"):
        write_bundle(tmp_path / "plan.fasb", described, members)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({GRAPH: None}, GRAPH),
        ({MANIFEST: b"{}"}, "manifest.json is written by write_bundle"),
        ({SIGNATURE: bytes(64)}, "manifest.sig is written by write_bundle"),
        ({"setup.py": b""}, "'setup.py' is not a member"),
        ({"golden/../x.npz": b""}, "not canonical"),
    ],
)
def test_bundle_that_would_not_open_is_not_written(tmp_path, changes, words):
    path = tmp_path / "old.fasb"
    path.write_bytes(b"old")
    described = tiny_bundle.manifest()
    members = {k: v for k, v in (tiny_bundle.members(described) | changes).items() if v is not None}
    with pytest.raises(BundleError, match=words):
        write_bundle(path, described, members)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_config_without_a_json_form_is_not_written(tmp_path):
    model = tiny_bundle.manifest().model.model_copy(update={"config": {"scale": float("nan")}})
    described = tiny_bundle.manifest(model=model)
    with pytest.raises(BundleError, match="no canonical JSON form"):
        write_bundle(tmp_path / "x.fasb", described, tiny_bundle.members(described))


@pytest.fixture
def signed(tmp_path):
    private = tmp_path / "vendor.pem"
    public, key_id = generate_key(private)
    path = tiny_bundle.write(tmp_path / "signed.fasb", sign_key=private)
    members = {k: bytes(v) for k, v in read_archive(path.read_bytes(), "signed").items()}
    return path, TrustPolicy.from_files(public), key_id, members


def test_a_signed_bundle_names_its_key(signed):
    path, trust, key_id, _ = signed
    opened = open_bundle(path, trust)
    assert (opened.trust, opened.signed_by) == (f"key {key_id}", key_id)
    unasked = open_bundle(path, TrustPolicy.unsigned())
    assert (unasked.trust, unasked.signed_by, unasked.has_signature) == ("unsigned", None, True)


def test_a_signature_that_does_not_hold_is_refused(signed, tmp_path, bundle_path):
    path, trust, _, members = signed
    with pytest.raises(TrustError, match="fits none"):
        open_bundle(bundle_path, trust)
    stripped = {name: content for name, content in members.items() if name != SIGNATURE}
    refuse(tmp_path, stripped, "is not signed", trust=trust)
    refuse(tmp_path, members | {SIGNATURE: bytes(64)}, "fits none", trust=trust)
    refuse(tmp_path, members | {SIGNATURE: b""}, "fits none", trust=trust)

    def lower(document):
        document["operating_points"][0]["threshold"] = 0.0

    assert isinstance(
        refuse(tmp_path, with_manifest(members, lower), "fits none", trust=trust), TrustError
    )
    altered = members | {GRAPH: members[GRAPH][:-1] + b"\0"}
    refuse(tmp_path, altered, GRAPH, "digest", trust=trust)
    other, _ = generate_key(tmp_path / "other.pem")
    with pytest.raises(TrustError, match="fits none"):
        open_bundle(path, TrustPolicy.from_files(other))


def test_trust_is_asked_before_the_manifest_is_parsed(signed, tmp_path, monkeypatch):
    _, trust, _, members = signed

    def never(*_):
        raise AssertionError("an unverified manifest was parsed")

    monkeypatch.setattr(bundle_module, "parse_manifest", never)
    refuse(tmp_path, members | {MANIFEST: members[MANIFEST] + b" "}, "fits none", trust=trust)


def test_a_bundle_of_a_letterbox_reads_back(tmp_path):
    inputs = tiny_bundle.manifest().inputs
    padded = PreprocessSpec.model_validate(
        inputs[Modality.RGB].model_dump()
        | {"fit": "letterbox", "border": "reflect-101", "interpolation": "area"}
    )
    described = tiny_bundle.manifest(inputs=inputs | {Modality.RGB: padded})
    path = tmp_path / "x.fasb"
    write_bundle(path, described, tiny_bundle.members(described))
    assert open_bundle(path).manifest.inputs[Modality.RGB] == padded


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_a_document_that_is_no_object_is_refused(tmp_path, content):
    described = tiny_bundle.manifest()
    path = tmp_path / "x.fasb"
    write_bundle(path, described, tiny_bundle.members(described) | {"evaluation.json": content})
    with pytest.raises(BundleError, match=r"x\.fasb: evaluation\.json"):
        open_bundle(path).document("evaluation.json")


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    fifo = tmp_path / "pipe.fasb"
    os.mkfifo(fifo)
    keep_open = os.open(fifo, os.O_RDWR)
    try:
        with pytest.raises(BundleError, match=r"pipe\.fasb: it is a FIFO"):
            open_bundle(fifo)
    finally:
        os.close(keep_open)
    with pytest.raises(BundleError, match=r"absent\.fasb: No such file"):
        open_bundle(tmp_path / "absent.fasb")
    with pytest.raises(BundleError, match="it is a directory"):
        open_bundle(tmp_path)
    with pytest.raises(BundleError, match="null"):
        open_bundle("a\0b")
    sparse = tmp_path / "huge.fasb"
    with sparse.open("wb") as file:
        file.truncate(2**32)
    with pytest.raises(BundleError, match="at most 4294967295"):
        open_bundle(sparse)


def test_every_truncation_at_a_sample_of_lengths_is_refused(tmp_path, bundle_path):
    data = bundle_path.read_bytes()
    path = tmp_path / "short.fasb"
    for length in [*range(0, len(data), 257), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(BundleError, match=r"short\.fasb"):
            open_bundle(path)


def test_a_bundle_that_is_cut_before_its_signature_is_truncated_not_unsigned(tmp_path, bundle_path):
    data = bundle_path.read_bytes()
    signature = data.index(b"manifest.sig")
    path = tmp_path / "short.fasb"
    for length in range(signature - 32, signature + 12):
        path.write_bytes(data[:length])
        with pytest.raises(BundleError, match="truncated") as refused:
            open_bundle(path, TrustPolicy())
        assert not isinstance(refused.value, TrustError)


def test_every_byte_counts(tmp_path, bundle_path):
    """No flipped bit anywhere leaves a bundle that opens (a sample: test_archive tries all)."""
    data = bytearray(bundle_path.read_bytes())
    path = tmp_path / "flipped.fasb"
    for position in range(0, len(data), 97):
        data[position] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(BundleError):
            open_bundle(path)
        data[position] ^= 0x10


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from support import tiny_bundle
from fasdk.errors import FasdkError
described = tiny_bundle.manifest()
members = tiny_bundle.members(described)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
try:
    tiny_bundle.write_bundle(Path(sys.argv[1]), described, members)
except FasdkError as error:
    print(error)
    raise SystemExit(2)
"""


def test_a_full_disk_leaves_the_old_bundle(tmp_path):
    path = tiny_bundle.write(tmp_path / "old.fasb")
    old = path.read_bytes()
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path, Path(tiny_bundle.__file__).parents[1]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert f"cannot write {path}" in ran.stdout
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_bundle_or_the_new_one(tmp_path):
    path = tiny_bundle.write(tmp_path / "live.fasb", revision=1)
    described = {n: tiny_bundle.manifest(revision=n) for n in (1, 2)}
    members = tiny_bundle.members(described[1])
    done = threading.Event()
    seen: set[int] = set()
    failures: list[FasdkError] = []

    def read():
        while not done.is_set():
            try:
                seen.add(open_bundle(path).manifest.revision)
            except FasdkError as error:  # noqa: PERF203 - the test needs them all
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(30):
            write_bundle(path, described[1 + turn % 2], members)
    finally:
        done.set()
        reader.join()
    assert not failures
    assert seen <= {1, 2}
    assert seen


def test_precision_names_are_the_command_lines():
    assert [p.value for p in Precision] == ["fp32", "fp16", "int8", "int8-fp32"]
