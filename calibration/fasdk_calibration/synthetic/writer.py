"""Many captures at once, and whole data sets on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError
from fasdk_calibration.datasets import LabelledCapture, write_captures
from fasdk_calibration.synthetic.generator import SceneSettings, Split, generate

if TYPE_CHECKING:
    from pathlib import Path

Progress = Callable[[int, int], None]  # (captures done, captures in all)

_SMALLEST = 6  # bona fide and three species unlike each other


def generate_many(
    seed: int,
    count: int,
    split: Split = Split.TRAIN,
    *,
    settings: SceneSettings | None = None,
    threads: int = 2,
) -> Iterator[LabelledCapture]:
    """Yield captures 0 to `count` - 1 of a split in order, made by `threads` threads.

    At most a few captures a thread wait in memory, however slowly they are taken.
    """
    settings = settings or SceneSettings()
    ahead = 2 * max(1, threads)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting: list[Future[LabelledCapture]] = []
        for index in range(count):
            waiting.append(pool.submit(generate, seed, index, split, settings=settings))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def split_sizes(captures: int) -> dict[Split, int]:
    """Return how many captures each split gets: three fifths train, a fifth each of the others.

    Raises:
        DatasetError: A split would hold fewer than three attacks.
    """
    fifth = captures // 5
    if fifth < _SMALLEST:
        raise DatasetError(
            f"{captures} captures are too few for {len(Split)} splits with attacks enough: "
            f"ask for at least {5 * _SMALLEST}"
        )
    return {Split.TRAIN: captures - 2 * fifth, Split.DEVELOPMENT: fifth, Split.HELD_OUT: fifth}


def write_dataset(
    out: Path,
    captures: int,
    seed: int,
    *,
    settings: SceneSettings | None = None,
    on_capture: Progress | None = None,
    threads: int = 2,
) -> dict[Split, Path]:
    """Write train, development and held-out lists of synthetic captures; no subject is in two.

    Args:
        out: Folder for `train.jsonl`, `development.jsonl`, `held-out.jsonl` and their frames.
        captures: How many in all, at least 30; see `split_sizes`.
        seed: Of the population; the same seed gives the same captures, whatever their number.
        settings: Frame size and ranges.
        on_capture: Called with the captures written and their total.
        threads: How many captures to make at a time.

    Returns:
        The list of each split.

    Raises:
        DatasetError: Too few captures, or `out` holds something else of these names.
        FasdkError: The disk is full or the folder not writable.
    """
    lists: dict[Split, Path] = {}
    done = 0
    for split, count in split_sizes(captures).items():
        base = done

        def report(written: int, base: int = base) -> None:
            if on_capture is not None:
                on_capture(base + written, captures)

        made = generate_many(seed, count, split, settings=settings, threads=threads)
        lists[split] = write_captures(made, out, split.value, report)
        done += count
    return lists
