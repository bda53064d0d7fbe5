"""Faults through every entry point: a named answer in time, never LIVE, then recovery."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy, WhenFull
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.capture_loop import run_captures
from fasdk.decision import Verdict
from fasdk.errors import BackendError, CameraError, CaptureError
from fasdk.preprocess import CropRule
from fasdk.quality import QualityLimits
from fasdk.reasons import Reason
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy

from support import tiny_bundle
from support.scripted_camera import ScriptedCamera
from support.scripted_engine import FakeEngine, live

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR
ERROR, RETRY, LIVE = Verdict.ERROR, Verdict.RETRY, Verdict.LIVE
FACE = FaceBox(110, 70, 100, 110)
# No answer may take longer, the deadline and a slow machine included.
DEADLINE_MS, BOUND_S = 1_000.0, 10.0  # a busy machine takes half of the first


def frames():
    """Return what a sound rig sees: a textured face at half a meter before a wall."""
    rng = np.random.default_rng(7)
    depth = np.full((240, 320), 1400, np.uint16) + rng.integers(0, 9, (240, 320), np.uint16)
    person = (slice(60, 200), slice(100, 220))
    depth[person] -= 900
    depth[person] -= (30 * np.outer(np.hanning(140), np.hanning(120))).astype(np.uint16)
    rgb = rng.integers(20, 66, (240, 320, 3), np.uint8)
    rgb[person] *= 3
    return {"rgb": rgb, "depth": depth, "ir": rgb[..., 0].copy()}


def taken(**late_ms):
    """Return `taken_ms` of a capture made now; `rgb=80` makes RGB 80 ms older."""
    now_ms = time.monotonic() * 1000
    return {m: now_ms - late_ms.get(m.value, 0.0) for m in Modality}


def good():
    return Capture(**frames(), face=FACE, taken_ms=taken())


def unchecked(**fields):
    """Return a capture that was never checked, as one whose frames were put in later."""
    capture = object.__new__(Capture)
    for name, value in (vars(good()) | fields).items():
        object.__setattr__(capture, name, value)
    return capture


class Door:
    """A session on a scripted engine: one lane, one place in the queue, every gate on."""

    def __init__(self, bundle):
        self.engine = FakeEngine(live)
        self.session = Liveness(
            bundle,
            self.engine,
            limits=QualityLimits(max_age_ms=20_000),  # longer than any pause of a busy machine
            batching=BatchingPolicy(
                lanes=1,
                max_batch=1,
                queue_limit=1,
                when_full=WhenFull.REJECT,
                deadline_ms=DEADLINE_MS,
            ),
        ).start()


def by_check(door, capture):
    return door.session.check(capture)


def by_submit(door, capture):
    return door.session.submit(capture).result(timeout=BOUND_S)


def by_run(door, item):
    (outcome,) = run_captures(ScriptedCamera(item), by_track(door), sleep=lambda _: None)
    return outcome.decision


def by_track(door):
    """Return the door's track, for which one good frame is enough, as `fasdk run` has one."""
    return door.session.track(
        "door", TrackPolicy(frames_required=1, attempts=None, remembered_frames=0)
    )


WAYS = {"check": by_check, "submit": by_submit, "run": by_run}


