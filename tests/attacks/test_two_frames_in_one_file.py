"""A file that holds two frames for one name, or a header that says less than it seems to.

Each reader takes another of the two: what a person looked at is not what is judged. A shape of
truth values passes for one of numbers. Answer: such a file is refused, by an error that names it.
"""

from __future__ import annotations

import io
import warnings
import zipfile

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import CaptureError
from fasdk.frames import read_frame
from fasdk.numpy_file import load_npz


def npy(level: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full((8, 8, 3), level, np.uint8))
    return file.getvalue()


def npz(*names: str) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile's own, of names that come twice
        for level, name in enumerate(names):
            archive.writestr(name, npy(level))
    return file.getvalue()


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("rgb.npy", "rgb.npy"), "member 'rgb.npy' comes twice"),
        (("rgb.npy", "rgb.npy\0x"), "member 'rgb.npy' comes twice"),
        (("rgb.npy", "x.txt", "x.txt"), "member 'x.txt' comes twice"),
        (("rgb.npy", "RGB.npy"), "several of them is called rgb"),
    ],
)
def test_two_frames_of_one_name_are_refused(tmp_path, names, why):
    path = tmp_path / "frame.npz"
    path.write_bytes(npz(*names))
    with pytest.raises(CaptureError, match=why) as refused:
        read_frame(path, Modality.RGB)
    assert str(path) in str(refused.value)


def test_arrays_of_one_name_are_refused():
    with pytest.raises(ValueError, match="comes twice"):
        load_npz(npz("score.npy", "score.npy"), 1 << 20)


@pytest.mark.parametrize("shape", [b"(True, 8, 3)", b"(8, False, 3)"])
def test_a_shape_of_truth_values_is_refused(tmp_path, shape):
    path = tmp_path / "frame.npy"
    path.write_bytes(npy(1).replace(b"(8, 8, 3), }" + b" " * (len(shape) - 9), shape + b", }"))
    with pytest.raises(CaptureError, match="states the shape"):
        read_frame(path, Modality.RGB)
