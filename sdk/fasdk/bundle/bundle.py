"""Bundle files: a typed graph with preprocessing and thresholds, verified before use.

`open_bundle` reads the file once: the manifest and its signature, then what a manifest that holds
says there is. It checks container, digests and rules, and hands out those very bytes; nothing is
deserialized before that.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, open_bounded
from fasdk.bundle.archive import ArchiveReader, require_writable, write_archive
from fasdk.bundle.golden import GoldenCapture, require_small
from fasdk.bundle.graph import require_fits_manifest
from fasdk.bundle.manifest import (
    MAX_MANIFEST_BYTES,
    READ_VERSIONS,
    Manifest,
    PlanEntry,
    other_schema,
    parse_manifest,
    parse_object,
)
from fasdk.bundle.members import (
    GRAPH,
    MANIFEST,
    SIGNATURE,
    MemberKind,
    is_digested,
    kind_of,
    missing_from,
    rank_of,
)
from fasdk.bundle.signer import Signer
from fasdk.bundle.signing import open_signer, sign_manifest
from fasdk.bundle.trust import TrustPolicy, trust_mode
from fasdk.errors import BundleError, TamperedError, TrustError
from fasdk.settings import as_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_SIGNATURE_BYTES = 2**16


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: the manifest, and the very bytes whose digests were checked.

    Attributes:
        path: File it was read from.
        manifest: Verified manifest.
        id: SHA-256 of the manifest's bytes; it names graph, thresholds and preprocessing at once.
        size_bytes: Size of the file.
        signed_by: Id of the trusted key that signed it, or None where no signature was asked for.
        has_signature: Whether it carries a signature at all, checked or not.
    """

    path: Path
    manifest: Manifest
    id: str
    size_bytes: int
    signed_by: str | None
    has_signature: bool
    _members: dict[str, memoryview] = field(repr=False)

    @property
    def trust(self) -> str:
        """Trust mode it was opened in: "key" and the id of its signer, or "unsigned"."""
        return trust_mode(self.signed_by)

    @property
    def graph(self) -> memoryview:
        """The ONNX graph's bytes."""
        return self._members[GRAPH]

    @property
    def golden(self) -> list[GoldenCapture]:
        """The golden captures, decoded."""
        return [*self.iter_golden()]

    def iter_golden(self) -> Iterator[GoldenCapture]:
        """Yield the golden captures, each decoded when it is its turn.

        Raises:
            BundleError: One cannot be decoded.
        """
        for name, content in self._members.items():
            if kind_of(name) is MemberKind.GOLDEN:
                yield GoldenCapture.from_bytes(content, f"{self.path}:{name}")

    @property
    def member_sizes(self) -> dict[str, int]:
        """Size in bytes of every member, in file order."""
        return {name: len(content) for name, content in self._members.items()}

    @property
    def members(self) -> dict[str, memoryview]:
        """Every member's bytes by name, in file order, but the manifest and its signature."""
        return {k: v for k, v in self._members.items() if is_digested(k)}

    def plan(self, entry: PlanEntry) -> memoryview:
        """Return a prebuilt plan's bytes."""
        return self._members[entry.member]

    def document(self, name: str) -> dict[str, Any] | None:
        """Return calibration.json or evaluation.json as a dictionary, or None if absent.

        Raises:
            BundleError: The member is not a JSON object.
        """
        if name not in self._members:
            return None
        return parse_object(bytes(self._members[name]), f"{self.path}: {name}")


def open_bundle(path: Path, trust: TrustPolicy | None = None) -> Bundle:
    """Read and verify a bundle.

    Args:
        path: The `.fasb` file.
        trust: Policy of required signatures; None for `TrustPolicy.installed()`, the keys of this
            machine's trust store.

    Raises:
        BundleError: Missing, truncated, altered, or of another schema version.
        TrustError: A required signature is absent or does not hold, or the trust store cannot be
            read.
        HomeError: The account's folder is not its own.
        UsageError: `trust` is no policy, or `path` no path.
    """
    path = as_path("path", path)
    try:
        with open_bounded(path, FileKind.BUNDLE) as file:
            size = os.fstat(file.fileno()).st_size
            return _read(ArchiveReader(file, size, str(path)), path, trust)
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BundleError(f"cannot read bundle {path}: {why}") from error


