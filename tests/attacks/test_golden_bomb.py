"""A golden capture that is small as a file and takes all memory when it is read.

The attacker has a bundle signed, or opened without a signature, whose golden captures inflate to
gigabytes: a bomb of zeros, headers that lie about types or extents, a directory of millions of
names. Answer: the bundle is not opened; sizes are read from the headers before anything is
inflated.
"""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.golden import MAX_CAPTURE_BYTES, MAX_GOLDEN, GoldenCapture, require_small
from fasdk.errors import BundleError

from support import hostile_bundle, tiny_bundle

LOGITS = np.zeros(2, np.float32)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0))
    return file.getvalue()


def header(descr: str, shape: str, order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1")


def npz(method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def zeros(count: int) -> bytes:
    """An npz whose frame claims and holds so many zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("logits.npy", npy(LOGITS))
        with archive.open("ir.npy", "w", force_zip64=True) as member:
            member.write(header("'|u1'", f"({count >> 20}, 1048576)"))
            for _ in range(count >> 20):
                member.write(bytes(1 << 20))
    return file.getvalue()


def lying(data: bytes, name: bytes, size: int) -> bytes:
    """An npz whose directory gives a member another size."""
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(name))
    return data[: place + 24] + struct.pack("<I", size) + data[place + 28 :]


FRAME = npy(np.zeros((4, 4), np.uint8))
GOOD = npz(ir=FRAME, logits=npy(LOGITS))
BOMBS = {
    "zeros": zeros(64 << 20),
    "a size the directory hides": lying(zeros(64 << 20), b"ir.npy", 4096),
    "a size of 4 GiB": lying(GOOD, b"ir.npy", 0xFFFFFFF0),
    "extents beyond the bytes": npz(ir=header("'|u1'", "(65536, 65536)"), logits=npy(LOGITS)),
    "extents beyond 64 bits": npz(ir=header("'|u1'", "(2**70, 4)"), logits=npy(LOGITS)),
    "a product that wraps": npz(ir=header("'|u1'", "(4294967296, 4294967296)"), logits=npy(LOGITS)),
    "negative extents": npz(ir=header("'|u1'", "(-4, -4)") + bytes(16), logits=npy(LOGITS)),
    "an extent of 0": npz(ir=header("'|u1'", "(0, 4)"), logits=npy(LOGITS)),
    "objects": npz(ir=header("'|O'", "(4, 4)") + bytes(128), logits=npy(LOGITS)),
    "pickled objects": npz(ir=b"", logits=b"\x80\x04N."),
    "records": npz(ir=header("[('a', '|u1')]", "(4, 4)") + bytes(16), logits=npy(LOGITS)),
    "another type": npz(ir=npy(np.zeros((4, 4))), logits=npy(LOGITS)),
    "another rank": npz(ir=npy(np.zeros((4, 4, 3), np.uint8)), logits=npy(LOGITS)),
    "Fortran order": npz(ir=npy(np.zeros((4, 5), np.uint8).T), logits=npy(LOGITS)),
    "a header of code": npz(ir=header("__import__('os')", "(4, 4)"), logits=npy(LOGITS)),
    "a header nested deep": npz(ir=header("(" * 110, "(4, 4)"), logits=npy(LOGITS)),
    "a header without an end": npz(ir=b"\x93NUMPY\x01\x00\xff\xff{", logits=npy(LOGITS)),
    "version 2": npz(ir=b"\x93NUMPY\x02\x00" + bytes(200), logits=npy(LOGITS)),
    "no magic": npz(ir=bytes(200), logits=npy(LOGITS)),
    "logits of a million": npz(ir=FRAME, logits=npy(np.zeros(10**6, np.float32))),
    "logits of other labels": npz(ir=FRAME, logits=npy(np.zeros(3, np.float32))),
    "no frame": npz(logits=npy(LOGITS)),
    "no logits": npz(ir=FRAME),
    "another array": npz(ir=FRAME, logits=npy(LOGITS), extra=npy(LOGITS)),
    "LZMA, whose window is memory": npz(zipfile.ZIP_LZMA, ir=FRAME, logits=npy(LOGITS)),
    "bzip2": npz(zipfile.ZIP_BZIP2, ir=FRAME, logits=npy(LOGITS)),
    "no zip": b"PK\x03\x04" + bytes(40),
    "empty": b"",
    "a comment": GOOD[:-2] + b"\x05\x00hello",
    "a directory of 1 MiB": GOOD[:-10] + struct.pack("<I", 1 << 20) + GOOD[-6:],
    "a zip64 directory": GOOD[:-22] + b"PK\x06\x07" + bytes(16) + GOOD[-22:],
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_is_inflated(bomb):
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=r"x\.fasb: golden/0\.npz: "):
            require_small({"golden/0.npz": bomb}, 2, "x.fasb")
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_such_a_bundle_does_not_open(tmp_path):
    path = hostile_bundle.write(tmp_path / "a.fasb", {"golden/0.npz": BOMBS["zeros"]})
    with pytest.raises(BundleError, match=f"expected at most {MAX_CAPTURE_BYTES}"):
        open_bundle(path)


def test_what_is_read_is_what_the_header_says():
    """A member whose bytes go on after its header's array is refused when it is decoded."""
    longer = npz(ir=FRAME + bytes(100), logits=npy(LOGITS))
    hidden = lying(longer, b"ir.npy", len(FRAME))
    with pytest.raises(BundleError, match="not a golden capture"):
        GoldenCapture.from_bytes(hidden, "golden/0.npz")


def test_many_captures_are_bounded_in_number_and_together():
    good = {f"golden/{n:03d}.npz": GOOD for n in range(MAX_GOLDEN)}
    require_small(good, 2, "x.fasb")
    with pytest.raises(BundleError, match=f"{MAX_GOLDEN + 1} golden captures, expected at most"):
        require_small(good | {"golden/more.npz": GOOD}, 2, "x.fasb")
    large = zeros(40 << 20)
    with pytest.raises(BundleError, match=r"its golden captures hold \d+ bytes"):
        require_small({f"golden/{n}.npz": large for n in range(7)}, 2, "x.fasb")


def test_sound_captures_are_read_as_they_were_written():
    written = GoldenCapture(tiny_bundle.capture(200, face=(4, 3, 20, 15)), LOGITS)
    found = GoldenCapture.from_bytes(written.to_bytes(), "golden/0.npz")
    assert found.capture.face == written.capture.face
    np.testing.assert_array_equal(found.capture.rgb, written.capture.rgb)
    assert found.capture.depth.flags.writeable
