"""Noise of frames: independent where they were exposed, the same in copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fasdk.capture import Capture, Modality
from fasdk.reasons import Reason
from fasdk.tracking.repeat_watch import RepeatWatch, cells_of

RNG = np.random.default_rng(5)
HEIGHT, WIDTH = 120, 160
SCENE = np.clip(
    120.0
    + 60.0 * np.sin(np.linspace(0.0, 5.0, WIDTH))[None]
    + 30.0 * np.cos(np.linspace(0.0, 4.0, HEIGHT))[:, None],
    20.0,
    235.0,
)


def exposed(deviation=2.5, gain=1.0, size=1):
    """Return a picture of the same scene with noise of its own."""
    scene = np.kron(SCENE, np.ones((size, size)))
    return np.clip(np.rint(gain * scene + RNG.normal(0, deviation, scene.shape)), 0, 255).astype(
        np.uint8
    )


def found(frames, watch=None, every_ms=100.0, first_ms=0.0):
    """Return the numbers of the frames that are found."""
    watch = watch or RepeatWatch(10_000.0)
    at = [first_ms + every_ms * n for n in range(len(frames))]
    findings = [watch.take_in(Capture(ir=f), t) for f, t in zip(frames, at, strict=True)]
    for finding in findings:
        assert finding is None or finding.reason is Reason.REPLAYED
    return [n for n, finding in enumerate(findings) if finding is not None]


def test_frames_of_a_still_scene_are_no_copies():
    assert found([exposed() for _ in range(300)]) == []


@pytest.mark.parametrize("gain", [0.97, 1.03])
def test_light_that_changes_makes_no_copies(gain):
    assert found([exposed(gain=gain ** (n % 7)) for n in range(60)]) == []


def test_a_copy_with_new_noise_is_found_and_not_remembered():
    frames = [exposed() for _ in range(20)]
    noisy = [np.clip(frames[9] + RNG.normal(0, 1.0, SCENE.shape), 0, 255).astype(np.uint8)]
    watch = RepeatWatch(10_000.0)
    assert found([*frames, *noisy * 3, *[exposed() for _ in range(5)]], watch) == [20, 21, 22]
    assert watch._count == 20 - 2 + 5


def test_a_copy_of_the_newest_frame_is_found_too():
    frames = [exposed() for _ in range(12)]
    copies = [np.clip(frames[-1] + RNG.normal(0, 1.0, SCENE.shape), 0, 255).astype(np.uint8)]
    assert found([*frames, *copies]) == [12]


def test_a_copy_of_another_size_is_found():
    frames = [exposed() for _ in range(12)]
    large = np.kron(frames[8], np.ones((2, 2), np.uint8))
    assert found([*frames, large]) == [12]


def test_a_copy_is_found_within_the_window_alone():
    frames, watch = [exposed() for _ in range(12)], RepeatWatch(3_000.0)
    assert found([*frames, frames[8]], watch) == [12]
    others = [exposed() for _ in range(6)]
    assert found([*others, frames[2]], watch, every_ms=700.0, first_ms=2_000.0) == []


def test_a_frame_that_is_repeated_stays_remembered():
    frames, watch = [exposed() for _ in range(12)], RepeatWatch(1_000.0)
    copies = [frames[8] for _ in range(40)]
    assert found([*frames, *copies], watch) == list(range(12, 52))


def test_two_sensors_with_one_noise_are_found():
    watch, findings = RepeatWatch(10_000.0), []
    for n in range(8):
        first = exposed()
        second = exposed() if n < 6 else first
        capture = Capture(rgb=np.repeat(first[..., None], 3, axis=2), ir=second)
        findings.append(watch.take_in(capture, 100.0 * n))
    assert [finding is not None for finding in findings] == [False] * 6 + [True] * 2
    assert "rgb and ir have one noise" in findings[-1].message


@pytest.mark.parametrize("shape", [(14, 160), (120, 39), (1, 1)])
def test_a_frame_of_fewer_pixels_than_cells_says_nothing(shape):
    frames = [RNG.integers(0, 255, shape).astype(np.uint8)] * 10
    assert found(frames) == []


def test_a_frame_without_noise_says_nothing():
    flat = np.full((120, 160), 90, np.uint8)
    assert found([flat] * 20) == []
    assert found([exposed(0.0)] * 20) == []


def test_other_sensors_begin_anew():
    watch = RepeatWatch(10_000.0)
    frames = [exposed() for _ in range(12)]
    assert found(frames, watch) == []
    both = Capture(rgb=np.repeat(frames[0][..., None], 3, axis=2), ir=frames[3])
    assert watch.take_in(both, 2_000.0) is None
    assert watch._sensors == (Modality.RGB, Modality.IR)
    assert watch.take_in(replace(both, rgb=None), 2_100.0) is None


@pytest.mark.parametrize(
    "frame",
    [
        RNG.integers(0, 255, (240, 320, 3)).astype(np.uint8),
        RNG.integers(0, 255, (121, 163)).astype(np.uint8),
        RNG.integers(0, 9000, (480, 640)).astype(np.uint16),
        np.full((8_000, 40), 255, np.uint8),  # sums of a cell beyond 16 bits
    ],
    ids=["color", "odd size", "depth", "tall"],
)
def test_a_cell_is_the_mean_of_its_pixels(frame):
    cells = cells_of(frame)
    step, across = frame.shape[0] // 15, frame.shape[1] // 40
    rows = max(step // 2, 1)
    for row, column in ((0, 0), (7, 21), (14, 39)):
        part = frame[row * step :][:rows, column * across : (column + 1) * across]
        assert cells[row, column] == pytest.approx(part.mean(), rel=1e-5)
