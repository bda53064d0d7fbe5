"""Camera specification as one word, such as `realsense` or `replay:captures?fps=15`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl

from fasdk.capture import Modality
from fasdk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.cameras.camera import Camera

T = TypeVar("T")


def open_camera(spec: str) -> Camera:
    """Return the camera a word describes; its device is opened at the first read.

    Args:
        spec: KIND[:TARGET][?OPTION=VALUE&...], one of

            - `replay:DIR` or `replay:LIST.jsonl`, options `fps` and `loop`;
            - `opencv:NUMBER`, option `modality` (rgb or ir);
            - `opencv:FILE`, options `modality`, `fps` and `loop`;
            - `realsense` or `realsense:SERIAL`, options `depth` and `color` (WIDTHxHEIGHT) and
              `fps`;
            - `realsense:FILE.bag` or `.db3`, option `loop`.

    Raises:
        UsageError: No such kind, option or file, or a library the kind needs is not installed.
    """
    word, _, query = spec.partition("?")
    kind, _, target = word.partition(":")
    found = next((each for each in KINDS if each.name == kind), None)
    if found is None:
        forms = ", ".join(form for each in KINDS for form in each.forms)
        raise UsageError(f"camera {spec!r} is of no known kind: choose among {forms}")
    options = _Options(spec, dict(parse_qsl(query, keep_blank_values=True)))
    if not target and kind not in found.forms:
        raise UsageError(f"camera {spec!r} names no source: expected {' or '.join(found.forms)}")
    camera = found.open(target, options)
    options.require_all_taken()
    return camera


class _Options:
    """The options of a spec; each is taken once, and what is left over is a mistake."""

    def __init__(self, spec: str, values: Mapping[str, str]) -> None:
        self.spec = spec
        self._left = dict(values)
        self._known: list[str] = []

    def take(self, name: str, convert: Callable[[str], T], expected: str) -> T | None:
        self._known.append(name)
        text = self._left.pop(name, None)
        if text is None:
            return None
        try:
            return convert(text)
        except (ValueError, KeyError):
            raise UsageError(
                f"camera {self.spec!r}: {name} is {text!r}, expected {expected}"
            ) from None

    def require_all_taken(self) -> None:
        if self._left:
            raise UsageError(
                f"camera {self.spec!r} has no option {next(iter(self._left))!r}: "
                f"choose among {', '.join(self._known)}"
            )


def _replay(target: str, options: _Options) -> Camera:
    from fasdk.cameras.replay import ReplayCamera

    return ReplayCamera(Path(target), fps=_fps(options), loop=_loop(options))


def _opencv(target: str, options: _Options) -> Camera:
    from fasdk.cameras.opencv import OpenCvCamera, OpenCvFile

    modality = options.take("modality", Modality, "rgb or ir") or Modality.RGB
    if target.isdecimal():
        return OpenCvCamera(int(target), modality=modality)
    return OpenCvFile(Path(target), modality=modality, fps=_fps(options), loop=_loop(options))


def _realsense(target: str, options: _Options) -> Camera:
    from fasdk.cameras.profiles import StreamRequest
    from fasdk.cameras.realsense import RECORDING_SUFFIXES, RealSenseCamera

    if target.endswith(RECORDING_SUFFIXES):
        return RealSenseCamera.recording(Path(target), loop=_loop(options))
    if target and not target.isalnum():
        raise UsageError(
            f"camera {options.spec!r}: {target!r} is neither a serial number nor a recording, "
            f"whose name ends in {' or '.join(RECORDING_SUFFIXES)}"
        )
    request = StreamRequest(
        depth_size=options.take("depth", _size, "WIDTHxHEIGHT, such as 640x480"),
        color_size=options.take("color", _size, "WIDTHxHEIGHT, such as 1280x720"),
        fps=options.take("fps", int, "a whole number of frames a second"),
    )
    return RealSenseCamera.attached(target or None, request=request)


def _fps(options: _Options) -> float | None:
    return options.take("fps", float, "frames a second, such as 15")


def _loop(options: _Options) -> bool:
    return bool(options.take("loop", {"1": True, "0": False}.__getitem__, "1 or 0"))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


@dataclass(frozen=True)
class CameraKind:
    """A kind of camera that a specification can name.

    Attributes:
        name: The specification's first word.
        forms: Ways to write it, without options; one that is the name alone needs no target.
        open: Returns the camera of a target and options; imports what it needs.
    """

    name: str
    forms: tuple[str, ...]
    open: Callable[[str, _Options], Camera]


KINDS = (
    CameraKind("replay", ("replay:DIR", "replay:LIST.jsonl"), _replay),
    CameraKind("opencv", ("opencv:NUMBER", "opencv:FILE"), _opencv),
    CameraKind("realsense", ("realsense", "realsense:SERIAL", "realsense:FILE.bag"), _realsense),
)
"""Every kind of camera, in the order in which messages name them."""
