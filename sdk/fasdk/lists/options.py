"""Options of a list: what its lines leave open, said by the caller or by the list itself.

The list's own line stands anywhere before its first capture, in JSON Lines and CSV alike:

    # fasdk: live_label=0 face=xyxy depth_scale_mm=0.25 ir_shift=4 root=../frames
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from fasdk.errors import CaptureError, DatasetError
from fasdk.frames import FrameUnits


class FaceForm(str, Enum):
    """Meaning of the four numbers of a face box."""

    XYWH = "xywh"  # left, top, width, height
    XYXY = "xyxy"  # left, top, right, bottom
    CENTER = "cxcywh"  # center and size

    @property
    def words(self) -> str:
        """The four numbers in words."""
        return {
            FaceForm.XYWH: "x, y, width, height",
            FaceForm.XYXY: "corners: left, top, right, bottom",
            FaceForm.CENTER: "center x, center y, width, height",
        }[self]


@dataclass(frozen=True)
class ListOptions:
    """What the lines of a list leave open; None leaves it to the list, or to the default.

    Attributes:
        live_label: Label of bona fide rows, such as "0"; every other label is an attack.
        face: Meaning of a face box's four numbers.
        depth_unit: "millimeter" or "level", of rows without a depth_unit.
        depth_scale_mm: Millimeters of one unit of the depth files, of rows without their own.
        ir_shift: Bits that 16-bit infrared is shifted right by, of rows without their own.
        face_crop: Whether frames are cut to the face, of rows that do not say it.
        root: Folder the paths start from, relative to the list's folder.
        strip: Prefix that is taken off every path.
    """

    live_label: str | None = None
    face: FaceForm | None = None
    depth_unit: str | None = None
    depth_scale_mm: float | None = None
    ir_shift: int | None = None
    face_crop: bool | None = None
    root: str | None = None
    strip: str | None = None

    def __post_init__(self) -> None:
        """Check the units; the face's form may be given as its value."""
        if self.face is not None:
            try:
                object.__setattr__(self, "face", FaceForm(self.face))
            except ValueError:
                known = ", ".join(form.value for form in FaceForm)
                raise DatasetError(f"face is {self.face!r}, expected one of {known}") from None
        if self.depth_unit not in (None, "millimeter", "level"):
            raise DatasetError(f"depth_unit is {self.depth_unit!r}, expected millimeter or level")
        try:
            FrameUnits(self.depth_scale_mm, self.ir_shift)
        except CaptureError as error:
            raise DatasetError(str(error)) from error

    def over(self, other: ListOptions) -> ListOptions:
        """Return these options, and those of `other` where these say nothing."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in said.items() if value is not None})


OPTION_NAMES = tuple(f.name for f in fields(ListOptions))
LINE_MARK = "fasdk:"


def option_line(**said: object) -> str:
    """Return the line that says options in a list."""
    return f"# {LINE_MARK} {' '.join(f'{k}={shlex.quote(str(v))}' for k, v in said.items())}"


def line_to_write(**said: object) -> str:
    """Return the line that says options in a list, for messages."""
    return f"`{option_line(**said)}`"


def options_of_line(text: str, where: str) -> ListOptions:
    """Return the options of the rest of a line after `# fasdk:`.

    Raises:
        DatasetError: A word is no NAME=VALUE, a name is unknown or a value is not of its kind.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error
    said: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in OPTION_NAMES:
            raise DatasetError(
                f"{where}: {word!r} is no option of a list: expected NAME=VALUE with one of "
                f"{', '.join(OPTION_NAMES)}"
            )
        said[name] = value
    return options_of(said, where)


def options_of(said: Mapping[str, Any], where: str) -> ListOptions:
    """Return options from names and values as text or JSON gives them.

    Raises:
        DatasetError: A value is not of its kind.
    """
    try:
        values = {name: _value(name, value) for name, value in said.items()}
        return ListOptions(**values)
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from error


def _value(name: str, value: Any) -> Any:
    """Return an option's value in its type.

    Raises:
        DatasetError: It is none of that type.
    """
    try:
        return _TYPES.get(name, str)(value)
    except (TypeError, ValueError):
        raise DatasetError(f"{name} is {value!r}, which is no value of it") from None


def as_bool(value: Any) -> bool:
    """Return true or false as text or JSON writes it.

    Raises:
        ValueError: It is neither.
    """
    word = str(value).strip().lower()
    if word in {"true", "1", "yes"}:
        return True
    if word in {"false", "0", "no", ""}:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


_TYPES: dict[str, Callable[[Any], Any]] = {
    "depth_scale_mm": float,
    "ir_shift": int,
    "face_crop": as_bool,
}