def _read(reader: ArchiveReader, path: Path, trust: TrustPolicy | None) -> Bundle:
    """Read manifest and signature, and then as much as a manifest that holds says there is."""
    name = str(path)
    if reader.next_member() != MANIFEST:
        raise BundleError(f"{name} is not a fasdk bundle: its first member is not {MANIFEST}")
    members = {MANIFEST: _bounded(reader, MANIFEST, MAX_MANIFEST_BYTES, name)}
    if reader.next_member() == SIGNATURE:
        members[SIGNATURE] = _bounded(reader, SIGNATURE, _MAX_SIGNATURE_BYTES, name)
    raw_manifest = bytes(members[MANIFEST])
    signature = bytes(members[SIGNATURE]) if SIGNATURE in members else None
    signed_by = _check_signature(raw_manifest, signature, trust, name)
    manifest = parse_manifest(raw_manifest, name)
    last = MANIFEST
    while (member := reader.next_member()) is not None:
        if _rank(member, name) < _rank(last, name):
            raise BundleError(f"{name}: members are not in canonical order")
        last = member
        if member not in manifest.sizes:
            raise BundleError(f"{name}: members and manifest disagree about {member}")
        if reader.size_of(member) != manifest.sizes[member]:
            raise TamperedError(
                f"{name}: member {member} has {reader.size_of(member)} bytes, its manifest states "
                f"{manifest.sizes[member]}"
            )
        members[member] = reader.content(member)
    reader.finish()
    _check_members(manifest, members, name)
    return Bundle(
        path=path,
        manifest=manifest,
        id=hashlib.sha256(raw_manifest).hexdigest(),
        size_bytes=reader.size,
        signed_by=signed_by,
        has_signature=signature is not None,
        _members=members,
    )


def _bounded(reader: ArchiveReader, member: str, most: int, name: str) -> memoryview:
    if reader.size_of(member) > most:
        raise BundleError(
            f"{name}: {member} has {reader.size_of(member)} bytes, expected at most {most}"
        )
    return reader.content(member)


def write_bundle(
    path: Path, manifest: Manifest, members: dict[str, bytes], signer: Signer | None = None
) -> Manifest:
    """Write a bundle atomically and return its manifest with the members' digests filled in.

    Args:
        path: File to write; an older bundle there stays intact unless all goes well.
        manifest: Manifest without the digests of its members.
        members: Bytes by name of every member but the manifest and its signature; see `MemberKind`.
        signer: Key that signs it; None for the account's build key, which is made if absent.

    Raises:
        BundleError: The members and the manifest do not make a bundle `open_bundle` would read.
        FasdkError: The disk is full or the folder is not writable.
        TrustError: The key is unusable.
        HomeError: The account's folder cannot hold a build key.
    """
    for own in members:
        if not is_digested(own):
            raise BundleError(f"{path}: {own} is written by write_bundle, do not pass it")
    ordered = dict(sorted(members.items(), key=lambda item: _rank(item[0], str(path))))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in ordered.items()}
    sizes = {name: len(content) for name, content in ordered.items()}
    manifest = manifest.model_copy(update={"members": digests, "sizes": sizes})
    head = {MANIFEST: manifest.to_bytes()}
    head[SIGNATURE] = sign_manifest(head[MANIFEST], signer or open_signer(None))
    require_writable(head | ordered)
    # What is written must open: no later reader gets a bundle this writer would refuse.
    views = {member: memoryview(content) for member, content in (head | ordered).items()}
    _check_members(parse_manifest(head[MANIFEST], str(path)), views, str(path))
    with atomic_write(path) as file:
        write_archive(file, head | ordered)
    return manifest


def _check_signature(
    manifest: bytes, signature: bytes | None, trust: TrustPolicy | None, name: str
) -> str | None:
    policy = TrustPolicy.of(trust)
    try:
        return policy.check(manifest, signature, name)
    except TrustError:
        # Only to say why: nothing else is done with what a manifest that is not trusted states.
        stated = re.search(rb'"schema_version":(\d{1,9})[,}]', manifest)
        if stated is not None and int(stated[1]) not in READ_VERSIONS:
            raise other_schema(name, int(stated[1])) from None
        raise


def _rank(member: str, name: str) -> tuple[int, str]:
    rank = rank_of(member)
    if rank is None:
        raise BundleError(f"{name}: {member!r} is not a member a bundle can hold")
    return rank


def _check_members(manifest: Manifest, members: dict[str, memoryview], name: str) -> None:
    ranks = [_rank(member, name) for member in members]
    if ranks != sorted(ranks):
        raise BundleError(f"{name}: members are not in canonical order")
    content = {k: v for k, v in members.items() if is_digested(k)}
    absent = missing_from(set(members))
    if set(content) != set(manifest.members) or absent:
        odd = sorted(set(content) ^ set(manifest.members)) or absent
        raise BundleError(f"{name}: members and manifest disagree about {', '.join(odd)}")
    for member, view in content.items():
        if hashlib.sha256(view).hexdigest() != manifest.members[member]:
            raise TamperedError(f"{name}: member {member} does not match its digest")
    held = {member for member in content if kind_of(member) is MemberKind.PLAN}
    listed = [entry.member for entry in manifest.plans]
    if held != set(listed) or len(listed) != len(held):
        odd = sorted(held ^ set(listed)) or listed
        raise BundleError(f"{name}: plans and manifest disagree about {', '.join(odd)}")
    require_fits_manifest(members[GRAPH], manifest, name)
    golden = {k: v for k, v in content.items() if kind_of(k) is MemberKind.GOLDEN}
    require_small(golden, len(manifest.labels), name)
