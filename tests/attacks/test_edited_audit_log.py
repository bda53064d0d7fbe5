"""Edited audit logs: whoever changes, removes, moves or adds lines is named at the first of them.

Who can write the log of a door, and not the key of its chain, hopes to hide a decision: by editing
its line, by removing or moving lines, by lines of another log, by flipping bits, by removing whole
files, or by making the chain anew. Answer: the first line that is not as it was written is named,
with its file. What a file alone cannot show is shown by the head that was noted elsewhere: lines
cut from the end, and a chain without a key that was made anew.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from fasdk.audit import verify_audit_log
from fasdk.audit.key import AuditKey
from fasdk.audit.lines import FIRST_DIGEST, RawLine, encode
from fasdk.decision import Verdict
from fasdk.errors import AuditError

from support.audit_flips import flip_bits
from support.audit_logs import UNFLUSHED, WIDE, write_key, write_log

LINES = 10  # a header, a start, seven decisions, an end


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "door.audit"
    write_log(path, 7)
    return path


@pytest.fixture
def rewrite(path):
    """Change the log's lines, which keep their line feeds, and return what is named."""

    def change(edit):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(edit(lines)))
        return verify_audit_log(path).broken

    return change


def test_the_log_as_it_was_written_verifies(path):
    report = verify_audit_log(path)
    assert (report.is_whole, report.lines) == (True, LINES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"live"', b'"spoof"'),
        (b'"retry"', b'"live"'),
        (b"0.98", b"0.48"),
        (b'"threshold":', b'"threshold": '),
        (b'"lobby"', b'"attic"'),
        (b'"seq":', b'"seq":1'),
    ],
)
def test_an_edited_line_is_named(path, rewrite, old, new):
    whole = path.read_bytes()
    holding = [number for number, line in enumerate(whole.splitlines(), 1) if old in line]
    assert len(holding) >= 3
    for number in holding:
        path.write_bytes(whole)

        def edit(lines, number=number):
            lines[number - 1] = lines[number - 1].replace(old, new)
            return lines

        assert rewrite(edit).line == number


@pytest.mark.parametrize("line", range(1, LINES))
def test_a_removed_line_is_named_at_the_one_after_it(rewrite, line):
    broken = rewrite(lambda lines: lines[: line - 1] + lines[line:])
    assert broken.line == line
    assert "removed" in broken.message


@pytest.mark.parametrize("line", range(1, LINES))
def test_lines_that_changed_places_are_named(rewrite, line):
    def swap(lines):
        lines[line - 1], lines[line] = lines[line], lines[line - 1]
        return lines

    assert rewrite(swap).line == line


@pytest.mark.parametrize("line", range(1, LINES + 1))
def test_a_repeated_line_is_named(rewrite, line):
    broken = rewrite(lambda lines: lines[:line] + lines[line - 1 :])
    assert broken.line == line + 1


@pytest.mark.parametrize("line", range(1, LINES + 1))
def test_a_line_of_another_log_is_named(path, rewrite, line):
    other = path.with_name("other.audit")
    write_log(other, 7)
    foreign = other.read_bytes().splitlines(keepends=True)[line - 1]
    broken = rewrite(lambda lines: [*lines[: line - 1], foreign, *lines[line:]])
    # A whole header of another log is as good as this one's: the line after it does not follow.
    assert broken.line == (2 if line == 1 else line)


@pytest.mark.parametrize("line", range(1, LINES + 2))
@pytest.mark.parametrize(
    "junk", [b"\n", b"{}\n", b'{"seq":3}\n', b"\0" * 40 + b"\n", b"x" * 99_999]
)
def test_junk_between_lines_is_named(rewrite, line, junk):
    broken = rewrite(lambda lines: [*lines[: line - 1], junk, *lines[line - 1 :]])
    assert broken.line == line


@pytest.mark.parametrize("line", range(2, LINES + 1))
def test_junk_before_a_line_is_named(rewrite, line):
    broken = rewrite(lambda lines: [*lines[: line - 1], b"junk", *lines[line - 1 :]])
    assert broken.line == line


def test_every_flipped_bit_is_named_where_it_is(tmp_path):
    path = tmp_path / "small.audit"
    write_log(path, 1)
    found = flip_bits(path, range(0, 8 * path.stat().st_size, 3))
    assert (found.accepted, found.elsewhere) == (0, [])
    assert found.flips > 2_000


@pytest.mark.slow
@pytest.mark.parametrize("is_keyed", [False, True])
def test_every_bit_of_a_small_log_and_random_ones_of_a_large(tmp_path, is_keyed):
    key = write_key(tmp_path / "audit.key") if is_keyed else None
    small, large = tmp_path / "small.audit", tmp_path / "large.audit"
    write_log(small, 2, key=key)
    write_log(large, 1000, key=key)
    rng = random.Random(7)  # noqa: S311 - which bits
    sampled = [rng.randrange(8 * large.stat().st_size) for _ in range(300)]
    for path, bits in ((small, range(8 * small.stat().st_size)), (large, sampled)):
        found = flip_bits(path, bits, key)
        assert (found.accepted, found.elsewhere) == (0, [])


