"""Endurance run of a bundle: answers under faults, swaps and bad captures, held to a reference."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.backends.registry import open_engine
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.decision import MissingModalities, Verdict
from fasdk.errors import FasdkError, UsageError
from fasdk.reasons import Reason
from fasdk.session.session import Liveness
from fasdk_tools.diagnostics.faulty_engine import FaultPlan, FaultyEngine, LyingEngine, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.backends.engine import Backend, Engine
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.decision import Decision

_CALLERS = 4
_STALE_MS = 60_000.0
_REFERENCE_MS = 600_000.0  # the deadline of an answer of the reference
# Answers to a capture that meets no fault itself, but a lane that another one's fault holds up.
_HELD_UP = {Reason.DEADLINE, Reason.ENGINE_FAULT}


@dataclass(frozen=True)
class SoakSettings:
    """Settings of an endurance run.

    Attributes:
        seconds: Length of the run, warm-up included.
        level: Security level of the decisions.
        fault_share: Share of the engine calls that fail, in [0, 1].
        swap_every_s: Seconds between two swaps; each third, from the first on, is to an engine that
            lies.
        deadline_ms: Deadline of an answer, in milliseconds. One after twice this time counts as
            late: the threads of a machine under load wake up late.
        max_drift: Largest growth of the resident memory after warm-up, as a share of it.
        warmup_share: Share of the run that is warm-up.
    """

    seconds: float
    level: str = "standard"
    fault_share: float = 0.05
    swap_every_s: float = 10.0
    deadline_ms: float = 1000.0
    max_drift: float = 0.01
    warmup_share: float = 0.25


@dataclass(frozen=True)
class ProcessUse:
    """What the process holds while no capture is under way.

    Attributes:
        rss_mb: Resident memory, in megabytes of 1,000,000 bytes, without freed memory that the C
            library keeps for later use: where glibc tells it to return that, it is returned first.
        threads: Number of threads.
        descriptors: Number of open file descriptors.
    """

    rss_mb: float
    threads: int
    descriptors: int


@dataclass
class SoakCounts:
    """Answers so far; each list holds the first misses of a kind in words.

    Attributes:
        answers: Number of answers.
        verdicts: Number of answers by verdict.
        faulted: Number of answers to captures on which an engine call failed.
        held_up: Number of ERROR answers to captures that waited for a lane with a fault.
        swaps: Number of swaps.
        refused_swaps: Number of swaps to an engine that lies, all refused.
        longest_ms: Longest time to an answer, in milliseconds.
        wrong: Answers that differ from the reference.
        live_on_fault: LIVE answers to captures on which an engine call failed.
        late: Answers after twice the deadline.
        failed_swaps: Swaps that failed and should not have, or the other way round.
    """

    answers: int = 0
    verdicts: dict[str, int] = field(default_factory=lambda: {v.value: 0 for v in Verdict})
    faulted: int = 0
    held_up: int = 0
    swaps: int = 0
    refused_swaps: int = 0
    longest_ms: float = 0.0
    wrong: list[str] = field(default_factory=list)
    live_on_fault: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    failed_swaps: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SoakResult:
    """Result of an endurance run.

    Attributes:
        seconds: Measured length.
        counts: Answers and misses.
        injected: Number of engine calls that were made to fail.
        before: What the process held after warm-up.
        after: What it held at the end.
        drift: Growth of the resident memory between the two, as a share.
        misses: What went wrong, one line each; empty for a run that passed.
    """

    seconds: float
    counts: SoakCounts
    injected: int
    before: ProcessUse
    after: ProcessUse
    drift: float
    misses: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong."""
        return not self.misses


@dataclass(frozen=True, eq=False)
class _Item:
    """Capture with its reference.

    Attributes:
        name: Description for messages.
        make: Function that returns the capture, or what is none; a stale one is made anew each
            time.
        digest: Digest of its input rows; empty where no engine sees it.
        expected: Decision without any fault.
    """

    name: str
    make: Callable[[], Any]
    digest: bytes
    expected: Decision


