"""Every bit of a signed bundle inverted, with the archive's checksums as they are and repaired.

Whoever can write the file changes one bit of it and, so that the container stays sound, repairs the
CRC-32 of the member it is in. Every such file is refused; of the payload nothing is parsed but the
verified manifest itself.
"""

from __future__ import annotations

import struct
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

QUICK = 400
LOCAL, CENTRAL = 30, 46  # bytes of the headers before a member's name
LARGEST = 64 * 1024


@dataclass(frozen=True)
class Member:
    """Place of a member's content, and of the two copies of its CRC-32."""

    start: int
    stop: int
    crcs: tuple[int, int]


@dataclass(frozen=True)
class Target:
    """A signed bundle, where its members are, and the policy that trusts its signer."""

    path: Path
    data: bytes
    members: list[Member]
    policy: TrustPolicy


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flips")
    public, _ = generate_key(folder / "vendor.pem")
    described = tiny_bundle.manifest()
    members = tiny_bundle.members(described)
    fewest = {name: members[name] for name in (GRAPH, "golden/0.npz", "evaluation.json")}
    signer = open_signer(folder / "vendor.pem")
    write_bundle(folder / "signed.fasb", described, fewest, signer)
    data = (folder / "signed.fasb").read_bytes()
    contents = read_archive(data, "signed")
    places, local = [], 0
    central = sum(LOCAL + len(name) + len(content) for name, content in contents.items())
    for name, content in contents.items():
        start = local + LOCAL + len(name)
        places.append(Member(start, start + len(content), (local + 14, central + 16)))
        local, central = start + len(content), central + CENTRAL + len(name)
    assert len(data) <= LARGEST
    return Target(folder / "flipped.fasb", data, places, TrustPolicy.from_files(public))


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
        data = bytearray(target.data)
        data[bit // 8] ^= 1 << bit % 8
        if repair:
            member = next(m for m in target.members if m.start <= bit // 8 < m.stop)
            crc = struct.pack("<I", zlib.crc32(data[member.start : member.stop]))
            for at in member.crcs:
                data[at : at + 4] = crc
        target.path.write_bytes(data)
        try:
            open_bundle(target.path, target.policy)
        except BundleError:
            continue
        found.append(bit)
    return found


def content_bits(target):
    return [bit for m in target.members for bit in range(8 * m.start, 8 * m.stop)]


def some(bits):
    return sorted(map(int, np.random.default_rng(20261129).choice(bits, QUICK, replace=False)))


def test_the_bundle_opens_as_it_is_and_with_its_own_checksums_written_again(target):
    target.path.write_bytes(target.data)
    assert open_bundle(target.path, target.policy).signed_by
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
def test_every_truncation_and_tail_is_refused(target):
    pieces = [target.data[:size] for size in range(len(target.data))]
    pieces += [target.data + bytes([byte]) * count for byte in (0, 80, 255) for count in (1, 22)]
    for piece in pieces:
        target.path.write_bytes(piece)
        with pytest.raises(BundleError):
            open_bundle(target.path, target.policy)
