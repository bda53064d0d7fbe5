"""Frames that come again, re-encoded or a little changed, told by the noise that they carry.

Every exposure has noise of its own, so two frames of somebody who stands still are as alike as
their noise allows, and a copy is more alike than that, also after a codec, a shift by a pixel or a
change of size. Each frame is reduced to the means of 15x40 cells. What they differ by from the two
frames before, without what the scene explains row by row (offset and gain) and away from edges and
from what moves, is the frame's noise. The likeness of two frames is the correlation of their noise:
0 but for chance where both were exposed, about 0.7 for a copy. The pattern noise of a sensor, which
is one for all frames and tells cameras apart (Lukas, Fridrich and Goljan, "Digital camera
identification from sensor pattern noise", IEEE TIFS 2006), cancels here; what is left is the noise
of one moment. A picture that hardly differs from the two before it, as of a frozen stream, is held
against one further back in their place: their noise would cancel what is looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Capture

    Cells = NDArray[np.float32]

_ROWS, _COLUMNS = 15, 40
_CELLS = _ROWS * _COLUMNS
_REMEMBERED = 128
_BEFORE = 5  # earlier frames whose cells are kept
_MOVED = np.float32(4.0)  # in deviations of the noise; what differs by more moves
_EDGE = np.float32(12.0)  # in deviations; where the scene differs by more across two cells
_CLIPPED = np.float32(2.0)  # in deviations; heavier tails count no more than this
_LEAST_CELLS = 0.15  # share of the cells that must be left
_TO_DEVIATION = np.float32(1.25)  # of the mean absolute value, of normal noise
_MEDIAN_TO_DEVIATION = np.float32(1.48)
# Of the usual deviation. What is louder holds a pattern, as of a camera that was touched, and two
# frames with one pattern of this strength have a likeness of 0.3.
_QUIET = 1.2
_STILL = 0.8  # of the usual deviation: frames differ by less than noise
_RISE = np.float32(1.02)  # of the usual deviation, a frame at most
_MOST_MUTE = 5  # frames in a row that tell nothing before the usual deviation is taken anew
_REGIONS = (5, 3, 5, 8)  # 5x5 regions of 3x8 cells
_LEAST_REGIONS = 8
# The limits were chosen on synthetic development presentations and measured on others:
# tools/bench/injection.py.
LEAST_LIKENESS = 0.3
_OVER_OTHERS = 6.0  # deviations of the likeness to all other frames
_LEAST_AGREEING = 0.7  # share of the regions in which the noise of both is alike
LEAST_SHARED = 0.45  # likeness of two sensors' noise in one capture


class RepeatWatch:
    """Noise of one camera's last pictures, color and infrared, which no later one has again.

    Depth is left out: what it differs by from frame to frame is holes and edges before noise. A
    frame that repeats another is not remembered, and the other for as long as it is repeated.

    Args:
        window_ms: Time for which a frame is remembered, in milliseconds, 128 frames at most.
    """

    def __init__(self, window_ms: float) -> None:
        self._window_ms = window_ms
        self._forget(())

    def _forget(self, sensors: tuple[Modality, ...]) -> None:
        count = len(sensors)
        self._sensors = sensors
        self._cells: list[Cells] = []  # of the last frames, the newest last
        self._usual: NDArray[np.float32] | None = None  # deviation of each sensor's noise [M, 1, 1]
        self._mute = np.zeros(count, np.intp)  # frames in a row in which a sensor told nothing
        self._units = np.zeros((count, _REMEMBERED, _CELLS), np.float32)
        self._seen_ms = np.full(_REMEMBERED, -np.inf)
        self._count = 0

    def take_in(self, capture: Capture, at_ms: float) -> Finding | None:
        """Take in a frame; return the finding on a sensor that repeats itself or another, or None.

        Args:
            capture: Sound capture.
            at_ms: Time at which it was handed in, in milliseconds; never earlier than the one
                before.
        """
        sensors = tuple(m for m in capture.present if m is not Modality.DEPTH)
        frames = [capture.frame(sensor) for sensor in sensors]
        if not frames or any(
            frame.shape[0] < _ROWS or frame.shape[1] < _COLUMNS for frame in frames
        ):
            return None
        if sensors != self._sensors:  # another size is no other camera: cells compare all the same
            self._forget(sensors)
        cells = np.stack([cells_of(frame) for frame in frames])
        if len(self._cells) < 2:
            self._cells.append(cells)
            return None
        unit, noise, tells = self._noise_of(cells)
        place = self._repeated(cells, unit, noise, at_ms)
        if place is not None:
            sensor, row = place
            self._seen_ms[row] = at_ms
            return Finding(
                Reason.REPLAYED,
                f"{sensors[sensor].value} has the noise of a frame that this camera gave "
                "before, which no sensor does: if it stays, see what stands between the camera and "
                "this program",
            )
        self._remember(cells, unit, at_ms)
        self._get_used_to(noise, tells)
        shared = self._shared(unit)
        if shared is None:
            return None
        return Finding(
            Reason.REPLAYED,
            f"{' and '.join(sensors[sensor].value for sensor in shared)} have one noise, so one "
            "was made of the other: if it stays, see what stands between the camera and this "
            "program",
        )

    def _noise_of(self, cells: Cells) -> tuple[Cells, NDArray[np.float32], NDArray[np.bool_]]:
        """Return a frame's noise, its deviation, and which sensors tell any.

        Args:
            cells: float32 [M, 15, 40], of each sensor.

        Returns:
            float32 [M, 600] of norm 1, or 0 where a sensor tells none, or more than noise; float32
            [M, 1, 1], the deviation, or where it tells none that of all it differs by; bool [M].
        """
        scene = (self._cells[-1] + self._cells[-2]) * np.float32(0.5)
        change = cells - scene
        size = np.abs(change)
        if self._usual is None:
            self._usual = _median_deviation(size)
        usual = self._usual
        kept = np.zeros(cells.shape, np.float32)
        across = np.abs(scene[:, :, 2:] - scene[:, :, :-2])
        kept[:, :, 1:-1] = (size[:, :, 1:-1] <= _MOVED * usual) & (across <= _EDGE * usual)
        in_row = kept.sum(axis=2, keepdims=True)
        left = in_row.sum(axis=1, keepdims=True)
        in_row += np.float32(1e-3)
        change *= kept
        change -= kept * (change.sum(axis=2, keepdims=True) / in_row)
        scene *= kept
        scene -= kept * (scene.sum(axis=2, keepdims=True) / in_row)
        gain = np.einsum("mij,mij->mi", change, scene)
        gain /= np.einsum("mij,mij->mi", scene, scene) + np.float32(1e-3)
        change -= gain[:, :, None] * scene
        noise = np.abs(change).sum(axis=(1, 2), keepdims=True) * _TO_DEVIATION
        noise /= np.maximum(left, np.float32(1.0))
        tells = left >= _LEAST_CELLS * _CELLS
        change *= tells & (noise <= _QUIET * usual)
        noise = np.where(tells, noise, _median_deviation(size) if not tells.all() else noise)
        return _unit(np.clip(change, -_CLIPPED * noise, _CLIPPED * noise)), noise, tells[:, 0, 0]

    def _repeated(
        self, cells: Cells, unit: Cells, noise: NDArray[np.float32], at_ms: float
    ) -> tuple[int, int] | None:
        """Return the sensor that repeats a frame, and the place of that frame, or None."""
        held = min(self._count, _REMEMBERED)
        if len(self._cells) < _BEFORE or held < _BEFORE or self._usual is None:
            return None
        is_still = (noise < _STILL * self._usual)[:, 0, 0]
        if is_still.any():
            # The two frames before are of the same exposure, and cancel it; one further back does
            # not.
            limit = _CLIPPED * self._usual
            apart = np.clip(cells - self._cells[0], -limit, limit)
            apart = _unit(apart * (unit != 0.0).reshape(apart.shape))
            unit = np.where(is_still[:, None], apart, unit)
        likeness = np.matmul(self._units[:, :held], unit[:, :, None])[:, :, 0]
        if not likeness.max() >= LEAST_LIKENESS:
            return None
        likeness[:, self._seen_ms[:held] < at_ms - self._window_ms] = 0.0
        # Their noise was taken with a frame that this one's is taken with too.
        for sensor, alike in enumerate(likeness):
            near = (3, 4, 5) if is_still[sensor] else (1, 2)
            alike[[(self._count - back) % _REMEMBERED for back in near]] = 0.0
            row = int(alike.argmax())
            most = float(alike[row])
            if most < LEAST_LIKENESS:
                continue
            # By their median: the two after that frame have its noise with the other sign.
            spread = float(np.median(np.abs(np.delete(alike, row))) * _MEDIAN_TO_DEVIATION)
            if most >= _OVER_OTHERS * spread and _agree(self._units[sensor, row], unit[sensor]):
                return sensor, row
        return None

    def _shared(self, unit: Cells) -> tuple[int, int] | None:
        """Return two sensors with one noise, or None."""
        for first in range(len(unit)):
            for second in range(first + 1, len(unit)):
                likeness = float(unit[first] @ unit[second])
                if likeness >= LEAST_SHARED and _agree(unit[first], unit[second]):
                    return first, second
        return None

    def _remember(self, cells: Cells, unit: Cells, at_ms: float) -> None:
        self._cells = [*self._cells[1 - _BEFORE :], cells]
        place = self._count % _REMEMBERED
        self._units[:, place] = unit
        self._seen_ms[place] = at_ms
        self._count += 1

    def _get_used_to(self, noise: NDArray[np.float32], tells: NDArray[np.bool_]) -> None:
        """Follow the noise: down at once, up slowly, and anew after frames that told none."""
        usual = self._usual
        assert usual is not None  # noqa: S101 - taken with the first noise
        self._mute = np.where(tells, 0, self._mute + 1)
        followed = np.where(
            noise < usual, (usual + noise) * np.float32(0.5), np.minimum(noise, usual * _RISE)
        )
        followed = np.where(tells[:, None, None], followed, usual)
        self._usual = np.where((self._mute >= _MOST_MUTE)[:, None, None], noise, followed)


def _median_deviation(size: Cells) -> NDArray[np.float32]:
    """Return float32 [M, 1, 1]: the deviation of noise whose absolute values are given."""
    return np.asarray(
        np.median(size, axis=(1, 2), keepdims=True) * _MEDIAN_TO_DEVIATION, np.float32
    )


def cells_of(frame: NDArray[Any]) -> Cells:
    """Return float32 [15, 40]: the mean of each cell of a frame, all of its channels together.

    A cell has every column of its part of the frame and the upper half of the rows: half of the
    work, and as many cells.
    """
    height, width = frame.shape[:2]
    values = frame.size // (height * width)
    step, across = height // _ROWS, (width // _COLUMNS) * values
    rows = max(step // 2, 1)
    part = frame[: step * _ROWS].reshape(_ROWS, step, -1)[:, :rows, : across * _COLUMNS]
    wide = np.uint16 if frame.dtype == np.uint8 and rows <= 257 else np.uint32
    sums = np.add.reduce(part, axis=1, dtype=wide).reshape(_ROWS, _COLUMNS, across)
    mean = np.add.reduce(sums, axis=2, dtype=np.float32) * np.float32(1.0 / (rows * across))
    return np.asarray(mean, np.float32)


def _unit(change: Cells) -> Cells:
    """Return float32 [M, 600] of norm 1, or 0 where nothing is left."""
    flat = change.reshape(len(change), _CELLS)
    norm = np.sqrt(np.einsum("mn,mn->m", flat, flat))
    return np.asarray(flat / np.maximum(norm, np.float32(1e-6))[:, None], np.float32)


def _agree(first: Cells, second: Cells) -> bool:
    """Return whether two frames' noise is alike all over, and not in one part that moves."""
    regions = (first * second).reshape(_REGIONS).sum(axis=(1, 3))
    told = int((regions != 0.0).sum())
    return told >= _LEAST_REGIONS and int((regions > 0.0).sum()) >= _LEAST_AGREEING * told