def bounded(function, *arguments):
    """Return what a call returns; one that takes longer than BOUND_S fails the test."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(function, *arguments).result(timeout=BOUND_S)
    finally:
        pool.shutdown(wait=False)


@contextmanager
def nothing(_door):
    yield


def engine_that(answer):
    """Return an arrangement under which every engine call answers, or raises, this."""

    @contextmanager
    def arranged(door):
        door.engine.answer = answer
        yield
        door.engine.answer = live

    return arranged


@contextmanager
def hanging(door):
    """The engine does not come back until the fault is over."""
    go = threading.Event()

    def hang(size):
        go.wait(BOUND_S)
        return live(size)

    door.engine.answer = hang
    yield
    door.engine.answer = live
    go.set()


@contextmanager
def busy(door):
    """One capture is in the engine, where it stays; yields what lets it go."""
    go, entered = threading.Event(), threading.Event()

    def work(size):
        entered.set()
        go.wait(BOUND_S)
        return live(size)

    door.engine.answer = work
    first = door.session.submit(good())
    assert entered.wait(BOUND_S)
    try:
        yield
    finally:
        door.engine.answer = live
        go.set()
        assert first.result(timeout=BOUND_S).verdict in {LIVE, ERROR}


@contextmanager
def full_queue(door):
    with busy(door):
        waiting = door.session.submit(good())
        yield
    assert waiting.result(timeout=BOUND_S).verdict in {LIVE, ERROR}


@contextmanager
def closing(door):
    """Somebody closes the session while a capture is in the engine."""
    with busy(door):
        closer = threading.Thread(target=door.session.close)
        closer.start()
        deadline = time.monotonic() + BOUND_S
        while not door.session._closed:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        yield
    closer.join(BOUND_S)
    assert not closer.is_alive()


def outputs(logits, reliability=0.5, dtype=np.float32):
    """Return an engine's answer to any batch."""
    return lambda size: EngineOutputs(
        np.tile(np.array(logits, dtype), (size, 1)), np.full((size, 3), reliability, np.float32)
    )


@dataclass(frozen=True)
class Fault:
    """A row of the table: what is wrong, and the only right answer.

    Attributes:
        name: Name of the fault.
        verdict: RETRY where the person or the next frame can fix it, else ERROR.
        code: First reason code of the answer.
        item: Makes the capture, or the exception the camera raises.
        arranged: Function of the entry point that sets up the rest of the fault.
        bundle: Changes of the tiny bundle.
        ways: Entry points where it can happen.
        final: Whether the session is over afterwards, as it was asked to.
    """

    name: str
    verdict: Verdict
    code: Reason
    item: object = good
    arranged: object = nothing
    bundle: dict = field(default_factory=dict)
    ways: tuple = tuple(WAYS)
    final: bool = False


def bad_frame(name, **fields):
    """Return a row for frames that `Capture` refuses, handed in past it."""
    return Fault(name, ERROR, Reason.BAD_CAPTURE, lambda: unchecked(**fields))


SOUND = frames()
METERS = (SOUND["depth"] / 1000.0).astype(np.float32)
HOLED = np.where(SOUND["depth"] > 1000, np.nan, METERS).astype(np.float32)
REFUSED_BY_CAPTURE = [
    bad_frame("rgb as float", rgb=SOUND["rgb"].astype(np.float32)),
    bad_frame("rgb without color", rgb=SOUND["ir"]),
    bad_frame("rgb with four channels", rgb=np.dstack([SOUND["rgb"], SOUND["ir"]])),
    bad_frame("rgb as a list", rgb=[[1, 2, 3]]),
    bad_frame("ir in 16 bits", ir=SOUND["ir"].astype(np.uint16)),
    bad_frame("ir in color", ir=SOUND["rgb"]),
    bad_frame("depth as 32-bit whole numbers", depth=SOUND["depth"].astype(np.int32)),
    bad_frame("depth in meters", depth=METERS),
    bad_frame("depth with NaN", depth=HOLED),
    bad_frame("depth with NaN in millimeters", depth=HOLED * 1000),
    bad_frame("empty rgb", rgb=np.zeros((0, 320, 3), np.uint8)),
    bad_frame("empty depth", depth=np.zeros((240, 0), np.uint16)),
    bad_frame("empty ir", ir=np.zeros((0, 0), np.uint8)),
    bad_frame("no frame at all", rgb=None, depth=None, ir=None),
    bad_frame("a face outside the frame", face=FaceBox(300, 70, 100, 110)),
]


def meters(door_frames):
    """Return frames whose depth is meters, rounded into whole numbers."""
    return door_frames | {"depth": np.rint(door_frames["depth"] / 1000.0).astype(np.uint16) + 1}


