"""Lanes of one engine side by side: separate answers, and recovery from faults."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fasdk.backends.tensorrt.close_timeout import CloseTimeout
from fasdk.backends.tensorrt.execution import TensorRtEngine
from fasdk.backends.tensorrt.lane import TensorRtLane
from fasdk.errors import BackendError
from fasdk.telemetry import DeviceTimes

from support.gpu_rig import Rig, batch, expected
from support.graphs import SIZE
from support.tensorrt_standin.settings import Refusal

WAIT_S = 30.0


@pytest.fixture(params=[True, False], ids=["graphs", "plain"])
def engine(rig: Rig, request: pytest.FixtureRequest) -> TensorRtEngine:
    return rig.open(graphs=request.param)


def run(lane: TensorRtLane, size: int, seed: int) -> np.ndarray:
    lane.inputs["rgb"][:size] = batch(size, seed)["rgb"]
    return lane.run(size).logits


def right(size: int, seed: int) -> np.ndarray:
    return expected(batch(size, seed))


def test_every_batch_size_gives_the_graphs_logits_again_and_again(engine: TensorRtEngine) -> None:
    lane = engine.open_lane(4)
    assert lane.max_batch == 4
    assert lane.uses_graphs is engine.graphs
    assert lane.inputs["rgb"].shape == (4, 3, SIZE, SIZE)
    for seed, size in enumerate([1, 4, 2, 2, 3, 1, 4]):
        np.testing.assert_array_equal(run(lane, size, seed), right(size, seed))


def test_an_answer_is_not_changed_by_the_next_call(engine: TensorRtEngine) -> None:
    lane = engine.open_lane(2)
    first = run(lane, 2, 1)
    kept = first.copy()
    run(lane, 2, 2)
    np.testing.assert_array_equal(first, kept)


def test_a_batch_size_is_recorded_once_and_replayed_ever_after(rig: Rig) -> None:
    lane = rig.open().open_lane(3)
    assert len(rig.gpu.graphs) == 3
    for size in (1, 2, 3, 3):
        run(lane, size, size)
    assert [graph.launches for graph in rig.gpu.graphs] == [1, 1, 2]


def test_a_call_allocates_nothing(engine: TensorRtEngine, rig: Rig) -> None:
    lane = engine.open_lane(4)
    before = rig.gpu.allocations, len(rig.gpu.graphs), len(rig.gpu.streams)
    for size in (1, 2, 3, 4):
        run(lane, size, size)
    assert (rig.gpu.allocations, len(rig.gpu.graphs), len(rig.gpu.streams)) == before


def test_lanes_on_threads_of_their_own_keep_their_answers_apart(engine: TensorRtEngine) -> None:
    lanes = [engine.open_lane(1 + index) for index in range(4)]
    start = threading.Barrier(4)

    def work(index: int) -> list[int]:
        start.wait(WAIT_S)
        sizes = [1 + (seed % lanes[index].max_batch) for seed in range(20)]
        return [
            seed
            for seed, size in enumerate(sizes)
            if not np.array_equal(
                run(lanes[index], size, 100 * index + seed), right(size, 100 * index + seed)
            )
        ]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [[], [], [], []]


@pytest.mark.parametrize("size", [0, -1, 5])
def test_sizes_the_plan_does_not_take_are_refused(engine: TensorRtEngine, size: int) -> None:
    with pytest.raises(BackendError, match=f"batches of {size}, expected 1 to 4"):
        engine.open_lane(size)
    lane = engine.open_lane(4)
    with pytest.raises(BackendError, match=f"batch of {size}, expected 1 to 4"):
        lane.run(size)


def test_a_refused_capture_costs_the_graphs_and_nothing_else(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.gpu.refuses.add("capture")
    engine = rig.open()
    caplog.clear()
    lane = engine.open_lane(4)
    said = [r.getMessage() for r in caplog.records if "without CUDA graphs" in r.getMessage()]
    assert len(said) == 1
    assert "CUDA_ERROR_NOT_SUPPORTED" in said[0]
    assert not lane.uses_graphs
    for size in (2, 1, 4):
        np.testing.assert_array_equal(run(lane, size, size), right(size, size))


def test_an_execution_that_cannot_be_recorded_leaves_the_stream_fit(rig: Rig) -> None:
    engine = rig.open()
    lane: list[TensorRtLane] = []
    inner = rig.gpu.capture

    def capture(stream: object, work: Callable[[], None]) -> object:
        rig.behavior.refuses.add(Refusal.EXECUTE)
        try:
            return inner(stream, work)  # type: ignore[arg-type]
        finally:
            rig.behavior.refuses.clear()

    rig.gpu.capture = capture  # type: ignore[method-assign,assignment]
    lane.append(engine.open_lane(2))
    assert not lane[0].uses_graphs
    np.testing.assert_array_equal(run(lane[0], 2, 5), right(2, 5))


def test_a_device_lost_while_recording_is_no_refusal(rig: Rig) -> None:
    engine = rig.open()
    held = len(rig.gpu.held)

    def capture(*_: object) -> None:
        rig.gpu.fails_to_synchronize = True
        raise BackendError("CUDA failed: cuStreamEndCapture gave CUDA_ERROR_LAUNCH_FAILED")

    rig.gpu.capture = capture  # type: ignore[method-assign,assignment]
    with pytest.raises(BackendError, match="illegal memory access"):
        engine.open_lane(2)
    assert len(rig.gpu.held) == held


def test_too_little_memory_for_another_lane_leaves_the_others_running(
    engine: TensorRtEngine, rig: Rig
) -> None:
    lane = engine.open_lane(4)
    before = dict(rig.gpu.held), list(rig.gpu.graphs)
    rig.gpu.memory_bytes = sum(buffer.array.nbytes for buffer in rig.gpu.held.values()) + 20_000
    with pytest.raises(BackendError, match="out of memory"):
        engine.open_lane(4)
    assert (rig.gpu.held, rig.gpu.graphs) == before
    np.testing.assert_array_equal(run(lane, 4, 1), right(4, 1))


def test_lane_never_reads_rows_it_did_not_fill(engine: TensorRtEngine, rig: Rig) -> None:
    lane = engine.open_lane(2)
    assert np.isfinite(run(lane, 2, 1)).all()
    rig.behavior.writes = False
    assert np.isnan(run(lane, 2, 2)).all()
    rig.behavior.writes = True
    rig.gpu.loses_copies = True
    assert np.isnan(run(lane, 2, 3)).all()
    rig.gpu.loses_copies = False
    np.testing.assert_array_equal(run(lane, 2, 4), right(2, 4))


def refuse_launch(rig: Rig) -> None:
    rig.gpu.refuses.add("launch")
    rig.behavior.refuses.add(Refusal.EXECUTE)


def lose_device(rig: Rig) -> None:
    rig.gpu.fails_to_synchronize = True


def repair(rig: Rig) -> None:
    rig.gpu.refuses.clear()
    rig.behavior.refuses.clear()
    rig.gpu.fails_to_synchronize = False


@pytest.mark.parametrize("fault", [refuse_launch, lose_device])
def test_every_call_of_a_failing_device_is_an_error_and_the_next_good_one_works(
    engine: TensorRtEngine, rig: Rig, fault: Callable[[Rig], None]
) -> None:
    lane = engine.open_lane(2)
    run(lane, 2, 1)
    fault(rig)
    for _ in range(3):
        with pytest.raises(BackendError):
            run(lane, 2, 2)
        assert all(not stream.queue for stream in rig.gpu.streams.values())
    repair(rig)
    np.testing.assert_array_equal(run(lane, 1, 3), right(1, 3))


def test_a_closed_lane_frees_its_own_and_no_other(engine: TensorRtEngine, rig: Rig) -> None:
    kept = engine.open_lane(2)
    before = dict(rig.gpu.held), list(rig.gpu.graphs)
    lane = engine.open_lane(4)
    lane.close()
    lane.close()
    assert (rig.gpu.held, rig.gpu.graphs) == before
    assert lane.inputs == {}
    with pytest.raises(BackendError, match="the lane is closed"):
        lane.run(1)
    np.testing.assert_array_equal(run(kept, 2, 1), right(2, 1))


def test_closing_the_engine_closes_its_lanes(engine: TensorRtEngine, rig: Rig) -> None:
    lanes = [engine.open_lane(2) for _ in range(3)]
    lanes[1].close()
    engine.close()
    assert rig.gpu.held == {}
    assert rig.gpu.graphs == []
    for lane in lanes:
        with pytest.raises(BackendError, match="the lane is closed"):
            lane.run(1)
    with pytest.raises(BackendError, match="the engine is closed"):
        engine.open_lane(1)
    lanes[0].close()


def test_closing_waits_for_the_call_under_way(engine: TensorRtEngine, rig: Rig) -> None:
    lane = engine.open_lane(2)
    under_way, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        under_way.set()
        assert go_on.wait(WAIT_S)

    rig.gpu.on_synchronize = hold
    with ThreadPoolExecutor(3) as pool:
        answer = pool.submit(run, lane, 2, 9)
        assert under_way.wait(WAIT_S)
        closing = [pool.submit(engine.close) for _ in range(2)]
        assert not closing[0].done()
        assert rig.gpu.held != {}
        rig.gpu.on_synchronize = lambda: None
        go_on.set()
        np.testing.assert_array_equal(answer.result(WAIT_S), right(2, 9))
        for future in closing:
            future.result(WAIT_S)
    assert rig.gpu.held == {}


def test_closing_gives_a_hanging_call_up_and_frees_nothing_under_it(
    engine: TensorRtEngine,
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(CloseTimeout, "CLOSE_S", 0.1)
    lane = engine.open_lane(2)
    under_way, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        under_way.set()
        assert go_on.wait(WAIT_S)

    rig.gpu.on_synchronize = hang
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(run, lane, 2, 9)
        assert under_way.wait(WAIT_S)
        engine.close()
        assert "a lane's call hangs" in caplog.text
        assert rig.gpu.held != {}
        with pytest.raises(BackendError, match="the engine is closed"):
            engine.open_lane(1)
        rig.gpu.on_synchronize = lambda: None
        go_on.set()
        np.testing.assert_array_equal(answer.result(WAIT_S), right(2, 9))
    with pytest.raises(BackendError, match="the lane is closed"):
        lane.run(1)
    engine.close()
    assert rig.gpu.held == {}


def test_closing_gives_a_hanging_opening_up(
    engine: TensorRtEngine,
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(CloseTimeout, "CLOSE_S", 0.1)
    under_way, go_on = threading.Event(), threading.Event()
    inner = rig.gpu.stream

    def hang() -> object:
        under_way.set()
        assert go_on.wait(WAIT_S)
        return inner()

    monkeypatch.setattr(rig.gpu, "stream", hang)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(engine.open_lane, 2)
        assert under_way.wait(WAIT_S)
        engine.close()
        assert "is being opened hangs" in caplog.text
        go_on.set()
        lane = opening.result(WAIT_S)
    np.testing.assert_array_equal(run(lane, 2, 1), right(2, 1))
    engine.close()
    assert rig.gpu.held == {}


def test_closing_on_a_lost_device_is_quiet_and_final(
    engine: TensorRtEngine, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    lane = engine.open_lane(2)
    rig.gpu.fails_to_synchronize = True
    with caplog.at_level(logging.WARNING, logger="fasdk.tensorrt"):
        engine.close()
    assert "on a device that fails" in caplog.text
    with pytest.raises(BackendError, match="closed"):
        lane.run(1)
    assert rig.gpu.held == {}


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "plain"])
def test_a_timed_lane_times_copies_and_execution_on_the_device(rig: Rig, graphs: bool) -> None:
    engine = rig.open(graphs=graphs, timed=True)
    lane = engine.open_lane(3)
    assert lane.uses_graphs is graphs
    for size in (1, 3, 2):
        lane.inputs["rgb"][:size] = batch(size, size)["rgb"]
        outputs = lane.run(size)
        np.testing.assert_array_equal(outputs.logits, right(size, size))
        assert outputs.device is not None
        # The fake device takes 1 ms for each piece of work, of which a mark is one: a copy of the
        # input and a fill of the output; the execution; a copy of the output.
        assert outputs.device == DeviceTimes(3.0, 2.0, 2.0)
    engine.close()
    assert rig.gpu.marks_held == 0


def test_an_untimed_lane_puts_no_marks_into_its_calls(engine: TensorRtEngine, rig: Rig) -> None:
    lane = engine.open_lane(2)
    assert lane.run(2).device is None
    assert rig.gpu.marks_held == 0


def test_graphs_that_take_no_marks_are_recorded_without_them(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.gpu.refuses.add("marks in a graph")
    lane = rig.open(timed=True).open_lane(2)
    assert lane.uses_graphs, "what is measured must be what is deployed"
    assert "not timed on the device" in caplog.text
    assert "CUDA_ERROR_NOT_SUPPORTED" in caplog.text
    outputs = lane.run(2)
    assert outputs.device is None
    assert np.isfinite(outputs.logits).all()
