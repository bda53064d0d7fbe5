"""Targets of frames, captures, rigs, batching policies and words of the command line."""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.bytes_mutation import INTERESTING, mutate_bytes, word_mutator
from fuzz.json_mutation import mutate_json
from fuzz.scratch import scratch_folder
from fuzz.target import Target, mixed, rewriter

_CAMERA_WORDS = (b"replay:", b"opencv:", b"realsense", b"pair:", b"rgb=", b"ir=", b";", b"?", b"&")
_CAMERA_WORDS += (b"'", b'"', b"=", b"0", b"fps", b"loop", b"modality", b"width", b"skew_ms", b"ir")
_CAMERA_WORDS += (
    b"rtsp://",
    b"user:pass@",
    b"%00",
    b"/dev/video0",
    b"!",
    b"appsink",
    b".bag",
    b"nan",
)
_CAMERA_WORDS += (
    b"emitter",
    b"flashing",
    b"ir_shift",
    b"depth",
    b"640x480",
    b"1e999",
    b"\0",
    b"\xff",
)


def _camera() -> Callable[[bytes], None]:
    from fasdk.cameras.spec import open_camera

    def run(data: bytes) -> None:
        open_camera(data.decode("utf-8", "surrogateescape")).close()  # opened at the first read

    return run


def _camera_seeds() -> list[bytes]:
    return [
        b"opencv:0?width=1280&height=720&fps=15&fourcc=MJPG&modality=ir&emitter=auto&ir_shift=2",
        b"opencv:rtsp://user:secret@camera/stream?transport=tcp",
        b"pair:rgb='opencv:0?width=1280';ir=opencv:2?skew_ms=20",
        b"realsense:0123?depth=640x480&color=1280x720&fps=30",
        b"opencv:videotestsrc ! appsink",
        b"replay:nowhere?fps=15&loop=1",
    ]


def _rig() -> Callable[[bytes], None]:
    from fasdk.capture import Capture
    from fasdk.registration import Rig

    capture = Capture(
        rgb=np.full((48, 64, 3), 120, np.uint8),
        depth=np.full((48, 64), 500, np.uint16),
        ir=np.full((48, 64), 90, np.uint8),
        face=(20, 10, 24, 30),
        landmarks=np.array([[26, 20], [36, 20], [31, 26], [27, 32], [36, 32]], np.float32),
    )
    write = rewriter(scratch_folder() / "rig.json")

    def run(data: bytes) -> None:
        path = write(data)
        Rig.load(path).register(capture)

    return run


def _rig_seeds() -> list[bytes]:
    from fasdk.registration import Rig
    from fasdk.registration.optics import Homography, Lens, Pinhole

    lens = Lens(
        width_px=64,
        height_px=48,
        focal_x_px=60.0,
        focal_y_px=60.0,
        center_x_px=32.0,
        center_y_px=24.0,
        distortion=(0.1, -0.2, 0.001, -0.001, 0.05),
    )
    pinhole = Pinhole(lens=lens, translation_mm=(-5.0, 1.0, 0.5))
    flat = Homography(
        width_px=64,
        height_px=48,
        rgb_width_px=64,
        rgb_height_px=48,
        from_rgb=((1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
    )
    rigs = (Rig(rgb=lens, depth=pinhole, ir=pinhole), Rig(ir=flat), Rig(rgb=lens, depth=pinhole))
    return [rig.model_dump_json().encode() for rig in rigs]


def _policy() -> Callable[[bytes], None]:
    from fasdk.batching.policy_file import PolicyFile

    path = scratch_folder() / "policy.json"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        PolicyFile.load(path)

    return run


def _policy_seeds() -> list[bytes]:
    from fasdk.batching import BatchingPolicy
    from fasdk.batching.policy_file import PolicyFile

    policies = (BatchingPolicy(), BatchingPolicy(lanes=1, max_batch=4, max_wait_ms=2.0))
    return [PolicyFile(batching=policy).model_dump_json().encode() for policy in policies]


def _image() -> Callable[[bytes], None]:
    """Return a parser that lets one of the readers of images have each input."""
    from fasdk.capture import Modality
    from fasdk.frames import FrameUnits, read_depth_levels, read_noted_frame

    write = rewriter(scratch_folder() / "frame.png")
    units = FrameUnits(depth_scale_mm=1.0, ir_shift=2)
    readers: list[Callable[[Path], object]] = [
        partial(read_noted_frame, modality=modality, units=units) for modality in Modality
    ]
    readers.append(read_depth_levels)

    def run(data: bytes) -> None:
        readers[zlib.crc32(data) % len(readers)](write(data))

    return run


def _image_seeds() -> list[bytes]:
    import cv2

    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (24, 32, 3), np.uint8)
    deep = rng.integers(0, 4000, (24, 32), np.uint16)
    made = []
    for suffix in (".png", ".jpg", ".tiff", ".webp", ".bmp", ".pgm"):
        for frame in (color, color[..., 0], deep):
            try:
                ok, data = cv2.imencode(suffix, frame)
            except cv2.error:
                continue
            made += [data.tobytes()] if ok else []
    return made


def mutate_image(data: bytes, rng: random.Random) -> bytes:
    """Return an image with its stated size or a part of it changed; checksums of PNG are right."""
    if not data.startswith(b"\x89PNG") or rng.random() < 0.2:
        return mutate_bytes(data, rng)
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return mutate_bytes(data, rng)
    number = rng.randrange(len(chunks))
    kind, content = chunks[number]
    match rng.randrange(5):
        case 0:
            chunks.insert(number, (kind, content))
        case 1:
            chunks.insert(
                number, (rng.choice((b"tRNS", b"eXIf", b"iCCP", b"acTL", b"PLTE")), content)
            )
        case 2 if kind == b"IHDR" and len(content) == 13:
            size = struct.pack(">2I", *(rng.choice(INTERESTING) % 2**32 for _ in range(2)))
            chunks[number] = (kind, size + content[8:])
        case 3:
            del chunks[number]
        case _:
            chunks[number] = (kind, mutate_bytes(content, rng))
    packed = b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )
    return data[:8] + packed


