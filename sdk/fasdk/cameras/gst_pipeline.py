"""GStreamer pipeline from its text to samples, and what its faults mean."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasdk.cameras.address import pipeline_elements, without_secrets_of
from fasdk.cameras.clock import PipelineClock
from fasdk.cameras.gst_library import GStreamer, package_of
from fasdk.capture import monotonic_ms
from fasdk.errors import CameraError, EndOfStreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SINK = "appsink"
_IGNORES = "errorignore"
_NS_IN_MS = 1_000_000
_START_LIMIT_S = 15.0
_SLICE_MS = 100


@dataclass(frozen=True)
class PipelineText:
    """A pipeline as it was written, and how messages show it.

    Attributes:
        text: The pipeline, as gst-launch-1.0 takes it, which may hold passwords.
        name: Name of the camera in messages.
    """

    text: str
    name: str

    @classmethod
    def named(cls, text: str) -> PipelineText:
        """Return a pipeline whose name is that of its elements, without their properties."""
        return cls(text, f"pipeline {' ! '.join(pipeline_elements(text))}")

    def clean(self, message: str) -> str:
        """Return a message of GStreamer in one line and without this pipeline's secrets."""
        return without_secrets_of(self.text, " ".join(message.split()).rstrip("."))

    def parse(self, gst: GStreamer) -> tuple[Any, Any]:
        """Return the pipeline, which has opened nothing yet, and its appsink.

        Raises:
            UsageError: The text is no pipeline, an element or a property does not exist, or there
                is not exactly one appsink with something before it.
        """
        core = gst.core
        context = core.ParseContext.new()
        try:
            pipeline = core.parse_launch_full(self.text, context, core.ParseFlags.FATAL_ERRORS)
        except gst.errors.Error as error:
            missing = [*(context.get_missing_elements() or [])]
            raise UsageError(self._why_not_parsed(core, error, missing)) from None
        sinks = []
        if isinstance(pipeline, core.Bin):
            sinks = [each for each in _elements(core, pipeline) if _factory(each) == _SINK]
        if len(sinks) != 1:
            found = "it is all there is" if _factory(pipeline) == _SINK else f"{len(sinks)} found"
            raise UsageError(
                f"{self.name} needs one {_SINK}, with a source before it, {found}: expected "
                f"SOURCE ! ... ! {_SINK}"
            )
        return pipeline, sinks[0]

    def _why_not_parsed(self, core: Any, error: Any, missing: list[str]) -> str:
        quark = core.parse_error_quark()
        if error.matches(quark, core.ParseError.NO_SUCH_ELEMENT):
            known = [each for each in missing if each in pipeline_elements(self.text)]
            if not known:
                return (
                    f"{self.name}: a word of a value stands where an element was expected: put "
                    "quotes around values that hold a space, and around no others"
                )
            return (
                f"{self.name}: GStreamer here has no element {' and no '.join(known)}; "
                f"{package_of(known[0])}"
            )
        said = self.clean(error.message)
        if error.matches(quark, core.ParseError.LINK):
            said += ": put videoconvert between them where only the format differs"
        return (
            f"{self.name} is no pipeline GStreamer can make: {said}; expected what gst-launch-1.0 "
            "takes, with quotes around values that hold a space or a !"
        )


