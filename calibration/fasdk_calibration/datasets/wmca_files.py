"""WMCA's preprocessed HDF5 files, two a video, read frame by frame.

The distribution has `preprocessed-face-station_RGB/<day>/<video>.hdf5` and, of the same name,
`preprocessed-face-station_CDIT/<day>/<video>.hdf5`. Both hold a group `Frame_<number>` a frame with
a dataset `array`, 8-bit [planes, height, width]: red, green and blue in the first, and in the other
gray, depth, infrared and thermal (George et al., IEEE TIFS 15, 2020; the layout is that of bob's
FrameContainer).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fasdk.bounded_file import is_file, is_folder
from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.extras import require_package
from fasdk.progress import Progress
from fasdk_calibration.datasets.readers.wmca import WmcaReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLOR_PLANES, DEVICE_PLANES = 3, 4
_DEPTH_PLANE, _IR_PLANE = 1, 2  # of the device planes; 0 is gray, 3 thermal
_FRAME = re.compile(r"Frame_(\d{1,6})")
_MAX_SIDE = 2048  # pixels; the distributed crops have 128
_SUFFIX = ".hdf5"
_Made = TypeVar("_Made")
_EXPECTED = "expected WMCA's preprocessed files, with Frame_<number>/array"


@dataclass(frozen=True)
class PackedVideo:
    """The two files of one video.

    Attributes:
        name: Name of the video, such as "001_01_000_0_00".
        color: File with red, green and blue.
        device: File with gray, depth, infrared and thermal.
        frames: Numbers of the frames that both files hold, ascending.
        unpaired: Number of frames that only one of them holds.
    """

    name: str
    color: Path
    device: Path
    frames: tuple[int, ...]
    unpaired: int

    def read(
        self, numbers: Iterable[int]
    ) -> Iterator[tuple[int, dict[Modality, NDArray[np.uint8]]]]:
        """Yield some of its frames, one at a time in memory.

        Args:
            numbers: Numbers out of `frames`.

        Yields:
            The number; rgb uint8 [H, W, 3], red first; depth (8-bit levels) and ir uint8 [H, W].

        Raises:
            DatasetError: A file has changed, or its compressed data are damaged.
        """
        with _opened(self.color) as color, _opened(self.device) as device:
            for number in numbers:
                rgb = _pixels(color, self.color, number)
                planes = _pixels(device, self.device, number)
                yield (
                    number,
                    {
                        Modality.RGB: rgb.transpose(1, 2, 0),
                        Modality.DEPTH: planes[_DEPTH_PLANE],
                        Modality.IR: planes[_IR_PLANE],
                    },
                )


@dataclass(frozen=True)
class _PackedFile:
    path: Path
    planes: int
    frames: frozenset[int]


def find_videos(
    folders: Sequence[Path], progress: Progress | None = None
) -> tuple[PackedVideo, ...]:
    """Return WMCA's videos below some folders, sorted by name; every file is opened, no data read.

    Args:
        folders: Folders that hold the parts RGB and CDIT of the distribution, at any depth.
        progress: Receiver of progress reports, in files.

    Raises:
        DatasetError: There are none, a file is cut short or holds something else, a video lacks
            one of its two files or has one twice, or its name is none of WMCA's. Where it is so
            of several files, the first is named and the others counted.
        PackageError: h5py is not installed.
    """
    require_package("h5py", "WMCA's HDF5")
    paths = list(dict.fromkeys(_packed_files(folders)))
    if not paths:
        named = ", ".join(map(str, folders))
        raise DatasetError(
            f"{named} holds no {_SUFFIX} file: give the folders of WMCA's parts RGB and CDIT"
        )
    found: dict[str, list[_PackedFile]] = {}
    faults: list[str] = []
    for done, path in enumerate(paths, start=1):
        file = _attempt(faults, partial(_examined, path))
        if file is not None:
            found.setdefault(path.stem, []).append(file)
        if progress is not None:
            progress.update("examining", done, len(paths))
    _raise(faults)
    videos = [_attempt(faults, partial(_paired, *item)) for item in sorted(found.items())]
    _raise(faults)
    return tuple(video for video in videos if video is not None)


def _attempt(faults: list[str], make: Callable[[], _Made]) -> _Made | None:
    """Return what a function returns; its DatasetError is noted instead."""
    try:
        return make()
    except DatasetError as error:
        faults.append(str(error))
        return None


def _packed_files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if not is_folder(folder):
            raise DatasetError(f"{folder} is no folder: give those of WMCA's parts RGB and CDIT")
        for place, inner, names in os.walk(folder):
            inner.sort()
            yield from (Path(place, n) for n in sorted(names) if n.endswith(_SUFFIX))


def _raise(faults: Sequence[str]) -> None:
    if faults:
        more = f" (and {len(faults) - 1} more files like it)" if len(faults) > 1 else ""
        raise DatasetError(f"{faults[0]}{more}: nothing was written")


def _paired(name: str, files: Sequence[_PackedFile]) -> PackedVideo:
    by_planes: dict[int, _PackedFile] = {}
    for file in files:
        other = by_planes.setdefault(file.planes, file)
        if other is not file:
            raise DatasetError(f"{other.path} and {file.path} are of one video: leave one out")
    color, device = by_planes.get(COLOR_PLANES), by_planes.get(DEVICE_PLANES)
    if color is None or device is None:
        there, part = (files[0].path, "RGB" if color is None else "CDIT")
        raise DatasetError(
            f"{there} has no file of its name in the part {part}: give that part's folder too, or "
            "copy the file there"
        )
    both = color.frames & device.frames
    if not both:
        raise DatasetError(f"{color.path} and {device.path} share no frame: copy them again")
    return PackedVideo(
        name, color.path, device.path, tuple(sorted(both)), len(color.frames ^ device.frames)
    )


def _examined(path: Path) -> _PackedFile:
    """Return what a file holds, from its name and its headers."""
    WmcaReader.presentation_of(path.stem)
    with _opened(path) as file:
        numbers = {int(m[1]) for key in file if (m := _FRAME.fullmatch(key))}
        if not numbers:
            raise DatasetError(f"{path} has no frames: {_EXPECTED}")
        planes = {_array(file, path, number).shape[0] for number in numbers}
    if len(planes) > 1:
        raise DatasetError(f"{path} has frames of {sorted(planes)} planes: copy it again")
    return _PackedFile(path, planes.pop(), frozenset(numbers))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield an HDF5 file; what its library raises becomes a DatasetError."""
    import h5py

    if not is_file(path):
        raise DatasetError(f"{path} is no regular file: copy it again")
    try:
        if not h5py.is_hdf5(path):
            size = path.stat().st_size
            raise DatasetError(f"{path} is {'no HDF5 file' if size else 'empty'}: copy it again")
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DatasetError(f"{path} is cut short or damaged: copy it again") from error


