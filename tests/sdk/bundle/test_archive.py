"""Archive format: canonical bytes accepted, all others refused."""

from __future__ import annotations

import io
import subprocess
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk.bundle import archive
from fasdk.bundle.archive import read_archive, write_archive
from fasdk.errors import BundleError

from support.archive_attacks import ATTACKS, MEMBERS, canonical, raw_member


def read(data: bytes) -> dict[str, bytes]:
    return {name: bytes(content) for name, content in read_archive(data, "x.fasb").items()}


def test_archive_members_are_read_back_in_order():
    assert list(read(canonical()).items()) == list(MEMBERS.items())


def test_any_zip_reader_opens_it(tmp_path):
    path = tmp_path / "x.fasb"
    path.write_bytes(canonical())
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == MEMBERS
        assert {info.external_attr >> 16 for info in opened.infolist()} == {0o100644}
    listed = subprocess.run(
        ["python3", "-m", "zipfile", "-t", path], capture_output=True, text=True, check=True
    )
    assert "Done testing" in listed.stdout


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_by_name(name):
    attack = ATTACKS[name]
    with pytest.raises(BundleError) as refusal:
        read_archive(attack.build(), "lobby.fasb")
    assert "lobby.fasb" in str(refusal.value)
    assert attack.refusal in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_every_single_bit_flip_is_refused():
    data = canonical()
    for position in range(len(data)):
        for bit in range(8):
            altered = bytearray(data)
            altered[position] ^= 1 << bit
            with pytest.raises(BundleError):
                read_archive(bytes(altered), "x.fasb")


def test_every_truncation_is_refused():
    data = canonical()
    for length in range(len(data)):
        with pytest.raises(BundleError):
            read_archive(data[:length], "x.fasb")


def test_every_deleted_or_doubled_byte_is_refused():
    data = canonical()
    for position in range(len(data)):
        for altered in (
            data[:position] + data[position + 1 :],
            data[:position] + data[position : position + 1] + data[position:],
        ):
            if altered != data:
                with pytest.raises(BundleError):
                    read_archive(altered, "x.fasb")


def test_too_many_members_are_refused_before_a_16_bit_count_overflows():
    flood = b"".join(raw_member(f"m{i}".encode(), b"") for i in range(5000))
    with pytest.raises(BundleError, match="more than 4096 members"):
        read_archive(flood, "x.fasb")


def test_a_file_past_4_gib_is_refused_unread(monkeypatch):
    data = canonical()
    monkeypatch.setattr(archive, "MAX_BYTES", 100)
    with pytest.raises(BundleError, match="at most 100"):
        read_archive(data, "x.fasb")


@pytest.mark.parametrize(
    ("members", "refusal"),
    [
        ({}, "0 members"),
        ({f"m{i}": b"" for i in range(4097)}, "4097 members"),
        ({"../evil": b""}, "'../evil'"),
        ({"Manifest.json": b""}, "not canonical"),
        ({"a" * 101: b""}, "not canonical"),
    ],
)
def test_archive_that_could_not_be_read_is_not_written(members, refusal):
    file = io.BytesIO()
    with pytest.raises(BundleError, match=refusal):
        write_archive(file, members)
    assert file.getvalue() == b""


def test_an_archive_past_4_gib_is_not_written(monkeypatch):
    limit = len(canonical())
    monkeypatch.setattr(archive, "MAX_BYTES", limit)
    assert read(canonical()) == MEMBERS
    monkeypatch.setattr(archive, "MAX_BYTES", limit - 1)
    with pytest.raises(BundleError, match=r"golden/0\.npz takes the bundle past 4 GiB"):
        canonical()


NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}(/[a-z0-9][a-z0-9._-]{0,9})?", fullmatch=True)


@settings(max_examples=80)
@given(st.dictionaries(NAMES, st.binary(max_size=64), min_size=1, max_size=6))
def test_any_canonical_members_survive_the_round_trip(members):
    assert list(read(canonical(members)).items()) == list(members.items())


@settings(max_examples=150)
@given(st.binary(max_size=300), st.integers(0, 250), st.integers(0, 60))
def test_whatever_is_spliced_in_ends_in_a_refusal_or_in_the_one_canonical_form(
    noise, position, removed
):
    data = canonical()
    spliced = data[:position] + noise + data[position + removed :]
    try:
        members = read(spliced)
    except BundleError:
        return
    assert canonical(members) == spliced