def cropped_to_the_face():
    """Return the tiny bundle's inputs, each cropped to the face."""
    inputs = tiny_bundle.manifest().inputs
    return {m: spec.model_copy(update={"crop": CropRule.FACE}) for m, spec in inputs.items()}


def blank(name):
    return lambda: replace(good(), **{name: np.zeros_like(frames()[name])})


FAULTS = [
    *REFUSED_BY_CAPTURE,
    Fault(
        "depth in whole meters",
        ERROR,
        Reason.DEPTH_UNITS,
        lambda: Capture(**meters(frames()), face=FACE, taken_ms=taken()),
    ),
    Fault("a black rgb frame", RETRY, Reason.NO_IMAGE, blank("rgb")),
    Fault("a depth frame without depth", RETRY, Reason.NO_IMAGE, blank("depth")),
    Fault("a black ir frame", RETRY, Reason.NO_IMAGE, blank("ir")),
    Fault("nobody there", RETRY, Reason.NO_FACE, lambda: replace(good(), face=None)),
    Fault(
        "nobody there, to a model that crops to the face",
        RETRY,
        Reason.NO_FACE,
        lambda: replace(good(), face=None),
        bundle={"inputs": cropped_to_the_face()},
    ),
    Fault(
        "a required modality is absent",
        RETRY,
        Reason.MODALITY_MISSING,
        lambda: replace(good(), rgb=None),
    ),
    Fault(
        "stale",
        RETRY,
        Reason.STALE,
        lambda: replace(good(), taken_ms=taken(rgb=60_000, depth=60_000, ir=60_000)),
    ),
    Fault("of the future", RETRY, Reason.STALE, lambda: replace(good(), taken_ms=taken(rgb=-5000))),
    Fault(
        "time is NaN",
        RETRY,
        Reason.STALE,
        lambda: replace(good(), taken_ms=dict.fromkeys(Modality, float("nan"))),
    ),
    Fault("skewed", RETRY, Reason.OUT_OF_STEP, lambda: replace(good(), taken_ms=taken(ir=120))),
    Fault("no operating point", ERROR, Reason.NO_OPERATING_POINT, bundle={"operating_points": ()}),
    Fault(
        "camera unplugged",
        ERROR,
        Reason.CAMERA,
        lambda: CameraError("the camera was unplugged"),
        ways=("run",),
    ),
    Fault(
        "camera driver fails",
        ERROR,
        Reason.CAMERA,
        lambda: RuntimeError("USB transfer failed"),
        ways=("run",),
    ),
    Fault(
        "camera hands in frames that Capture refuses",
        ERROR,
        Reason.BAD_CAPTURE,
        lambda: CaptureError("depth is float32, expected uint16 in millimeters"),
        ways=("run",),
    ),
    Fault(
        "engine raises its own error",
        ERROR,
        Reason.ENGINE_FAULT,
        arranged=engine_that(BackendError("the device is lost")),
    ),
    Fault(
        "engine raises anything",
        ERROR,
        Reason.UNEXPECTED,
        arranged=engine_that(ZeroDivisionError("division by zero")),
    ),
    Fault(
        "engine runs out of memory",
        ERROR,
        Reason.UNEXPECTED,
        arranged=engine_that(MemoryError()),
    ),
    Fault("engine hangs", ERROR, Reason.DEADLINE, arranged=hanging),
    Fault(
        "engine returns NaN",
        ERROR,
        Reason.NOT_FINITE,
        arranged=engine_that(outputs([0.0, np.nan])),
    ),
    Fault(
        "engine returns infinity for live",
        ERROR,
        Reason.NOT_FINITE,
        arranged=engine_that(outputs([0.0, np.inf])),
    ),
    Fault(
        "engine returns NaN reliability",
        ERROR,
        Reason.NOT_FINITE,
        arranged=engine_that(outputs([0.0, 9.0], reliability=np.nan)),
    ),
    Fault(
        "engine returns one logit",
        ERROR,
        Reason.ENGINE_FAULT,
        arranged=engine_that(outputs([9.0])),
    ),
    Fault(
        "engine returns whole numbers",
        ERROR,
        Reason.ENGINE_FAULT,
        arranged=engine_that(outputs([0, 9], dtype=np.int64)),
    ),
    Fault("engine returns nothing", ERROR, Reason.UNEXPECTED, arranged=engine_that(lambda _: None)),
    Fault("queue overrun", ERROR, Reason.QUEUE_FULL, arranged=full_queue),
    Fault("close during load", ERROR, Reason.CLOSED, arranged=closing, final=True),
]

