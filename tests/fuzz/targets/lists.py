"""Targets of lists of captures, replays and score files."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from functools import cache

import numpy as np

from fuzz.bytes_mutation import mutate_bytes, word_mutator
from fuzz.json_mutation import mutate_json, mutate_json_lines
from fuzz.scratch import scratch_folder
from fuzz.target import Mutator, Target, mixed, on_file, rewriter

_WORDS = (
    b",",
    b"\t",
    b";",
    b"\n",
    b"\r\n",
    b'"',
    b"0",
    b"1",
    b"-1",
    b"nan",
    b"1e999",
    b"../",
    b"/",
)
_WORDS += (
    b"rgb",
    b"depth",
    b"ir",
    b"label",
    b"face",
    b"score",
    b"live",
    b"attack",
    b"\xef\xbb\xbf",
)
_WORDS += (b"\0", b"\xff", b"[", b"{", b"#", b"print", b"subject", b"species", b"level", b"inf")


@cache
def _frame_folder() -> None:
    """Put frames beside the list, so that its lines name files that exist."""
    import cv2

    folder = scratch_folder()
    cv2.imwrite(str(folder / "a.png"), np.full((24, 32, 3), 120, np.uint8))
    cv2.imwrite(str(folder / "d.png"), np.full((24, 32), 500, np.uint16))
    cv2.imwrite(str(folder / "i.png"), np.full((24, 32), 90, np.uint8))


def _rows() -> list[dict[str, object]]:
    return [
        {
            "id": f"c{number}",
            "rgb": "a.png",
            "depth": "d.png",
            "ir": "i.png",
            "label": ("bona fide", "attack")[number % 2],
            "species": ("none", "print")[number % 2],
            "subject": f"s{number}",
            "presentation": f"p{number}",
            "face": [4, 3, 20, 15],
        }
        for number in range(2)
    ]


def _json_lines() -> list[bytes]:
    return ["\n".join(map(json.dumps, _rows())).encode(), json.dumps(_rows()).encode()]


def _tables() -> list[bytes]:
    head = "# fasdk: live_label=1\nrgb,depth,ir,label,x,y,w,h\n"
    rows = "".join(f"a.png,d.png,i.png,{n % 2},4,3,20,15\n" for n in range(2))
    bare = "a.png 1\nd.png 0\n"
    return [(head + rows).encode(), (head + rows).replace(",", "\t").encode(), bare.encode()]


def _benchmark() -> list[bytes]:
    line = b"set/C/real/1/rgb.jpg set/C/real/1/depth.jpg set/C/real/1/ir.jpg 1\n"
    return [
        line,
        line + line.replace(b" 1", b" 0"),
        b"a/profile/1.jpg b/depth/1.jpg c/ir/1.jpg 0\n",
    ]


def _read_list() -> Callable[[bytes], None]:
    from fasdk_calibration.datasets.capture_list import read_capture_list

    _frame_folder()
    return on_file(read_capture_list, ".lst")


def _read_benchmark() -> Callable[[bytes], None]:
    from fasdk_calibration.datasets.benchmark_list import read_benchmark_list

    return on_file(read_benchmark_list, ".txt")


def _read_gzip() -> Callable[[bytes], None]:
    from fasdk_calibration.datasets.benchmark_list import read_benchmark_list
    from fasdk_calibration.datasets.capture_list import read_capture_list

    benchmark = on_file(read_benchmark_list, ".txt.gz")
    any_list = on_file(read_capture_list, ".lst.gz")

    def run(data: bytes) -> None:
        from fasdk.errors import FasdkError

        try:
            benchmark(data)
        except FasdkError:
            any_list(data)

    return run


def _zipped(inner: Mutator) -> Mutator:
    """Return a mutator of gzip files that mostly changes what they hold."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return mutate_bytes(data, rng)
        try:
            text = gzip.decompress(data)
        except (OSError, EOFError, ValueError, gzip.zlib.error):
            return mutate_bytes(data, rng)
        return gzip.compress(inner(text[: 1 << 16], rng), 1, mtime=0)

    return mutate


def _replay() -> Callable[[bytes], None]:
    from fasdk.cameras.replay import ReplayCamera
    from fasdk.errors import BadCaptureError, EndOfStreamError

    _frame_folder()
    write = rewriter(scratch_folder() / "replayed.jsonl")

    def run(data: bytes) -> None:
        path = write(data)
        camera = ReplayCamera(path)
        for _ in range(6):
            try:
                camera.read()
            except BadCaptureError:
                continue
            except EndOfStreamError:
                break

    return run


def _scores(suffix: str) -> Callable[[], Callable[[bytes], None]]:
    def prepare() -> Callable[[bytes], None]:
        from fasdk_calibration.metrics import read_scores

        return on_file(read_scores, suffix)

    return prepare


def _score_tables() -> list[bytes]:
    head = "path,score,label,species\n"
    rows = "".join(f"set/{n:06d}.png,0.{n},{n % 2},print\n" for n in range(4))
    lines = "".join(json.dumps({"score": n / 9, "label": n % 2}) + "\n" for n in range(4))
    return [(head + rows).encode(), rows.encode(), lines.encode()]


def _score_arrays() -> list[bytes]:
    import io

    rng = np.random.default_rng(0)
    scores, labels = rng.random(8), np.arange(8) % 2
    both, table = io.BytesIO(), io.BytesIO()
    np.savez(both, scores=scores, labels=labels)
    np.save(table, np.stack([scores, labels], axis=1))
    return [both.getvalue(), table.getvalue()]


def _mutate_arrays(data: bytes, rng: random.Random) -> bytes:
    from fuzz.targets.bundles import mutate_npz

    return mutate_npz(data, rng) if data[:2] == b"PK" else mutate_bytes(data, rng)


TARGETS = (
    Target("list-json", _read_list, _json_lines, mixed(mutate_json_lines, mutate_json)),
    Target("list-table", _read_list, _tables, word_mutator(_WORDS)),
    Target("list-benchmark", _read_benchmark, _benchmark, word_mutator(_WORDS)),
    Target(
        "list-gzip",
        _read_gzip,
        lambda: [gzip.compress(each, mtime=0) for each in (*_benchmark(), *_tables())],
        _zipped(word_mutator(_WORDS)),
    ),
    Target("replay", _replay, _json_lines, mixed(mutate_json_lines, mutate_bytes)),
    Target("scores-text", _scores(".csv"), _score_tables, word_mutator(_WORDS)),
    Target("scores-array", _scores(".npz"), _score_arrays, _mutate_arrays),
)
