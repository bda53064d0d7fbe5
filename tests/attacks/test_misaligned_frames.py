"""Frames and regions that the native pass must not trust: a caller, or a camera's buffer, gives
samples at odd addresses, or a region whose size overflows.

The tensor of a misaligned frame is that of a copy; a region that is none is refused.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.preprocess import Implementation, to_tensor
from fasdk.preprocess.native import native_module

from support import tiny_bundle

LEAST, MOST = -(2**31), 2**31 - 1
native = pytest.mark.skipif(native_module() is None, reason="the native pass is not built")


def misaligned(frame: np.ndarray) -> np.ndarray:
    buffer = np.zeros(frame.nbytes + 1, np.uint8)
    view = buffer[1:].view(frame.dtype).reshape(frame.shape)
    view[...] = frame
    assert not view.flags.aligned
    return view


@pytest.mark.parametrize("using", Implementation)
def test_depth_at_odd_addresses_gives_the_same_tensor(using: Implementation) -> None:
    if using is Implementation.NATIVE and native_module() is None:
        pytest.skip("the native pass is not built")
    spec = tiny_bundle.manifest().inputs[Modality.DEPTH]
    depth = np.random.default_rng(5).integers(200, 900, (40, 50)).astype(np.uint16)
    face = (5, 5, 30, 30)
    expected = to_tensor(depth, face, spec, using=using)
    assert np.array_equal(to_tensor(misaligned(depth), face, spec, using=using), expected)


REGIONS = [
    (MOST, 0, LEAST, 3),
    (0, MOST, 3, LEAST),
    (MOST, MOST, LEAST, LEAST),
    (LEAST, LEAST, MOST, MOST),
    (1, 0, LEAST, 3),
    (3, 0, 2, 3),
    (0, 0, MOST, MOST),
    (LEAST, 0, LEAST, 0),
]
# In a process of its own: what is not refused crashes it.
PROGRAM = """
import sys
import numpy as np
from fasdk.preprocess.native import native_module
region = tuple(map(int, sys.argv[1:]))
frame, out = np.zeros((8, 8, 3), np.uint8), np.zeros((3, 4, 4), np.float32)
for pad in (False, True):
    settings = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), swap=False, pad=pad)
    one = native_module().Pass(**settings)
    for call, given in ((one.image, frame), (one.composite, frame[..., 0])):
        try:
            call(given, region, out)
        except ValueError as error:
            print(error)
"""


@native
def test_a_region_that_is_none_is_refused() -> None:
    for region in REGIONS:
        words = [sys.executable, "-c", PROGRAM, *map(str, region)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        said = done.stdout.splitlines()
        assert done.returncode == 0, (region, done.stderr)
        assert len(said) == 4, (region, said)
        assert all("region" in line for line in said), (region, said)


@native
def test_the_native_pass_refuses_samples_at_odd_addresses() -> None:
    module = native_module()
    assert module is not None
    one = module.Pass(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), swap=False)
    depth = misaligned(np.zeros((8, 8), np.uint16))
    with pytest.raises(ValueError, match="aligned"):
        one.depth(depth, (0, 0, 7, 7), np.zeros(65536, np.uint8), np.zeros((3, 4, 4), np.float32))
