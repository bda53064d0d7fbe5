"""Bundle format page: a reader written from it alone agrees with fasdk's own."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.manifest import parse_manifest
from fasdk.bundle.members import SIGNATURE
from fasdk.bundle.signing import generate_key, open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import BundleError

from support import format_reader, tiny_bundle
from support.archive_attacks import canonical

PAGE = Path(__file__).parents[3] / "docs" / "design" / "bundle-format.md"
FLIPS = 1000


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, Path]:
    """Private key and public key of whoever signs."""
    folder = tmp_path_factory.mktemp("keys")
    generate_key(folder / "vendor.pem")
    return folder / "vendor.pem", folder / "vendor.pem.pub"


@pytest.fixture(scope="module")
def signed(tmp_path_factory, keys) -> bytes:
    """A small bundle, or the one that FASDK_BUNDLE names, signed by that key."""
    path = tmp_path_factory.mktemp("signed") / "signed.fasb"
    if given := os.environ.get("FASDK_BUNDLE"):
        bundle = open_bundle(Path(given), TrustPolicy.unsigned())
        members = {name: bytes(data) for name, data in bundle.members.items()}
        write_bundle(path, bundle.manifest, members, open_signer(keys[0]))
    else:
        tiny_bundle.write(path, keys[0])
    return path.read_bytes()


@pytest.fixture(scope="module")
def unsigned(signed) -> bytes:
    """The same bundle without its signature."""
    members = {name: bytes(data) for name, data in read_archive(signed, "signed").items()}
    return canonical({name: data for name, data in members.items() if name != SIGNATURE})


def test_reader_is_short_and_independent_of_fasdk():
    source = Path(format_reader.__file__).read_text("utf-8")
    assert len(source.splitlines()) <= 150
    assert not re.search(r"^\s*(from|import) fasdk", source, flags=re.MULTILINE)


def test_reader_sees_what_fasdk_sees(signed, keys, tmp_path):
    (tmp_path / "bundle.fasb").write_bytes(signed)
    own = open_bundle(tmp_path / "bundle.fasb", TrustPolicy.from_files(keys[1]))
    manifest, members = format_reader.open_bundle(signed)
    assert members["manifest.json"] == own.manifest.to_bytes()
    assert members["model.onnx"] == own.graph
    assert manifest["members"] == own.manifest.members
    assert sum(name.startswith("golden/") for name in members) == len(own.golden)


def test_signature_verifies_under_its_key_and_no_other(signed, keys, tmp_path):
    generate_key(tmp_path / "other.pem")
    vendor, other = keys[1].read_bytes(), (tmp_path / "other.pem.pub").read_bytes()
    format_reader.open_bundle(signed, [other, vendor])
    with pytest.raises(format_reader.RefusedError, match="not trusted"):
        format_reader.open_bundle(signed, [other])


def test_unsigned_bundle_is_not_trusted_where_a_key_is_asked_for(unsigned, keys):
    format_reader.open_bundle(unsigned)
    with pytest.raises(format_reader.RefusedError, match="not trusted"):
        format_reader.open_bundle(unsigned, [keys[1].read_bytes()])


ALIGNED = {"crop": "landmarks", "landmark_positions": [[1.0, 2.0], [9.0, 3.5], None, None, None]}
SETTINGS = [  # of the infrared input, and whether they are valid
    ({"crop_shape": "square", "crop": "face"}, True),
    ({"crop_bounds": "pad", "crop": "face", "border": "reflect"}, True),
    ({"crop_bounds": "clip", "crop": "face", "border": "reflect"}, False),
    ({"crop_bounds": "pad", "crop": "face", "border_level": 3}, True),
    ({"crop_bounds": "pad", "crop": "face", "border": "replicate", "border_level": 3}, False),
    ({"crop_bounds": "pad", "crop": "face", "ir_composite": "ir-hog-plgf"}, False),
    ({"crop_bounds": "pad"}, False),
    ({"crop_shape": "square"}, False),
    ({"fit": "letterbox", "border_level": 9, "interpolation": "area"}, True),
    ({"fit": "letterbox-floor", "border": "constant"}, False),
    ({"border_level": 9}, False),
    ({"border_level": 256, "fit": "letterbox"}, False),
    ({"interpolation": "bilinear"}, False),
    ({"interpolation": "lanczos"}, False),
    ({"unheard_of": True}, False),
    (ALIGNED, True),
    (ALIGNED | {"border": "reflect-101"}, True),
    (ALIGNED | {"border_level": 255}, True),
    (ALIGNED | {"crop_scale": 1.5}, False),
    (ALIGNED | {"fit": "letterbox"}, False),
    (ALIGNED | {"interpolation": "area"}, False),
    (ALIGNED | {"ir_composite": "ir-hog-plgf"}, False),
    (ALIGNED | {"landmark_positions": [[1.0, 2.0], [1.0, 2.0], None, None, None]}, False),
    (ALIGNED | {"landmark_positions": [[1.0, 2.0], [9.0, 3.5], None, None]}, False),
    (ALIGNED | {"landmark_positions": None}, False),
    ({"crop": "landmarks"}, False),
    ({"landmark_positions": ALIGNED["landmark_positions"]}, False),
]


@pytest.mark.parametrize(("settings", "valid"), SETTINGS)
def test_reader_takes_the_crops_that_fasdk_takes(settings, valid):
    described = tiny_bundle.manifest()
    document = json.loads(described.to_bytes())
    document["members"] = {"model.onnx": tiny_bundle.graph_sha256()}
    document["sizes"] = {"model.onnx": 775}
    document["inputs"]["ir"] |= settings
    form = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
    raw = json.dumps(document, **form).encode()

    def takes(read, *arguments) -> bool:
        try:
            read(*arguments)
        except (BundleError, format_reader.RefusedError):
            return False
        return True

    assert takes(parse_manifest, raw, "x.fasb") is valid
    assert takes(format_reader.parse_manifest, raw, tiny_bundle.graph_sha256()) is valid


def test_every_single_bit_flip_is_refused(signed, keys):
    trusted = [keys[1].read_bytes()]
    generator = np.random.default_rng(20261129)
    accepted = []
    for bit in map(int, generator.choice(8 * len(signed), FLIPS, replace=False)):
        altered = bytearray(signed)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            format_reader.open_bundle(bytes(altered), trusted)
        except format_reader.RefusedError:
            continue
        accepted.append(bit)
    assert accepted == []


def test_example_container_of_the_page_is_what_both_write():
    block = re.search(r"```text\n((?:[0-9a-f]{2}[ \n])+)```", PAGE.read_text("utf-8"))
    assert block is not None
    example = bytes.fromhex(block.group(1))
    assert format_reader.read_container(example) == {"a": b"hi", "b": b""}
    assert canonical({"a": b"hi", "b": b""}) == example
