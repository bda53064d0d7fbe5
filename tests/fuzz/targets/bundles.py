"""Targets of the bundle: archive, manifest, golden captures, keys."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np

from fuzz.bytes_mutation import mutate_bytes
from fuzz.json_mutation import changed_document, mutate_json
from fuzz.scratch import scratch_folder
from fuzz.target import Target, mixed, on_file, rewriter
from fuzz.zip_files import write_zip, zip_members


def _archive() -> Callable[[bytes], None]:
    from fasdk.bundle.archive import read_archive, write_archive

    def run(data: bytes) -> None:
        members = read_archive(data, "input")
        again = io.BytesIO()
        write_archive(again, {name: bytes(content) for name, content in members.items()})
        if again.getvalue() != data:
            raise AssertionError("an archive was accepted that is not canonical")

    return run


def _archive_seeds() -> list[bytes]:
    from support.archive_attacks import ATTACKS, canonical

    built = [attack.build() for attack in ATTACKS.values()]
    return [canonical(), *(data for data in built if len(data) < 4096)]


def repaired(data: bytes, rng: random.Random) -> bytes:
    """Return an archive with a member changed, and checksums and offsets that fit again."""
    from fasdk.bundle.archive import write_archive

    members = dict(_members_of(data))
    if not members:
        return mutate_bytes(data, rng)
    name = rng.choice(list(members))
    members[name] = mutate_bytes(members[name], rng)
    out = io.BytesIO()
    write_archive(out, members)
    written = out.getvalue()
    return mutate_bytes(written, rng) if rng.random() < 0.2 else written


def _manifest() -> Callable[[bytes], None]:
    from fasdk.bundle.manifest import parse_manifest

    return lambda data: (parse_manifest(data, "input"), None)[1]


def _manifest_seeds() -> list[bytes]:
    from support import tiny_bundle

    return [tiny_bundle.manifest().to_bytes()]


def mutate_manifest(data: bytes, rng: random.Random) -> bytes:
    """Return a changed manifest in the canonical form, which the parser asks for."""
    try:
        return _canonical(changed_document(json.loads(data), rng))
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)


def _canonical(document: object) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _bundle() -> Callable[[bytes], None]:
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.calibration import read_calibration
    from fasdk.bundle.members import EVALUATION
    from fasdk.bundle.trust import TrustPolicy

    write = rewriter(scratch_folder() / "input.fasb")

    def run(data: bytes) -> None:
        path = write(data)
        bundle = open_bundle(path, TrustPolicy.unsigned())
        read_calibration(bundle)
        bundle.document(EVALUATION)
        list(bundle.golden)

    return run


@cache
def _tiny() -> bytes:
    """Return a bundle of few members, each of which some mutation should reach."""
    from fasdk.bundle.bundle import write_bundle

    from support import tiny_bundle

    path, described = scratch_folder() / "seed.fasb", tiny_bundle.manifest()
    members = tiny_bundle.members(described)
    left_out = {"golden/1.npz", "golden/2.npz"}
    write_bundle(path, described, {k: v for k, v in members.items() if k not in left_out})
    return path.read_bytes()


@lru_cache(maxsize=256)
def _members_of(data: bytes) -> dict[str, bytes]:
    """Return the members of an archive by name, none where it is damaged."""
    from fasdk.bundle.archive import read_archive
    from fasdk.errors import BundleError

    try:
        return {k: bytes(v) for k, v in read_archive(data, "input").items()}
    except BundleError:
        return {}


@lru_cache(maxsize=256)
def _manifest_of(data: bytes) -> Any:
    try:
        return json.loads(_members_of(data)["manifest.json"])
    except (ValueError, KeyError, RecursionError):
        return None


def with_digests(data: bytes, rng: random.Random) -> bytes:
    """Return a bundle with a member changed, and digests, sizes, checksums and offsets that fit."""
    from fasdk.bundle.archive import write_archive

    members, manifest = dict(_members_of(data)), _manifest_of(data)
    if manifest is None:
        return mutate_bytes(data, rng)
    members.pop("manifest.sig", None)
    name = rng.choice(list(members))
    graph = members.get("model.onnx", b"")
    if name == "manifest.json":
        manifest = changed_document(manifest, rng)
    elif name.endswith(".json"):
        members[name] = mutate_json(members[name], rng)
    elif name.endswith(".npz"):
        members[name] = mutate_npz(members[name], rng)
    else:
        members[name] = mutate_bytes(members[name], rng)
    if isinstance(manifest, dict):
        stated = {k: v for k, v in members.items() if k != "manifest.json"}
        manifest = manifest | {
            "members": {k: hashlib.sha256(v).hexdigest() for k, v in stated.items()},
            "sizes": {k: len(v) for k, v in stated.items()},
        }
    members["manifest.json"] = _canonical(manifest)
    if name == "model.onnx":  # operating points name the graph that they were chosen on
        before, now = (hashlib.sha256(each).hexdigest() for each in (graph, members[name]))
        members["manifest.json"] = members["manifest.json"].replace(before.encode(), now.encode())
    out = io.BytesIO()
    write_archive(out, members)
    return out.getvalue()


def _golden() -> Callable[[bytes], None]:
    from fasdk.bundle.golden import GoldenCapture

    return lambda data: (GoldenCapture.from_bytes(data, "input"), None)[1]


def _golden_seeds() -> list[bytes]:
    from fasdk.bundle.golden import GoldenCapture

    from support import tiny_bundle

    logits = np.zeros(2, np.float32)
    captures = [tiny_bundle.capture(face=(4, 3, 20, 15)), tiny_bundle.capture()]
    return [GoldenCapture(each, logits).to_bytes() for each in captures]


def mutate_npz(data: bytes, rng: random.Random) -> bytes:
    """Return an npz archive with an array's header, type, shape or name changed."""
    members = dict(zip_members(data))
    if not members:
        return mutate_bytes(data, rng)
    name = rng.choice(list(members))
    match rng.randrange(6):
        case 0:
            members[rng.choice(("face.npy", "logits.npy", "x.npy", "rgb", "../x.npy"))] = members[
                name
            ]
        case 1:
            del members[name]
        case 2:
            members[name] = _header_changed(members[name], rng)
        case 3:
            members[name] = _array_bytes(rng)
        case _:
            members[name] = mutate_bytes(members[name], rng)
    return write_zip(members, deflated=rng.random() < 0.5)