_ODD: tuple[Any, ...] = (
    None,
    0,
    -1,
    1,
    2**31,
    10**30,
    0.5,
    math.nan,
    math.inf,
    "x",
    b"",
    [],
    {},
    (),
)


def _capture() -> Callable[[bytes], None]:
    """Return a function that draws a capture from the bytes and lets every gate look at it."""
    from fasdk.capture import Capture
    from fasdk.quality import QualityLimits, assess

    limits = QualityLimits()

    def run(data: bytes) -> None:
        rng = random.Random(data)
        capture = Capture(**_capture_words(rng))
        assess(capture, limits, now_ms=1000.0)

    return run


def _capture_words(rng: random.Random) -> dict[str, Any]:
    from fasdk.capture import FaceBox, Modality

    height, width = rng.choice(((24, 32), (1, 1), (2, 300), (120, 160)))
    level = rng.choice((0, 1, 120, 255))
    words: dict[str, Any] = {}
    if rng.random() < 0.8:
        words["rgb"] = np.full((height, width, 3), level, np.uint8)
    if rng.random() < 0.6:
        words["depth"] = np.full((height, width), rng.choice((0, 1, 500, 65535)), np.uint16)
    if rng.random() < 0.6:
        words["ir"] = np.full((height, width), level, np.uint8)
    box = tuple(rng.choice((0, 1, 4, 20, -1, 2**31)) for _ in range(4))
    words["face"] = rng.choice((None, None, box, (0, 0, width, height), (0, 0, width, height)))
    if rng.random() < 0.2:
        name = rng.choice((*Modality, "rgb", "ir", "x", None))
        words["taken_ms"] = rng.choice(({name: rng.choice(_ODD)}, {Modality.RGB: 990.0}, None, 3))
    if rng.random() < 0.15:
        points = rng.choice((np.ones((5, 2), np.float32), np.full((5, 2), np.nan), *_ODD))
        words[rng.choice(("landmarks", "frame_landmarks"))] = points
    if rng.random() < 0.15:
        words["faces"] = rng.choice(
            ({Modality.IR: FaceBox(0, 0, 1, 1)}, {"x": (0, 0, 1, 1)}, *_ODD)
        )
    if rng.random() < 0.15:
        words["other_faces"] = rng.choice(([(0, 0, 1, 1)], [None], *_ODD))
    if rng.random() < 0.15:
        frame = rng.choice(("rgb", "depth", "ir"))
        words[frame] = rng.choice((np.zeros((0, 3)), np.zeros((4, 4), object), *_ODD))
    return words


def _words() -> Callable[[bytes], None]:
    """Return a parser of what options of the command line take."""
    from fasdk.errors import FasdkError
    from fasdk_tools.cli.root import parse_face, parse_landmarks, parse_modalities

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for parse in (parse_face, parse_landmarks, lambda word: parse_modalities(word, "--x")):
            try:
                parse(text)
            except FasdkError:
                continue

    return run


_NUMBER_WORDS = (
    b",",
    b"-",
    b"0",
    b"9" * 5000,
    b"1e400",
    b"nan",
    b"inf",
    b"0x1",
    b" ",
    b"\xe2\x88\x92",
)

TARGETS = (
    Target("camera", _camera, _camera_seeds, word_mutator(_CAMERA_WORDS)),
    Target("rig", _rig, _rig_seeds, mixed(mutate_json, mutate_bytes)),
    Target("policy", _policy, _policy_seeds, mixed(mutate_json, mutate_bytes)),
    Target("image", _image, _image_seeds, mutate_image),
    Target("capture", _capture, lambda: [b"%d" % n for n in range(20)], mutate_bytes),
    Target("words", _words, lambda: [b"1,2,3,4", b"rgb,ir"], word_mutator(_NUMBER_WORDS)),
)
