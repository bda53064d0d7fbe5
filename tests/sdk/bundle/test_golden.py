"""Golden captures: read back to the bit, and refused where they are none."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from fasdk.bundle.golden import GoldenCapture
from fasdk.capture import Capture
from fasdk.errors import BundleError


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


class PlantedCode:
    """Unpickling this ends the process's patience: it makes a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


IR = np.zeros((4, 4), np.uint8)


LOGITS = np.float32([1, 2])


def lying_npy() -> bytes:
    """Return an npz whose only array claims 2**60 bytes."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1073741824, 1073741824), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "ir.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        )
        archive.writestr("logits.npy", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"\x93NUMPY",
        npz(ir=IR, logits=LOGITS)[:-9],
        npz(ir=IR, logits=LOGITS).replace(b"logits", b"digits"),
        npz(ir=IR),
        npz(logits=LOGITS),
        npz(ir=IR, logits=LOGITS.astype(np.float64)),
        npz(ir=IR, logits=LOGITS[None]),
        npz(ir=IR, logits=LOGITS, face=np.float32([0, 0, np.nan, 2])),
        npz(ir=IR, logits=LOGITS, face=np.int32([0, 0, 5, 5])),
        npz(ir=IR, logits=LOGITS, face=np.int32(3)),
        npz(ir=IR.astype(np.float32), logits=LOGITS),
        npz(ir=IR, logits=LOGITS, notes=IR),
        lying_npy(),
    ],
)
def test_a_golden_capture_that_is_none_is_refused(data):
    with pytest.raises(BundleError, match=r"golden/0\.npz: not a golden capture"):
        GoldenCapture.from_bytes(data, "golden/0.npz")


def test_a_golden_capture_is_never_unpickled(tmp_path):
    trap = tmp_path / "code-ran"
    code = pickle.dumps(PlantedCode(str(trap)))
    for data in (code, npz(ir=np.array([PlantedCode(str(trap))], object), logits=LOGITS)):
        with pytest.raises(BundleError, match="not a golden capture"):
            GoldenCapture.from_bytes(data, "golden/0.npz")
    assert not trap.exists()
    single = io.BytesIO()
    np.save(single, IR)
    with pytest.raises(BundleError, match="not a golden capture"):
        GoldenCapture.from_bytes(single.getvalue(), "golden/0.npz")


def test_a_golden_capture_round_trips_without_a_face():
    item = GoldenCapture(Capture(ir=IR), LOGITS)
    again = GoldenCapture.from_bytes(item.to_bytes(), "x")
    assert again.capture.face is None
    assert np.array_equal(again.capture.ir, IR)
    assert np.array_equal(again.logits, LOGITS)


def test_a_golden_capture_keeps_its_landmarks_and_holds_none_otherwise():
    points = np.float32([(1, 1), (3, 1), (2, 2), (1, 3), (3.5, 3)])
    item = GoldenCapture(Capture(ir=IR, landmarks=points), LOGITS)
    again = GoldenCapture.from_bytes(item.to_bytes(), "x")
    assert again.capture.landmarks.dtype == np.float32
    assert np.array_equal(again.capture.landmarks, points)
    assert b"landmarks" not in GoldenCapture(Capture(ir=IR), LOGITS).to_bytes()
    for wrong in (points.astype(np.float64), points[:4]):
        file = io.BytesIO()
        np.savez(file, ir=IR, logits=LOGITS, landmarks=wrong)
        with pytest.raises(BundleError, match="not a golden capture"):
            GoldenCapture.from_bytes(file.getvalue(), "golden/0.npz")