_HEADER_WORDS = (b"<u2", b"|u1", b"<f4", b"|O", b"<U9", b"<M8", b"True", b"False", b"(24, 32)")
_HEADER_WORDS += (b"(24, 32, 3)", b"(2,)", b"()", b"(-1,)", b"(0,)", b"(99999999999,)", b"[]")


def _header_changed(data: bytes, rng: random.Random) -> bytes:
    present = [word for word in _HEADER_WORDS if word in data[:128]]
    if not present:
        return mutate_bytes(data, rng)
    return data.replace(rng.choice(present), rng.choice(_HEADER_WORDS), 1)


def _array_bytes(rng: random.Random) -> bytes:
    kind = rng.choice(("u1", "u2", "f4", "f8", "i8", "b1", "c8", "U3", "S4"))
    shape = tuple(rng.choice((0, 1, 2, 3, 4, 24, 32)) for _ in range(rng.randrange(4)))
    file = io.BytesIO()
    np.save(file, np.zeros(shape, kind))
    return file.getvalue()


def _key() -> Callable[[bytes], None]:
    from fasdk.bundle.trust import TrustPolicy

    return on_file(TrustPolicy.from_files, ".pub")


def _key_seeds() -> list[bytes]:
    from fasdk.bundle.signing import generate_key

    folder = scratch_folder()
    if not (folder / "seed").exists():
        generate_key(folder / "seed")
    return [(folder / "seed.pub").read_bytes(), (folder / "seed").read_bytes()]


TARGETS = (
    Target("archive", _archive, _archive_seeds),
    Target("archive-repaired", _archive, _archive_seeds, repaired),
    Target("manifest", _manifest, _manifest_seeds, mixed(mutate_manifest, mutate_json)),
    Target("bundle", _bundle, lambda: [_tiny()], mutate_bytes),
    Target("bundle-repaired", _bundle, lambda: [_tiny()], with_digests),
    Target("golden", _golden, _golden_seeds, mixed(mutate_npz, mutate_bytes)),
    Target("public-key", _key, _key_seeds),
)