def soak(
    path: Path,
    captures: Sequence[Capture],
    settings: SoakSettings,
    *,
    backend: Backend | None,
    trust: TrustPolicy,
    on_progress: Callable[[float], None] = lambda _: None,
) -> SoakResult:
    """Run a bundle under faults for a time and hold every answer to a run without any.

    Four threads ask in turn for captures as they are, with a modality less, and unusable ones,
    while engine calls fail and bundles are swapped.

    Args:
        path: Bundle file.
        captures: Captures besides the bundle's golden ones.
        settings: Length, faults and limits.
        backend: Backend to run on; None chooses.
        trust: Signatures required of the bundle.
        on_progress: Callback that receives the share of the run that is over, in [0, 1].

    Raises:
        UsageError: The bundle scores none of the captures.
        FasdkError: The bundle cannot be opened.
    """
    bundle = open_bundle(path, trust)
    whole = [item.capture for item in bundle.golden] + list(captures)
    plan = FaultPlan(settings.fault_share, late_s=1.5 * settings.deadline_ms / 1e3)

    def load(opened: Bundle) -> Engine:
        return open_engine(opened, backend)

    def session(engine: Engine, loader: Callable[[Bundle], Engine], deadline_ms: float) -> Liveness:
        return Liveness(
            bundle,
            engine,
            settings.level,
            batching=BatchingPolicy(max_batch=1, deadline_ms=deadline_ms),
            missing=MissingModalities.DEGRADE,
            trust=trust,
            loader=loader,
        )

    with session(load(bundle), load, _REFERENCE_MS) as reference:
        items = _items(reference, whole)
    if not any(item.digest for item in items):
        raise UsageError(
            f"{path}: none of {len(whole)} captures is scored at level {settings.level!r}: give "
            "captures of its modalities with --captures"
        )
    run = _Run(settings, items, plan)
    started_s = time.monotonic()

    def loader(opened: Bundle) -> Engine:
        kind = LyingEngine if run.next_swap_lies else FaultyEngine
        return kind(load(opened), plan)

    with session(FaultyEngine(load(bundle), plan), loader, settings.deadline_ms) as door:
        door.start()
        warmup_s = settings.seconds * settings.warmup_share
        run.ask(door, warmup_s, lambda s: on_progress(s / settings.seconds))
        before = _quiet_use(settings)
        run.ask(
            door,
            settings.seconds - warmup_s,
            lambda s: on_progress((warmup_s + s) / settings.seconds),
        )
        after = _quiet_use(settings)
    drift = after.rss_mb / before.rss_mb - 1.0
    return SoakResult(
        seconds=time.monotonic() - started_s,
        counts=run.counts,
        injected=plan.injected,
        before=before,
        after=after,
        drift=drift,
        misses=tuple(_misses(run.counts, before, after, drift, settings)),
    )


class _Run:
    """Callers and swaps of one run, and what they count."""

    def __init__(self, settings: SoakSettings, items: Sequence[_Item], plan: FaultPlan) -> None:
        self._settings = settings
        self._items = items
        self._plan = plan
        self._lock = threading.Lock()  # of the counts
        self.counts = SoakCounts()
        self.next_swap_lies = False

    def ask(self, door: Liveness, seconds: float, on_progress: Callable[[float], None]) -> None:
        """Ask from several threads and swap, for a time."""
        enough = threading.Event()
        # Captures of one thread alone, so that a fault on an input is one on its answer.
        shares = [self._items[n::_CALLERS] for n in range(_CALLERS)]
        threads = [
            threading.Thread(target=self._call, args=(door, share, enough), daemon=True)
            for share in shares
            if share
        ]
        start_s = time.monotonic()
        swap_s = start_s + self._settings.swap_every_s
        for thread in threads:
            thread.start()
        try:
            while (now_s := time.monotonic()) < start_s + seconds:
                on_progress(now_s - start_s)
                if now_s >= swap_s:
                    self._swap(door)
                    swap_s = time.monotonic() + self._settings.swap_every_s
                time.sleep(min(0.2, max(0.0, start_s + seconds - now_s)))
        finally:
            enough.set()
        for thread in threads:
            thread.join(10 * self._settings.deadline_ms / 1e3 + 60)
            if thread.is_alive():
                self.counts.late.append("a caller still waits for its answer")

    def _swap(self, door: Liveness) -> None:
        counts = self.counts
        self.next_swap_lies = (counts.swaps + counts.refused_swaps) % 3 == 0
        try:
            door.swap(door.bundle)
        except FasdkError as error:
            if self.next_swap_lies:
                counts.refused_swaps += 1
            else:
                counts.failed_swaps.append(f"a swap failed: {error}")
            return
        if self.next_swap_lies:
            counts.failed_swaps.append("an engine that lies was swapped in")
        counts.swaps += 1

    def _call(self, door: Liveness, items: Sequence[_Item], enough: threading.Event) -> None:
        while not enough.is_set():
            for item in items:
                self._ask_one(door, item)
                if enough.is_set():
                    return

    def _ask_one(self, door: Liveness, item: _Item) -> None:
        capture = item.make()
        start_s = time.monotonic()
        found = door.check(capture)
        spent_ms = (time.monotonic() - start_s) * 1e3
        is_faulted = bool(item.digest) and self._plan.take(item.digest)
        with self._lock:
            counts = self.counts
            counts.answers += 1
            counts.verdicts[found.verdict.value] += 1
            counts.faulted += is_faulted
            counts.longest_ms = max(counts.longest_ms, spent_ms)
            if spent_ms > 2 * self._settings.deadline_ms:
                counts.late.append(f"{item.name}: {spent_ms:.0f} ms")
            if is_faulted:
                if found.is_live:
                    counts.live_on_fault.append(f"{item.name}: LIVE, score {found.score:.6f}")
            elif item.digest and found.verdict is Verdict.ERROR and _HELD_UP & set(found.codes):
                counts.held_up += 1
            elif (difference := _difference(found, item.expected)) is not None:
                counts.wrong.append(f"{item.name}: {difference}")


