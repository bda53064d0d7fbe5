"""Measurement of one load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk_tools.profiling.closed_loop import measure_closed
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.open_loop import measure_open

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.capture import Capture
    from fasdk.session.session import Liveness
    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.recording import Recording
    from fasdk_tools.profiling.samples import Samples


def measure(
    liveness: Liveness,
    captures: Sequence[Capture],
    request: LoadRequest,
    *,
    on_progress: Callable[[float], None] | None = None,
    recording: Recording | None = None,
) -> Samples:
    """Measure a load on an open session.

    Args:
        liveness: An open session; its policy sets the lanes and the largest batch of open loads.
        captures: Captures to take in turn; at least one.
        request: Load to measure.
        on_progress: Callback with the share of the run that is done, in [0, 1].
        recording: Recording of the session under way, which receives the calls that a closed load
            makes past the session's lanes, and when the captures of an open load were due.

    Raises:
        UsageError: There is no capture, or the load needs more than a session.
        BackendError: The engine failed, so that the times are meaningless.
    """
    if not captures:
        raise UsageError(
            "there is no capture to measure with: give a list of your own with --captures LIST"
        )
    if request.load is Load.CLOSED:
        return measure_closed(
            liveness, captures, request, on_progress=on_progress, recording=recording
        )
    if request.load.is_open:
        return measure_open(
            liveness, captures, request, on_progress=on_progress, recording=recording
        )
    raise UsageError(f"a {request.load.value} load cannot be measured on one open session")
