"""Targets of what a machine keeps: its trust store, revocations, revisions, attempts, audit log."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fuzz.bytes_mutation import mutate_bytes, word_mutator
from fuzz.json_mutation import mutate_json
from fuzz.scratch import scratch_folder
from fuzz.target import Target, mixed, rewriter

_SIGNER = "5" * 16
_NOW_MS = 5_000_000.0
_STORE_WORDS = (b"Expires:", b" 2030-12-31", b"2026-02-30", b"-----BEGIN PUBLIC KEY-----", b"\n")
_STORE_WORDS += (b"-----END PUBLIC KEY-----", b"-----BEGIN PRIVATE KEY-----", b"A", b"=", b"\r")
_STORE_WORDS += (b"Proc-Type: 4,ENCRYPTED", b":", b"MCowBQYDK2VwAyEA", b"\x0b", b"\0")
_LINES = (b"0" * 64, b"f" * 64, b"\n", b"\r\n", b"\x1c", b"\xc2\x85", b" ", b"#", b"\0", b"0" * 63)


def _home() -> Path:
    """Return the folder of fasdk of this process, which is a folder for this alone."""
    from fasdk.home import HOME_VARIABLE

    os.environ[HOME_VARIABLE] = str(scratch_folder() / "home")
    return scratch_folder() / "home"


def _store(file: str) -> Callable[[], Callable[[bytes], None]]:
    """Return a maker of parsers of the trust store, with the input as one of its files."""

    def prepare() -> Callable[[bytes], None]:
        from fasdk.bundle.trust_store import read_store
        from fasdk.home import home_folder

        _home()
        folder = home_folder("trust")
        (folder / "sound.pub").write_bytes(_public_key())
        (folder / "sound.pub").chmod(0o600)
        write = rewriter(folder / file)

        def run(data: bytes) -> None:
            write(data)
            for stored in read_store().keys:
                stored.key.is_expired()

        return run

    return prepare


def _public_key() -> bytes:
    from fasdk.bundle.signing import generate_key

    path = scratch_folder() / "state-seed"
    if not path.exists():
        generate_key(path)
    return path.with_name("state-seed.pub").read_bytes()


def _stored_keys() -> list[bytes]:
    return [_public_key(), b"Expires: 2031-01-02\n" + _public_key()]


def _revocations() -> list[bytes]:
    some = [hashlib.sha256(bytes([number])).hexdigest().encode() + b"\n" for number in range(3)]
    return [b"", some[0], b"".join(some)]


def _mutate_lines(data: bytes, rng: random.Random) -> bytes:
    """Return a list with a line repeated, moved, left out or added."""
    lines = data.splitlines(keepends=True)
    line = rng.choice([*lines, rng.randbytes(32).hex().encode() + b"\n"])
    if line in lines and rng.random() < 0.5:
        lines.remove(line)
    else:
        lines.insert(rng.randint(0, len(lines)), line)
    return b"".join(lines)


def _revisions() -> Callable[[bytes], None]:
    """Return a parser of a state of revisions, which a bundle is then held against."""
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.revisions import RevisionState, StateFile
    from fasdk.bundle.trust import TrustPolicy

    from support import tiny_bundle

    path = tiny_bundle.write(scratch_folder() / "taken.fasb")
    bundle = replace(open_bundle(path, TrustPolicy.unsigned()), signed_by=_SIGNER)
    write = rewriter(scratch_folder() / "revisions.json")
    file = StateFile(scratch_folder() / "revisions.json", (os.geteuid(),))
    state = RevisionState(lambda _: file)

    def run(data: bytes) -> None:
        write(data)
        state.check(bundle, [_SIGNER])

    return run


def _revision_files() -> list[bytes]:
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.revisions import Revisions
    from fasdk.bundle.succession import BundleIdentity
    from fasdk.bundle.trust import TrustPolicy

    from support import tiny_bundle

    path = tiny_bundle.write(scratch_folder() / "taken.fasb")
    taken = BundleIdentity.of(open_bundle(path, TrustPolicy.unsigned()))
    known = Revisions().with_bundle(taken, _SIGNER, [])
    return [known.model_dump_json().encode(), Revisions().model_dump_json().encode()]


def _attempts() -> Callable[[bytes], None]:
    """Return a parser of a camera's attempts, from which it is told whether it may be tried."""
    from fasdk.tracking.attempt_files import read_record
    from fasdk.tracking.attempts import AttemptAccount, MemoryStore, refusal_of
    from fasdk.tracking.policy import AttemptPolicy, LockOutPolicy

    write = rewriter(scratch_folder() / "camera.attempts")
    lock_out = LockOutPolicy()

    def run(data: bytes) -> None:
        record = read_record(write(data))
        for state in (record.state, record.state.shifted(_NOW_MS - record.written_ms)):
            store = MemoryStore()
            store.update(lambda _, state=state: state, _NOW_MS)
            account = AttemptAccount(AttemptPolicy(), lock_out, store)
            refusal_of(account.standing(_NOW_MS), record.camera_id)
            account.begin(_NOW_MS, _NOW_MS)
            account.spoof(_NOW_MS, same_face=False)
            account.end_failed(_NOW_MS, _NOW_MS, is_charged=True)
            # What is written must be read again.
            type(record).model_validate_json(
                record.model_copy(update={"state": store.read(_NOW_MS)}).model_dump_json()
            )

    return run


