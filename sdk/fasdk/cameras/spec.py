"""Camera specification as one word, such as `realsense` or `replay:captures?fps=15`."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fasdk.cameras.address import pipeline_elements, scheme_of, without_credentials
from fasdk.cameras.options import SpecOptions, split_members, split_target
from fasdk.capture import Modality
from fasdk.errors import UsageError

if TYPE_CHECKING:
    from typing import TypeAlias

    from fasdk.cameras.camera import Camera
    from fasdk.cameras.gstreamer import GStreamerCamera
    from fasdk.cameras.mode import VideoMode
    from fasdk.cameras.opencv import OpenCvCamera, OpenCvFile
    from fasdk.cameras.pair import Member
    from fasdk.cameras.pin import CameraPin

    OpenCvSource: TypeAlias = OpenCvCamera | OpenCvFile

CameraT = TypeVar("CameraT", bound="Camera")
_NUMBER = re.compile("[0-9]{1,4}")
_NODE_FIELDS = ("serial", "driver", "port")  # that a Video4Linux device states


def open_camera(spec: str) -> Camera:
    """Return the camera a word describes; its device is opened at the first read.

    Args:
        spec: KIND[:TARGET][?OPTION=VALUE&...], one of

            - `replay:DIR` or `replay:LIST.jsonl`, options `fps` and `loop`;
            - `opencv:NUMBER` or `opencv:/dev/NODE`, options `modality` (rgb or ir), `width`,
              `height`, `fps`, `fourcc`, `backend`, and for infrared `emitter` (auto, steady or
              flashing) and `ir_shift` (bits to leave out of levels of more than 8); and of its pin
              `serial`, `driver`, `port`, `allow` and `pin` (a JSON file of these), as
              `fasdk.cameras.pin` has them;
            - `opencv:FILE`, options `modality`, `fps`, `loop`, `backend`, `emitter` and `ir_shift`;
            - `opencv:rtsp://ADDRESS`, options `transport` (tcp or udp), `modality`, `emitter` and
              `allow`, which must name network, and `opencv:http://ADDRESS` likewise without the
              first;
            - `opencv:PIPELINE` of GStreamer, which holds a `!` and ends in an appsink, and
              `opencv:PIPE`, a named pipe; options `modality` and `emitter`, and a pipeline's
              `ir_shift`, and pin of the devices that it reads;
            - `csi:NUMBER`, on a Jetson's own connector, options `modality`, `emitter`, `width`,
              `height` and `fps`;
            - `gst:PIPELINE`, read by GStreamer itself, which ends in an appsink; options `modality`
              (rgb, ir or depth), `emitter` and `ir_shift`, and pin of the devices that it reads;
            - `realsense` or `realsense:SERIAL`, options `depth` and `color` (WIDTHxHEIGHT), `fps`,
              and of its pin `serial`, `firmware`, `allow` and `pin`;
            - `realsense:FILE.bag` or `.db3`, option `loop`;
            - `pair:rgb=SPEC;ir=SPEC` of two opencv, csi or gst cameras, option `skew_ms`.

            A target that holds a `?`, and a nested SPEC that has options, is put in quotes, single
            or double.

    Raises:
        UsageError: No such kind, option or file, or a library the kind needs is not installed.
    """
    kind, _, rest = spec.partition(":")
    if "?" in kind:  # options and no target
        kind, rest = spec[: spec.index("?")], spec[spec.index("?") :]
    found = next((each for each in KINDS if each.name == kind), None)
    if found is None:
        forms = ", ".join(form for each in KINDS for form in each.forms)
        raise UsageError(
            f"camera {without_credentials(spec)!r} is of no known kind: choose among {forms}"
        )
    return found.open(rest, spec)


def _one_target(
    name: str, forms: tuple[str, ...], make: Callable[[str, SpecOptions], Camera]
) -> CameraKind:
    """Return a kind whose specification is one target with options."""
    expected = "" if name in forms else " or ".join(forms)
    return CameraKind(name, forms, lambda rest, spec: _open_target(rest, spec, expected, make))


def _open_target(
    rest: str, spec: str, expected: str, make: Callable[[str, SpecOptions], CameraT]
) -> CameraT:
    """Return the camera of a target with options, all of which it takes.

    Args:
        rest: Target and options.
        spec: The whole specification, for errors.
        expected: Forms with a target, for the error where there is none; "" where none is needed.
        make: Makes the camera of the target and takes its options.

    Raises:
        UsageError: The target is missing, or an option is unknown or wrong.
    """
    target, options = split_target(rest, spec)
    if expected and not target:
        raise UsageError(f"camera {options.shown!r} names no source: expected {expected}")
    camera = make(target, options)
    options.require_all_taken()
    return camera


def _replay(target: str, options: SpecOptions) -> Camera:
    from fasdk.cameras.replay import ReplayCamera

    return ReplayCamera(Path(target), fps=_fps(options), loop=_loop(options))


def _opencv(target: str, options: SpecOptions, *, usual: Modality = Modality.RGB) -> OpenCvSource:
    from fasdk.cameras import source
    from fasdk.cameras.emitter import Emitter
    from fasdk.cameras.opencv import OpenCvCamera, OpenCvFile
    from fasdk.cameras.pin import require_network_allowed, take_pin

    modality = options.take("modality", Modality, "rgb or ir") or usual
    emitter = options.take("emitter", Emitter, "auto, steady or flashing") or Emitter.AUTO
    if scheme_of(target) is not None:
        pin, transport = take_pin(options), None
        if scheme_of(target) == "rtsp":
            transport = options.take("transport", source.Transport, "tcp or udp")
        stream = source.stream_source(target, transport)
        options.require_all_taken()
        require_network_allowed(pin, f"camera {options.shown!r}")
        return OpenCvCamera(stream, modality=modality, emitter=emitter)
    kind = _kind_of_file(target)
    if stat.S_ISFIFO(kind):
        return OpenCvCamera(source.pipe_source(Path(target)), modality=modality, emitter=emitter)
    ir_shift = options.take("ir_shift", int, "a whole number of bits, such as 2")
    if "!" in target:
        options.take("backend", {"gstreamer": ""}.__getitem__, "gstreamer")
        pipeline = source.pipeline_source(target, _pipeline_pin(target, options))
        return OpenCvCamera(pipeline, modality=modality, emitter=emitter, ir_shift=ir_shift)
    backend = options.take("backend", str, "a backend of OpenCV")
    number = int(target) if _NUMBER.fullmatch(target) else None
    if number is not None or target.startswith("/dev/") or stat.S_ISCHR(kind):
        mode, pin = _mode(options), take_pin(options, *_NODE_FIELDS)
        return OpenCvCamera(
            source.device_source(Path(target) if number is None else number, backend, pin),
            modality=modality,
            mode=mode,
            emitter=emitter,
            ir_shift=ir_shift,
        )
    return OpenCvFile(
        Path(target),
        modality=modality,
        fps=_fps(options),
        loop=_loop(options),
        emitter=emitter,
        ir_shift=ir_shift,
        backend=backend,
    )


def _csi(target: str, options: SpecOptions, *, usual: Modality = Modality.RGB) -> GStreamerCamera:
    from fasdk.cameras.emitter import Emitter
    from fasdk.cameras.gstreamer import csi_camera
    from fasdk.cameras.mode import VideoMode

    if not _NUMBER.fullmatch(target):
        raise UsageError(
            f"camera {options.shown!r} names no sensor: expected csi:NUMBER, such as csi:0"
        )
    modality = options.take("modality", Modality, "rgb or ir") or usual
    mode = VideoMode(
        width_px=options.take("width", int, "pixels, such as 1280"),
        height_px=options.take("height", int, "pixels, such as 720"),
        fps=_fps(options),
    )
    emitter = options.take("emitter", Emitter, "auto, steady or flashing") or Emitter.AUTO
    options.require_all_taken()
    return csi_camera(int(target), modality=modality, mode=mode, emitter=emitter)


def _gst(target: str, options: SpecOptions, *, usual: Modality = Modality.RGB) -> GStreamerCamera:
    from fasdk.cameras.emitter import Emitter
    from fasdk.cameras.gstreamer import GStreamerCamera

    modality = options.take("modality", Modality, "rgb, ir or depth") or usual
    emitter = options.take("emitter", Emitter, "auto, steady or flashing") or Emitter.AUTO
    ir_shift = options.take("ir_shift", int, "a whole number of bits, such as 2")
    pin = _pipeline_pin(target, options)
    return GStreamerCamera(target, modality=modality, emitter=emitter, ir_shift=ir_shift, pin=pin)


def _pipeline_pin(pipeline: str, options: SpecOptions) -> CameraPin:
    """Return the pin of a pipeline: of its devices where it reads any.

    Raises:
        UsageError: It reads from the network, and the pin does not allow that.
    """
    from fasdk.cameras.identity import pipeline_nodes, takes_network
    from fasdk.cameras.pin import require_network_allowed, take_pin

    pin = take_pin(options, *(_NODE_FIELDS if pipeline_nodes(pipeline) else ()))
    options.require_all_taken()  # before a pipeline that a ? of its own cut short is looked at
    if takes_network(pipeline):
        require_network_allowed(pin, f"pipeline {' ! '.join(pipeline_elements(pipeline))}")
    return pin


def _kind_of_file(path: str) -> int:
    """Return the kind of file, as `stat` has it; 0 where there is none, or it cannot be reached."""
    try:
        return stat.S_IFMT(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return 0


def _mode(options: SpecOptions) -> VideoMode:
    from fasdk.cameras.mode import VideoMode

    return VideoMode(
        width_px=options.take("width", int, "pixels, such as 1280"),
        height_px=options.take("height", int, "pixels, such as 720"),
        fps=_fps(options),
        fourcc=options.take("fourcc", str, "four characters, such as MJPG"),
    )


def _pair(rest: str, spec: str) -> Camera:
    from fasdk.cameras.pair import USUAL_SKEW_MS, PairCamera

    members, options = split_members(rest, spec)
    skew_ms = options.take("skew_ms", float, "milliseconds, such as 20")
    options.require_all_taken()
    if set(members) != {"rgb", "ir"}:
        raise UsageError(
            f"camera {options.shown!r} has {', '.join(members)}: expected "
            "pair:rgb=SPEC;ir=SPEC, which are its two members"
        )
    return PairCamera(
        rgb=_member(members["rgb"], Modality.RGB),
        ir=_member(members["ir"], Modality.IR),
        skew_ms=USUAL_SKEW_MS if skew_ms is None else skew_ms,
    )


def _member(spec: str, modality: Modality) -> Member:
    kind, _, rest = spec.partition(":")
    make = _MEMBERS.get(kind)
    if make is None:
        forms = " or ".join(f"{each}:TARGET" for each in _MEMBERS)
        raise UsageError(
            f"camera {without_credentials(spec)!r} cannot be one of a pair: expected {forms}"
        )
    return _open_target(rest, spec, f"{kind}:TARGET", partial(make, usual=modality))


def _realsense(target: str, options: SpecOptions) -> Camera:
    from fasdk.cameras.pin import take_pin
    from fasdk.cameras.profiles import StreamRequest
    from fasdk.cameras.realsense import RECORDING_SUFFIXES, RealSenseCamera

    if target.endswith(RECORDING_SUFFIXES):
        return RealSenseCamera.recording(Path(target), loop=_loop(options))
    if target and not target.isalnum():
        raise UsageError(
            f"camera {options.shown!r}: {target!r} is neither a serial number nor a recording, "
            f"whose name ends in {' or '.join(RECORDING_SUFFIXES)}"
        )
    request = StreamRequest(
        depth_size=options.take("depth", _size, "WIDTHxHEIGHT, such as 640x480"),
        color_size=options.take("color", _size, "WIDTHxHEIGHT, such as 1280x720"),
        fps=options.take("fps", int, "a whole number of frames a second"),
    )
    pin = take_pin(options, "serial", "firmware")
    if target and pin.serial not in {None, target}:
        raise UsageError(
            f"camera {options.shown!r}: the address names camera {target}, its pin {pin.serial}: "
            "leave one of them out"
        )
    return RealSenseCamera.attached(target or pin.serial, request=request, pin=pin)


def _fps(options: SpecOptions) -> float | None:
    return options.take("fps", float, "frames a second, such as 15")


def _loop(options: SpecOptions) -> bool:
    return bool(options.take("loop", {"1": True, "0": False}.__getitem__, "1 or 0"))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


_MEMBERS: dict[str, Callable[..., Member]] = {"opencv": _opencv, "csi": _csi, "gst": _gst}


@dataclass(frozen=True)
class CameraKind:
    """A kind of camera that a specification can name.

    Attributes:
        name: The specification's first word.
        forms: Ways to write it, without options; one that is the name alone needs no target.
        open: Returns the camera of what follows the name and of the whole specification; imports
            what it needs.
    """

    name: str
    forms: tuple[str, ...]
    open: Callable[[str, str], Camera]


KINDS = (
    _one_target("replay", ("replay:DIR", "replay:LIST.jsonl"), _replay),
    _one_target(
        "opencv",
        (
            "opencv:NUMBER",
            "opencv:/dev/NODE",
            "opencv:FILE",
            "opencv:rtsp://ADDRESS",
            "opencv:http://ADDRESS",
            "opencv:PIPELINE",
            "opencv:PIPE",
        ),
        _opencv,
    ),
    _one_target("csi", ("csi:NUMBER",), _csi),
    _one_target("gst", ("gst:PIPELINE",), _gst),
    _one_target("realsense", ("realsense", "realsense:SERIAL", "realsense:FILE.bag"), _realsense),
    CameraKind("pair", ("pair:rgb=SPEC;ir=SPEC",), _pair),
)
"""Every kind of camera, in the order in which messages name them."""