class RunningPipeline:
    """A pipeline that was started.

    Args:
        gst: GStreamer.
        written: The pipeline's text.
        caps: Caps of the appsink where the text gives it none.
        stopping: Set when the pipeline is not wanted any more, however long it takes to start.

    Attributes:
        is_live: Whether its source gives frames at its own pace, as a camera does, and drops those
            nobody takes. One that is not live is a recording, which waits for its reader.

    Raises:
        CameraError: It does not start.
        UsageError: It is no pipeline.
    """

    def __init__(
        self, gst: GStreamer, written: PipelineText, caps: str, stopping: threading.Event
    ) -> None:
        self._core, self._written, self._stopping = gst.core, written, stopping
        self._pipeline, self._sink = written.parse(gst)
        self._bus = self._pipeline.get_bus()
        self._fault: CameraError | None = None
        self._ignored: list[str] = []
        self._given = 0
        self._prepare_sink(caps)
        try:
            self.is_live = self._start()
        except BaseException:
            self.close()
            raise
        self._clock: PipelineClock | None = None

    def next(self) -> Any | None:
        """Return the next sample, or None where none came within a tenth of a second.

        Raises:
            EndOfStreamError: A recording is over.
            CameraError: An element failed, or a live source ended.
        """
        sample = self._sink.try_pull_sample(_SLICE_MS * _NS_IN_MS)
        self._collect_faults()
        if sample is not None:
            self._given += 1
            return sample
        if self._fault is not None:
            raise self._fault
        if not self._sink.is_eos():
            return None
        if self.is_live:
            raise CameraError(f"{self._written.name} ended: its source was unplugged or is over")
        raise EndOfStreamError(f"{self._written.name} is over after {self._given} frames")

    def collect_ignored(self) -> list[str]:
        """Return what failed below an errorignore since the last call, which ends nothing."""
        ignored, self._ignored = self._ignored, []
        return ignored

    def taken_ms(self, sample: Any, arrived_ms: float) -> float:
        """Return the time of a sample in milliseconds of `time.monotonic`, at most its arrival."""
        if self._clock is None:
            base_ms = self._pipeline.get_base_time() / _NS_IN_MS
            self._clock = PipelineClock(base_ms + self._clock_offset_ms())
        none = self._core.CLOCK_TIME_NONE
        pts = sample.get_buffer().pts
        running = none
        if pts != none:
            running = sample.get_segment().to_running_time(self._core.Format.TIME, pts)
        return self._clock.taken_ms(None if running == none else running / _NS_IN_MS, arrived_ms)

    def close(self) -> None:
        """Stop every element; this may block as long as an element does."""
        self._pipeline.set_state(self._core.State.NULL)

    def _prepare_sink(self, caps: str) -> None:
        given = self._sink.get_property("caps")
        if given is None or given.is_any():
            self._sink.set_property("caps", self._core.Caps.from_string(caps))
        self._sink.set_property("max-buffers", 1)
        self._sink.set_property("enable-last-sample", False)

    def _start(self) -> bool:
        """Start every element, and return whether the pipeline is live."""
        core = self._core
        self._pipeline.use_clock(core.SystemClock.obtain())
        change = self._pipeline.set_state(core.State.PAUSED)
        until = time.monotonic() + _START_LIMIT_S
        while change == core.StateChangeReturn.ASYNC:
            change = self._pipeline.get_state(_SLICE_MS * _NS_IN_MS)[0]
            self._raise_fault()
            if self._stopping.is_set():
                raise CameraError(f"{self._written.name} was closed while it started")
            if time.monotonic() > until:
                raise CameraError(
                    f"{self._written.name} did not start within {_START_LIMIT_S:g} s: does its "
                    "source deliver frames?"
                )
        is_live = bool(change == core.StateChangeReturn.NO_PREROLL)
        # The newest frame of a camera, as soon as it is there; every frame of a recording.
        self._sink.set_property("drop", is_live)
        if is_live:
            self._sink.set_property("sync", False)
        if change != core.StateChangeReturn.FAILURE:
            change = self._pipeline.set_state(core.State.PLAYING)
        if change == core.StateChangeReturn.FAILURE:
            self._raise_fault()
            raise CameraError(
                f"{self._written.name} did not start and said not why: try it with gst-launch-1.0 "
                f"and fakesink in place of {_SINK}"
            )
        return is_live

    def _raise_fault(self) -> None:
        self._collect_faults()
        if self._fault is not None:
            raise self._fault

    def _collect_faults(self) -> None:
        """Take every message off the bus, which would grow without end, and keep the first fault.

        An element below an errorignore may fail: whether frames still come is what counts there.
        """
        # Messages of all other kinds are discarded on the way.
        while (message := self._bus.pop_filtered(self._core.MessageType.ERROR)) is not None:
            error, debug = message.parse_error()
            said = f"{self._written.clean(error.message)} ({_factory(message.src)})"
            if self._is_ignored(message.src):
                self._ignored.append(said)
            elif self._fault is None:
                self._fault = CameraError(f"{self._written.name} failed: {said}{_hint(debug)}")

    def _is_ignored(self, element: Any) -> bool:
        """Return whether an errorignore stands somewhere before an element."""
        while element is not None and element.get_parent() is not self._pipeline:
            element = element.get_parent()
        seen: list[Any] = []
        waiting = [] if element is None else [element]
        while waiting:
            current = waiting.pop()
            seen.append(current)
            before = [pad.get_peer() for pad in current.sinkpads]
            parents = [peer.get_parent_element() for peer in before if peer is not None]
            if any(_factory(each) == _IGNORES for each in parents):
                return True
            waiting += [each for each in parents if each is not None and each not in seen]
        return False

    def _clock_offset_ms(self) -> float:
        """Return what to add to the pipeline's clock: 0 where it is that of `time.monotonic`."""
        clock = self._pipeline.get_clock()
        before_ms = monotonic_ms()
        clock_ms = float(clock.get_time()) / _NS_IN_MS
        after_ms = monotonic_ms()
        if before_ms <= clock_ms <= after_ms:
            return 0.0
        return (before_ms + after_ms) / 2.0 - clock_ms


def _elements(core: Any, bin_: Any) -> Iterator[Any]:
    """Yield every element of a bin and of the bins in it."""
    iterator = bin_.iterate_recurse()
    while True:
        result, element = iterator.next()
        if result != core.IteratorResult.OK:
            return
        yield element


def _factory(element: Any) -> str | None:
    """Return the name of the factory that made an element."""
    factory = None if element is None else element.get_factory()
    return None if factory is None else str(factory.get_name())


def _hint(debug: str | None) -> str:
    if debug is None or "not-negotiated" not in debug:
        return ""
    return (
        ": the elements agree on no format; put videoconvert before appsink, or a format of "
        "video/x-raw that its element gives"
    )