def _attempt_files() -> list[bytes]:
    from fasdk.tracking.attempt_files import AttemptRecord
    from fasdk.tracking.attempts import AttemptState

    states = (
        AttemptState(failed=3, last_ms=4_999_000.0, spoofs_ms=(4_990_000.0, 4_999_000.0)),
        AttemptState(locked_until_ms=float("inf")),
        AttemptState(),
    )
    records = (
        AttemptRecord(camera_id="door", boot_id="b", written_ms=4_999_500.0, state=state)
        for state in states
    )
    return [_with_digest(record.model_dump_json().encode()) for record in records]


def _with_digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def mutate_attempts(data: bytes, rng: random.Random) -> bytes:
    """Return a file of attempts whose content was changed and whose digest is mostly right."""
    if rng.random() < 0.1:
        return mutate_bytes(data, rng)
    return _with_digest(mutate_json(data.partition(b"\n")[2], rng))


def _audit() -> Callable[[bytes], None]:
    """Return a parser of an audit log, which is verified and then gone on with."""
    from fasdk.audit import AuditFlush, AuditLog, AuditPolicy, verify_audit_log

    folder = scratch_folder() / "audit"
    folder.mkdir(exist_ok=True)
    path = folder / "door.audit"

    def run(data: bytes) -> None:
        path.write_bytes(data)  # an empty one is replaced, so it is opened each time
        was_whole = verify_audit_log(path).is_whole
        AuditLog(path, AuditPolicy(flush=AuditFlush.SYSTEM)).close()
        if was_whole and not verify_audit_log(path).is_whole:
            raise AssertionError("a whole log was gone on with, and is broken now")

    return run


def _audit_files() -> list[bytes]:
    from support.audit_logs import write_log

    path = scratch_folder() / "seed.audit"
    path.unlink(missing_ok=True)
    write_log(path, 2)
    once = path.read_bytes()
    path.write_bytes(once[:-30])
    write_log(path, 1)
    return [once, once[:-30], path.read_bytes()]


def mutate_audit(data: bytes, rng: random.Random) -> bytes:
    """Return an audit log with a line changed, whose hashes are mostly made to fit."""
    from fasdk.audit.key import chain_digest
    from fasdk.audit.lines import FIRST_DIGEST, RawLine

    lines = data.splitlines(keepends=True)
    if not lines or rng.random() < 0.3:
        return rng.choice((mutate_bytes, _mutate_lines))(data, rng)
    changed, made, previous = rng.randrange(len(lines)), b"", FIRST_DIGEST
    for number, text in enumerate(lines):
        raw = RawLine.of(text.rstrip(b"\n"))
        if raw is None:
            made += text
            continue
        body = raw.body
        if number == changed:
            body = mutate_json(body + b"}", rng).replace(b"\n", b" ")[:-1]
        previous = chain_digest(previous, body, None)
        made += raw.torn + b'%b,"hash":"%b"}\n' % (body, previous.encode())
    return made


TARGETS = (
    Target("trust-store", _store("other.pub"), _stored_keys, word_mutator(_STORE_WORDS)),
    Target(
        "revocations", _store("revoked"), _revocations, mixed(_mutate_lines, word_mutator(_LINES))
    ),
    Target("revisions", _revisions, _revision_files, mixed(mutate_json, mutate_bytes)),
    Target("attempts", _attempts, _attempt_files, mutate_attempts),
    Target("audit", _audit, _audit_files, mutate_audit),
)
