"""Every bit of a signed bundle inverted, with the archive's checksums as they are and repaired.

Whoever can write the file changes one bit of it and, so that the container stays sound, repairs the
CRC-32 of the member it is in. Every such file is refused; of the payload nothing is parsed but the
verified manifest itself.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fasdk.bundle import bundle as bundle_module
from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import parse_manifest
from fasdk.bundle.members import GRAPH, MANIFEST
from fasdk.bundle.signing import generate_key, open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import BundleError

from support import tiny_bundle
from support.flips import PatchedFile, Place, flip, places_of, repaired
from support.scratch import memory_folder

QUICK = 400
LARGEST = 64 * 1024


@dataclass(frozen=True)
class Target:
    """A signed bundle, where its members are, and the policy that trusts its signer."""

    file: PatchedFile
    data: bytes
    members: list[Place]
    policy: TrustPolicy


@pytest.fixture(scope="module")
def memory():
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def target(tmp_path_factory, memory):
    folder = tmp_path_factory.mktemp("flips")
    public, _ = generate_key(folder / "vendor.pem")
    described = tiny_bundle.manifest()
    members = tiny_bundle.members(described)
    fewest = {name: members[name] for name in (GRAPH, "golden/0.npz", "evaluation.json")}
    signer = open_signer(folder / "vendor.pem")
    write_bundle(folder / "signed.fasb", described, fewest, signer)
    data = (folder / "signed.fasb").read_bytes()
    assert len(data) <= LARGEST
    file = PatchedFile(memory / "flipped.fasb", data)
    return Target(file, data, [*places_of(data).values()], TrustPolicy.from_files(public))


@pytest.fixture(autouse=True)
def _nothing_is_parsed(target, monkeypatch):
    """Fails the test where anything is parsed that is not the very manifest that was signed."""
    manifest = bytes(read_archive(target.data, "signed")[MANIFEST])
    parsed = parse_manifest(manifest, "signed")

    def only_the_manifest(raw, name):
        assert raw == manifest
        return parsed

    def never(*_):
        pytest.fail("a payload that nobody verified was parsed")

    monkeypatch.setattr(bundle_module, "parse_manifest", only_the_manifest)
    monkeypatch.setattr(bundle_module, "parse_object", never)
    monkeypatch.setattr(GoldenCapture, "from_bytes", never)


def accepted(target, bits, *, repair):
    """Return those bits whose inversion is accepted."""
    found = []
    for bit in bits:
        patch = flip(target.data, bit)
        if repair:
            member = next(m for m in target.members if m.start <= bit // 8 < m.stop)
            patch = repaired(target.data, member, patch)
        try:
            with target.file.changed(patch) as path:
                open_bundle(path, target.policy)
        except BundleError:
            continue
        found.append(bit)
    return found


def content_bits(target):
    return [bit for m in target.members for bit in range(8 * m.start, 8 * m.stop)]


def some(bits):
    return sorted(map(int, np.random.default_rng(20261129).choice(bits, QUICK, replace=False)))


def test_the_bundle_opens_as_it_is_and_with_its_own_checksums_written_again(target):
    assert open_bundle(target.file.path, target.policy).signed_by
    for member in target.members:
        crc = struct.pack("<I", zlib.crc32(target.data[member.start : member.stop]))
        for at in member.crcs:
            assert target.data[at : at + 4] == crc


def test_no_inverted_bit_is_accepted(target):
    assert accepted(target, some(8 * len(target.data)), repair=False) == []


def test_no_inverted_bit_is_accepted_where_the_checksum_is_repaired(target):
    assert accepted(target, some(content_bits(target)), repair=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("repair", [False, True])
def test_no_bit_of_all_is_accepted(target, repair):
    bits = content_bits(target) if repair else range(8 * len(target.data))
    assert accepted(target, bits, repair=repair) == []


@pytest.mark.slow
def test_every_truncation_and_tail_is_refused(target, tmp_path):
    path = tmp_path / "piece.fasb"
    pieces = [target.data[:size] for size in range(len(target.data))]
    pieces += [target.data + bytes([byte]) * count for byte in (0, 80, 255) for count in (1, 22)]
    for piece in pieces:
        path.write_bytes(piece)
        with pytest.raises(BundleError):
            open_bundle(path, target.policy)