@pytest.fixture
def rotated(tmp_path):
    """A log of several files."""
    path = tmp_path / "many.audit"
    write_log(path, 250, replace(UNFLUSHED, max_bytes=1 << 16), decision=WIDE)
    assert len(verify_audit_log(path).files) > 3
    return path


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_removed_file_is_named(rotated, number):
    files = verify_audit_log(rotated).files
    files[number - 1].unlink()
    broken = verify_audit_log(rotated).broken
    assert (broken.file, broken.line) == (files[number], 1)
    assert f"{files[number - 1].name} before it is absent" in broken.message


def test_files_that_changed_places_are_named(rotated):
    first, second, *_ = verify_audit_log(rotated).files
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)
    assert verify_audit_log(rotated).broken.file == second


def test_a_file_cut_short_is_named_in_the_one_after_it(rotated):
    first, second, *_ = verify_audit_log(rotated).files
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join(lines[:-1]))
    broken = verify_audit_log(rotated).broken
    assert (broken.file, broken.line) == (second, 1)
    first.write_bytes(b"".join(lines)[:-9])
    assert verify_audit_log(rotated).broken.file == first
    first.write_bytes(b"")
    broken = verify_audit_log(rotated).broken
    assert (broken.file, broken.line) == (first, 1)


def test_lines_cut_from_the_end_are_shown_by_a_noted_head_alone(path):
    head = verify_audit_log(path).head
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    report = verify_audit_log(path)
    assert report.is_whole and not report.is_ended
    broken = verify_audit_log(path, head=head).broken
    assert "cut from the end" in broken.message
    earlier = RawLine.of(lines[4].rstrip(b"\n")).digest
    assert verify_audit_log(path, head=earlier).noted == (path, 5)


def made_anew(path, edit, key=None):
    """Edit a log as one who knows the form: every hash after the edit is made to fit."""
    previous, made = FIRST_DIGEST, b""
    for text in path.read_bytes().splitlines():
        line = edit(RawLine.of(text).parse())
        encoded, previous = encode(line, previous, key)
        made += encoded
    path.write_bytes(made)


def as_spoof(line):
    return line.model_copy(update={"verdict": Verdict.SPOOF}) if line.kind == "decision" else line


def test_a_chain_made_anew_is_shown_by_a_noted_head(path):
    head = verify_audit_log(path).head
    made_anew(path, as_spoof)
    assert verify_audit_log(path).is_whole  # which docs/guide/security.md says
    assert not verify_audit_log(path, head=head).is_whole


def test_a_chain_made_anew_without_its_key_is_named(tmp_path):
    key = write_key(tmp_path / "audit.key")
    path = tmp_path / "keyed.audit"
    write_log(path, 3, key=key)
    whole = path.read_bytes()
    identity = AuditKey.from_file(key).id
    made_anew(path, as_spoof)
    assert verify_audit_log(path, key=key).broken.line == 1
    with pytest.raises(AuditError, match="is chained with key"):
        verify_audit_log(path)
    path.write_bytes(whole)
    made_anew(path, lambda line: line.model_copy(update={"key": ""} if line.kind == "file" else {}))
    assert verify_audit_log(path).is_whole
    broken = verify_audit_log(path, key=key).broken
    assert f"the chain has no key, not the given {identity}" in broken.message
    path.write_bytes(whole)
    other = write_key(tmp_path / "other.key", b"o" * 32)
    made_anew(path, as_spoof, AuditKey.from_file(other))
    assert verify_audit_log(path, key=key).broken.line == 1


@pytest.mark.parametrize(
    ("kind", "field", "value", "said"),
    [
        ("decision", "seq", 4, "its number is"),
        ("decision", "score", "high", "score"),
        ("start", "torn", {"bytes": 3, "sha256": "0" * 64}, "that it tells of are not there"),
        ("file", "file", 2, "which file 2 cannot begin with"),
        ("end", "kind", "fin", "no line of an audit log"),
    ],
)
def test_a_chain_that_fits_with_content_that_does_not_is_named(path, kind, field, value, said):
    previous, made = FIRST_DIGEST, b""
    from fasdk.audit.key import chain_digest

    for text in path.read_bytes().splitlines():
        raw = RawLine.of(text)
        line = json.loads(raw.body + b"}")
        if line["kind"] == kind:
            line[field] = value
        body = json.dumps(line, separators=(",", ":")).encode()[:-1]
        previous = chain_digest(previous, body, None)
        made += b'%b,"hash":"%b"}\n' % (body, previous.encode())
    path.write_bytes(made)
    assert said in verify_audit_log(path).broken.message