def _difference(found: Decision, expected: Decision) -> str | None:
    """Return how an answer differs from the reference, or None."""
    if (found.verdict, found.codes) != (expected.verdict, expected.codes):
        return (
            f"{found.verdict.value} ({', '.join(found.codes) or 'no code'}), the reference "
            f"{expected.verdict.value} ({', '.join(expected.codes) or 'no code'})"
        )
    if math.isnan(found.score) and math.isnan(expected.score):
        return None
    if not math.isclose(found.score, expected.score, abs_tol=1e-4):
        return f"score {found.score:.6f}, the reference {expected.score:.6f}"
    return None


def _items(reference: Liveness, whole: Sequence[Capture]) -> list[_Item]:
    """Return every kind of capture with its reference decision."""
    items: list[_Item] = []
    seen: set[bytes] = set()

    def add(name: str, make: Callable[[], Any]) -> None:
        capture = make()
        expected = reference.check(capture)
        digest = b""
        if capture is not None and expected.timings_ms["engine"] > 0:
            digest = _digest(reference.bundle, capture)
            if digest in seen:  # two threads must not ask for one input
                return
            seen.add(digest)
        items.append(_Item(name, make, digest, expected))

    for number, capture in enumerate(whole):
        add(f"capture {number}", lambda c=capture: c)  # type: ignore[misc]
        for modality in capture.present:
            if len(capture.present) > 1:
                less = _without(capture, modality)
                add(f"capture {number} without {modality.value}", lambda c=less: c)  # type: ignore[misc]
        add(f"capture {number}, stale", lambda c=capture: _stale(c))  # type: ignore[misc]
        add("no capture", lambda: None)
    return items


def _digest(bundle: Bundle, capture: Capture) -> bytes:
    from fasdk.preprocess import to_batch

    manifest = bundle.manifest
    rows = to_batch([capture], manifest.inputs, manifest.presence_order)
    return digest_of({name: value[0] for name, value in rows.items()})


def _without(capture: Capture, modality: Modality) -> Capture:
    nothing: dict[str, Any] = {modality.value: None, "taken_ms": {}}
    return replace(capture, **nothing, faces={}, frame_landmarks={})


def _stale(capture: Capture) -> Capture:
    taken_ms = dict.fromkeys(capture.present, monotonic_ms() - _STALE_MS)
    return replace(capture, taken_ms=taken_ms)


def _quiet_use(settings: SoakSettings) -> ProcessUse:
    """Return what the process holds once late engine calls and short-lived threads have ended."""
    end_s = time.monotonic() + 5.0 + 4 * settings.deadline_ms / 1e3
    time.sleep(2 * settings.deadline_ms / 1e3)
    before = process_use()
    while time.monotonic() < end_s:
        time.sleep(0.5)
        now = process_use()
        if (now.threads, now.descriptors) == (before.threads, before.descriptors):
            return now
        before = now
    return before


def _return_freed_memory() -> None:
    """Have glibc return freed memory to the system; elsewhere do nothing.

    What it keeps goes up and down by several percent with the threads' timing, which hides a leak
    and looks like one.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def process_use() -> ProcessUse:
    """Return what the process holds now, garbage collected and freed memory returned."""
    gc.collect()
    _return_freed_memory()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return ProcessUse(
        rss_mb=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        threads=sum(1 for _ in Path("/proc/self/task").iterdir()),
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
    )


def _misses(
    counts: SoakCounts,
    before: ProcessUse,
    after: ProcessUse,
    drift: float,
    settings: SoakSettings,
) -> list[str]:
    kinds = (
        ("answers differ from the reference", counts.wrong),
        ("LIVE on a capture whose engine call failed", counts.live_on_fault),
        ("answers after twice the deadline", counts.late),
        ("swaps went wrong", counts.failed_swaps),
    )
    found = [f"{len(all_)} {what}, first: {all_[0]}" for what, all_ in kinds if all_]
    if not any(counts.verdicts[v.value] for v in (Verdict.LIVE, Verdict.SPOOF)):
        found.append("no capture was scored")
    if drift > settings.max_drift:
        found.append(
            f"resident memory grew by {drift:.2%} after warm-up, from {before.rss_mb:.1f} to "
            f"{after.rss_mb:.1f} MB; at most {settings.max_drift:.2%} is allowed"
        )
    for name in ("threads", "descriptors"):
        first, last = getattr(before, name), getattr(after, name)
        if first != last:
            found.append(f"{name} went from {first} to {last}")
    return found
