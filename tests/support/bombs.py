"""Files that are none, or that claim or expand to more than they should, for every reader.

    python -m support.bombs [--reader NAME]

Each is opened in a process of its own, forked from one that has imported everything. Prints one
JSON line: the answer, the seconds, and the megabytes of resident memory above the start.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fasdk.errors import FasdkError

SECONDS_LEFT_ALONE = 20  # after which a reader is killed
ADDRESS_SPACE = 4 << 30  # above what the process has; protects the machine
GIB = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """What came of one bomb.

    Attributes:
        reader: What read it.
        bomb: What it is.
        answer: "FasdkError", "accepted", "killed" or the name of another exception.
        message: Text of the refusal.
        seconds: Wall-clock time.
        mb: Resident memory above the start, in megabytes, at its highest.
    """

    reader: str
    bomb: str
    answer: str
    message: str
    seconds: float
    mb: float


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        suffix: Ending of the names it reads.
        prepare: Imports what it needs, and returns it.
        bombs: Further bombs in its own formats: name and bytes.
    """

    suffix: str
    prepare: Callable[[], Callable[[Path], object]]
    bombs: Callable[[], dict[str, bytes]] = dict


def _bundle() -> Callable[[Path], object]:
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.trust import TrustPolicy

    def read(path: Path) -> object:
        return open_bundle(path, TrustPolicy.unsigned()).golden

    return read


def _bundle_bombs() -> dict[str, bytes]:
    from fasdk.bundle.archive import write_archive

    from support import tiny_bundle

    huge = io.BytesIO()
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rgb.npy", _npy_header("|u1", (GIB,)) + bytes(256 << 20))
    described = tiny_bundle.manifest()
    members = tiny_bundle.members(described) | {"golden/0.npz": huge.getvalue()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    described = described.model_copy(update={"members": digests})
    out = io.BytesIO()
    write_archive(out, {"manifest.json": described.to_bytes(), **members})
    return {"golden capture that expands": out.getvalue()}


def _npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    rows = zlib.compress(bytes(1 << 20))
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _image_bombs() -> dict[str, bytes]:
    import cv2

    _, encoded = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))
    jpeg = bytearray(encoded.tobytes())
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">2H", 65000, 65000)
    return {
        "PNG of 36,000 x 36,000": _png(36_000, 36_000),
        "PNG of 2^31 - 1 pixels a side": _png(2**31 - 1, 2**31 - 1),
        "JPEG of 65,000 x 65,000": bytes(jpeg),
        ".npy of 2^40 samples": _npy_header("<u2", (2**20, 2**20)),
    }


def _gzip_bomb() -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as file:
        for _ in range(1024):
            file.write(bytes(1 << 20))
    return out.getvalue()


def _score_bombs() -> dict[str, bytes]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", _npy_header("<f8", (GIB,)) + bytes(512 << 20))
    return {
        ".npz that expands": out.getvalue(),
        ".npy of 2^40 numbers": _npy_header("<f8", (2**40,)),
        "gzip that expands": _gzip_bomb(),
    }


def _onnx_bombs() -> dict[str, bytes]:
    from onnx import TensorProto, helper

    def model(dims: list[int]) -> bytes:
        weight = TensorProto(dims=dims, data_type=TensorProto.INT64, raw_data=bytes(8), name="w")
        nodes = [helper.make_node("Identity", ["w"], ["y"])]
        out = helper.make_tensor_value_info("y", TensorProto.INT64, None)
        graph = helper.make_graph(nodes, "g", [], [out], [weight])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(made.SerializeToString())

    return {"extents of 2^31": model([2**31]), "negative extents": model([-2, 3, 3, 3])}


def _checkpoint_bombs() -> dict[str, bytes]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(512 << 20))
    head = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    return {
        "zip that expands": out.getvalue(),
        "safetensors of 2^40 numbers": struct.pack("<Q", len(head)) + head,
    }


def _of(module: str, name: str) -> Callable[[], Callable[[Path], object]]:
    def prepare() -> Callable[[Path], object]:
        import importlib

        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)
        return found

    return prepare


def _frame() -> Callable[[Path], object]:
    from fasdk.capture import Modality
    from fasdk.frames import read_frame

    return lambda path: read_frame(path, Modality.RGB)


def _onnx() -> Callable[[Path], object]:
    from fasdk_engines.onnx_import.draft import draft_description
    from fasdk_engines.onnx_import.onnx_file import read_onnx_file

    return lambda path: draft_description(read_onnx_file(path))