TABLE = [pytest.param(f, way, id=f"{f.name} x {way}") for f in FAULTS for way in f.ways]


@pytest.fixture
def open_door(bundle):
    """Open doors on the tiny bundle, changed as a fault asks, and close them."""
    doors = []

    def opened(changes):
        manifest = bundle.manifest.model_copy(update=changes)
        doors.append(Door(replace(bundle, manifest=manifest)))
        return doors[-1]

    yield opened
    for door in doors:
        bounded(door.session.close)


@pytest.mark.parametrize(("fault", "way"), TABLE)
def test_every_fault_has_its_answer_and_the_next_good_capture_works(fault, way, open_door):
    door = open_door(fault.bundle)
    with fault.arranged(door):
        decision = bounded(WAYS[way], door, fault.item())
    assert decision.verdict is fault.verdict
    assert decision.codes[0] is fault.code
    assert len(decision.reasons) == len(decision.codes)
    assert all(reason and "\n" not in reason for reason in decision.reasons)
    if fault.final or fault.bundle:
        door = open_door({})
    assert bounded(WAYS[way], door, good()).verdict is LIVE


@pytest.mark.parametrize("fault", REFUSED_BY_CAPTURE, ids=lambda fault: fault.name)
def test_capture_itself_refuses_bad_frames(fault):
    fields = vars(fault.item())
    with pytest.raises(CaptureError):
        Capture(**fields)


def test_no_row_of_the_table_says_live():
    assert all(fault.verdict in {ERROR, RETRY} for fault in FAULTS)
    assert all((fault.verdict is RETRY) == fault.code.retry_helps for fault in FAULTS)


@pytest.mark.parametrize("thing", [None, "face.png", 7, object()])
@pytest.mark.parametrize("way", WAYS)
def test_session_answers_error_to_a_non_capture(thing, way, open_door):
    door = open_door({})
    decision = bounded(WAYS[way], door, thing)
    assert decision.verdict is ERROR
    assert bounded(WAYS[way], door, good()).verdict is LIVE


def test_a_camera_unplugged_mid_run_is_seen_and_outlived(open_door):
    gone = [CameraError("the camera was unplugged") for _ in range(3)]
    camera = ScriptedCamera(good, good, *gone, good)
    door = open_door({})
    found = bounded(lambda: list(run_captures(camera, by_track(door), sleep=lambda _: None)))
    assert [o.decision.verdict for o in found] == [LIVE, LIVE, ERROR, ERROR, ERROR, LIVE]


def test_closing_under_load_answers_everyone(open_door):
    door = open_door({})
    door.engine.answer = lambda size: (time.sleep(0.002), live(size))[1]
    answers, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            answers.append(door.session.submit(good()))

    callers = [threading.Thread(target=load) for _ in range(4)]
    for caller in callers:
        caller.start()
    time.sleep(0.1)
    bounded(door.session.close)
    closed_at = len(answers)
    stop.set()
    for caller in callers:
        caller.join(BOUND_S)
        assert not caller.is_alive()
    decisions = [future.result(timeout=BOUND_S) for future in answers]
    allowed = {(), (Reason.QUEUE_FULL,), (Reason.CLOSED,), (Reason.DEADLINE,)}
    assert {d.codes for d in decisions} <= allowed
    assert all((d.verdict is LIVE) == (d.codes == ()) for d in decisions)
    assert any(d.verdict is LIVE for d in decisions)
    assert all(d.verdict is ERROR for d in decisions[closed_at + len(callers) :])
