"""Generation of many captures side by side, and of whole data sets on disk."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError
from fasdk.settings import as_choice
from fasdk_calibration.datasets import LabeledCapture, write_captures
from fasdk_calibration.synthetic.generator import Population, SceneSettings, Split, generate

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk.progress import Progress

_SMALLEST = 6  # bona fide and three species unlike each other


def generate_many(
    seed: int,
    count: int,
    split: Split | str = Split.TRAIN,
    *,
    settings: SceneSettings | None = None,
    threads: int = 2,
    workers: Executor | None = None,
) -> Iterator[LabeledCapture]:
    """Yield captures 0 to `count` - 1 of a split in order, made by `threads` threads or `workers`.

    At most a few captures a thread wait in memory, however slowly they are taken.
    """
    population = Population(seed, settings or SceneSettings())
    return generate_mixed([population], count, split, threads=threads, workers=workers)


def generate_mixed(
    populations: Sequence[Population],
    count: int,
    split: Split | str = Split.TRAIN,
    *,
    threads: int = 2,
    workers: Executor | None = None,
) -> Iterator[LabeledCapture]:
    """Yield `count` captures of several populations, which take turns, as `generate_many` does.

    Args:
        populations: Populations to take in turns.
        count: Number of captures.
        split: Split the subjects are drawn from.
        threads: Number of threads that make captures where there are no `workers`.
        workers: Threads or processes (`worker_processes`) to take instead; they are not ended.

    Raises:
        DatasetError: There is no population, or a process was killed.
        UsageError: There is no such split.
    """
    split = as_choice("split", split, Split)
    if not populations:
        raise DatasetError("no population given: name at least one")
    ahead = 2 * max(1, threads)
    with ExitStack() as stack:
        pool = workers or stack.enter_context(ThreadPoolExecutor(max(1, threads)))
        stack.enter_context(_dead_worker_named())
        waiting: list[Future[LabeledCapture]] = []
        for number in range(count):
            index, turn = divmod(number, len(populations))
            of = populations[turn]
            waiting.append(pool.submit(generate, of.seed, index, split, settings=of.settings))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


@contextmanager
def worker_processes(count: int) -> Iterator[Executor]:
    """Yield processes that make captures side by side, which threads do hardly; ended afterwards.

    A script that uses them must guard its main part by `if __name__ == "__main__"`.
    """
    # Forking would copy the locks of whatever threads the caller has.
    start = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=start, initializer=_leave_interrupts) as pool:
        yield pool


def _leave_interrupts() -> None:
    """Leave Ctrl-C, which every process of a terminal gets, to the one that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _dead_worker_named() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor as error:
        raise DatasetError(
            "a process that makes captures was ended from outside: look whether memory ran out, "
            "and run the command again"
        ) from error


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
    populations: Sequence[Population] = (),
    progress: Progress | None = None,
    look: Callable[[LabeledCapture], None] | None = None,
    threads: int = 2,
) -> dict[Split, Path]:
    """Write train, development and held-out lists of synthetic captures; no subject is in two.

    Args:
        out: Folder for `train.jsonl`, `development.jsonl`, `held-out.jsonl` and their frames.
        captures: Number of captures in all, at least 30; see `split_sizes`.
        seed: Seed of the population; the same seed gives the same captures, whatever their number.
        settings: Frame size and ranges of a population of that seed.
        populations: Populations to take instead of `seed` and `settings`, in turns.
        progress: Receiver of progress reports, in captures.
        look: Callback for each capture before it is written.
        threads: Number of threads that make captures.

    Returns:
        The list of each split.

    Raises:
        DatasetError: Too few captures, or `out` holds something else of these names.
        FasdkError: The disk is full or the folder not writable.
    """
    populations = populations or [Population(seed, settings or SceneSettings())]
    lists: dict[Split, Path] = {}
    numbers = iter(range(1, captures + 1))
    for split, count in split_sizes(captures).items():
        made = generate_mixed(populations, count, split, threads=threads)
        observed = _observed(made, look, progress, numbers, captures)
        lists[split] = write_captures(observed, out, split.value)
    return lists


def _observed(
    captures: Iterator[LabeledCapture],
    look: Callable[[LabeledCapture], None] | None,
    progress: Progress | None,
    numbers: Iterator[int],
    total: int,
) -> Iterator[LabeledCapture]:
    """Yield captures to a writer, showing each one to `look` before it is written."""
    for item in captures:
        if look is not None:
            look(item)
        yield item
        # The writer asks for the next capture when it has written this one.
        if progress is not None:
            progress.update("captures", next(numbers), total)