READERS: dict[str, Reader] = {
    "bundle": Reader(".fasb", _bundle, _bundle_bombs),
    "public key": Reader(".pub", _of("fasdk.bundle.trust", "TrustPolicy.from_files")),
    "frame": Reader(".png", _frame, _image_bombs),
    "capture list": Reader(
        ".jsonl",
        _of("fasdk_calibration.datasets.capture_list", "read_capture_list"),
        lambda: {"gzip that expands": _gzip_bomb()},
    ),
    "benchmark list": Reader(
        ".txt.gz",
        _of("fasdk_calibration.datasets.benchmark_list", "read_benchmark_list"),
        lambda: {"gzip that expands": _gzip_bomb()},
    ),
    "replay": Reader(".jsonl", _of("fasdk.cameras.replay", "ReplayCamera")),
    "scores": Reader(".csv", _of("fasdk_calibration.metrics", "read_scores"), _score_bombs),
    "rig": Reader(".json", _of("fasdk.registration", "Rig.load")),
    "description": Reader(
        ".toml", _of("fasdk_engines.onnx_import.description", "read_description")
    ),
    "checkpoint": Reader(
        ".pth", _of("fasdk_engines.models.checkpoint", "load_checkpoint"), _checkpoint_bombs
    ),
    "ONNX file": Reader(".onnx", _onnx, _onnx_bombs),
}


@contextmanager
def bombs_in(folder: Path, reader: Reader) -> Iterator[dict[str, Path]]:
    """Yield every bomb of a reader by name, laid out in a folder."""
    made: dict[str, Path] = {}

    def place(name: str) -> Path:
        made[name] = folder / f"bomb{len(made)}{reader.suffix}"
        return made[name]

    os.mkfifo(place("FIFO"))
    place("link to /dev/zero").symlink_to("/dev/zero")
    place("folder").mkdir()
    zeros = place("4 GiB of zeros")
    with zeros.open("wb") as file:
        file.truncate(4 * GIB - 1)
    for name, data in reader.bombs().items():
        place(name).write_bytes(data)
    yield made


def try_bomb(read: Callable[[Path], object], path: Path) -> tuple[str, str, float, float]:
    """Read a bomb in a forked process; return answer, message, seconds and megabytes."""
    from_child, to_parent = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(from_child)
        os.write(to_parent, json.dumps(_read_here(read, path)).encode()[:60_000])
        os._exit(0)
    os.close(to_parent)
    with os.fdopen(from_child, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if not said:
        return "killed", f"wait status {status}", float(SECONDS_LEFT_ALONE), 0.0
    answer, message, seconds, mb = json.loads(said)
    return answer, message, seconds, mb


def _read_here(read: Callable[[Path], object], path: Path) -> tuple[str, str, float, float]:
    signal.alarm(SECONDS_LEFT_ALONE)
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + ADDRESS_SPACE, here + ADDRESS_SPACE))
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident memory begins anew
    before, start = _peak_kb(), time.perf_counter()
    answer, message = "accepted", ""
    try:
        read(path)
    except FasdkError as error:
        answer, message = "FasdkError", str(error)[:200]
    except BaseException as error:  # noqa: BLE001 - reported
        answer, message = type(error).__name__, str(error)[:200]
    took = time.perf_counter() - start
    return answer, message, round(took, 3), round((_peak_kb() - before) / 1024, 1)


def _peak_kb() -> int:
    text = Path("/proc/self/status").read_text("utf-8")
    return int(text.split("VmHWM:")[1].split()[0])


def try_reader(name: str) -> list[Outcome]:
    """Return what came of every bomb of a reader."""
    reader = READERS[name]
    read = reader.prepare()
    with tempfile.TemporaryDirectory() as folder:
        try:  # imports what is imported on use
            warm = Path(folder) / f"warm{reader.suffix}"
            warm.write_bytes(b"nothing")
            read(warm)
        except FasdkError:
            pass
        with bombs_in(Path(folder), reader) as bombs:
            return [Outcome(name, bomb, *try_bomb(read, path)) for bomb, path in bombs.items()]


def main() -> None:
    """Try every reader, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=READERS)
    chosen = parser.parse_args().reader
    found = [row for name in ([chosen] if chosen else READERS) for row in try_reader(name)]
    print(json.dumps({"bombs": [asdict(row) for row in found]}))


if __name__ == "__main__":
    sys.exit(main())