def _array(file: Any, path: Path, number: int) -> Any:
    """Return a frame's dataset, of which no more than its header has been read.

    Raises:
        DatasetError: It is none of WMCA's, or its data lie in another file.
    """
    import h5py

    name = f"Frame_{number}"
    where = f"{path}: {name}"
    group = _hard_linked(file, name)
    array = _hard_linked(group, "array") if isinstance(group, h5py.Group) else None
    if not isinstance(array, h5py.Dataset):
        raise DatasetError(f"{where} has no array: {_EXPECTED}")
    if array.external or array.is_virtual:
        raise DatasetError(f"{where}/array has its data in another file: {_EXPECTED}")
    shape = tuple(array.shape or ())
    if (
        array.dtype != "uint8"
        or len(shape) != 3
        or shape[0] not in (COLOR_PLANES, DEVICE_PLANES)
        or not all(1 <= side <= _MAX_SIDE for side in shape[1:])
    ):
        raise DatasetError(
            f"{where}/array is {array.dtype} {list(shape)}, expected uint8 [3 or 4, height, width]"
        )
    return array


def _hard_linked(group: Any, name: str) -> Any:
    """Return a member that lies in its file itself, None for any other."""
    import h5py

    link = group.get(name, getlink=True)
    return group[name] if isinstance(link, h5py.HardLink) else None


def _pixels(file: Any, path: Path, number: int) -> NDArray[np.uint8]:
    array = _array(file, path, number)
    try:
        pixels: NDArray[np.uint8] = array[()]
    except (OSError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{path}: Frame_{number} is damaged: copy the file again") from error
    return pixels
