"""Bundle format page against the code: numbers, examples and members."""

from __future__ import annotations

import io
import json
import re
import struct
from pathlib import Path

import pytest

from fasdk.bundle.archive import MAX_BYTES, read_archive, write_archive
from fasdk.bundle.manifest import SCHEMA_VERSION, Manifest
from fasdk.errors import BundleError

PAGE = (Path(__file__).parents[2] / "docs" / "design" / "bundle-format.md").read_text("utf-8")
EXAMPLE = {"a": b"hi", "b": b""}


def section(title):
    return re.split(r"\n#+ ", PAGE.split(f"# {title}\n", 1)[1], maxsplit=1)[0]


def archive(members):
    file = io.BytesIO()
    write_archive(file, members)
    return file.getvalue()


def fields(title):
    """Return a structure's fields as the page lists them: offset, size, name, value."""
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| ([^|]+) \| ([^|]+) \|$", section(title), flags=re.MULTILINE
    )
    return [(int(offset), int(size), name, value) for offset, size, name, value in rows]


def constant(value):
    """Return the bytes of a field whose value the page gives as a number, else None."""
    if found := re.match(r"(?:0x[0-9A-F]+|\d+)\b", value):
        return int(found[0], 0)
    if re.match(r"[0-9A-F]{2}( [0-9A-F]{2}){3}$", value.strip("`")):
        return int.from_bytes(bytes.fromhex(value.strip("`")), "little")
    return None


def test_the_example_archive_is_what_is_written():
    block = re.findall(r"```text\n([0-9a-f \n]+)```", PAGE)[0]
    data = bytes.fromhex(block)
    assert data == archive(EXAMPLE)
    assert {name: bytes(view) for name, view in read_archive(data, "x").items()} == EXAMPLE


@pytest.mark.parametrize(
    ("title", "length", "start"),
    [
        ("Local file header (30 bytes)", 30, 0),
        ("Central directory entry (46 bytes)", 46, 64),
        ("End of central directory record (22 bytes)", 22, 158),
    ],
)
def test_a_structures_fields_are_whole_and_as_written(title, length, start):
    listed = fields(title)
    assert [offset for offset, *_ in listed] == [
        sum(size for _, size, *_ in listed[:index]) for index in range(len(listed))
    ]
    assert sum(size for _, size, *_ in listed) == length
    written = archive(EXAMPLE)[start : start + length]
    checked = 0
    for offset, size, name, value in listed:
        expected = constant(value)
        if expected is not None:
            assert int.from_bytes(written[offset : offset + size], "little") == expected, name
            checked += 1
    assert checked >= 4
    assert struct.unpack_from("<I", written)[0] == constant(listed[0][3])


def test_the_limits_are_the_codes():
    limits = section("Limits")
    assert f"{MAX_BYTES:,}" in limits
    (pattern,) = re.findall(r"```text\n\s*(\S+)\n", limits)
    for name in ("a", "a/b", "a" * 100, "plans/0.plan", "1.x_y-z"):
        assert re.fullmatch(pattern, name)
        archive({name: b""})
    for name in ("", "A", "a/b/c", "/a", "a/", "a" * 101, "-a", "a/../b", "a\\b", "ä"):
        assert not re.fullmatch(pattern, name)
        with pytest.raises(BundleError):
            archive({name: b""})
    most = int(re.findall(r"1 to ([\d,]+) members", limits)[0].replace(",", ""))
    archive({f"m{number}": b"" for number in range(most)})
    with pytest.raises(BundleError):
        archive({f"m{number}": b"" for number in range(most + 1)})


def test_the_example_manifest_is_one_and_its_form_is_canonical():
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    example = json.loads(block)
    manifest = Manifest.model_validate(example)
    canonical = json.dumps(
        example, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    assert manifest.to_bytes() == canonical.encode()
    assert set(example) == set(Manifest.model_fields)
    assert list(example) == sorted(example)


def test_the_page_is_of_the_version_the_code_reads():
    assert f"**schema version {SCHEMA_VERSION}**" in PAGE
    assert f"`schema_version` is the integer {SCHEMA_VERSION}." in PAGE


@pytest.mark.parametrize(
    "shown", ["0.0001", "0.5", "1.0", "1234567890123456.0", "1e-05", "1.5e+16"]
)
def test_numbers_are_written_as_the_page_shows(shown):
    assert f"`{shown}`" in section("Canonical form")
    assert json.dumps(float(shown)) == shown
