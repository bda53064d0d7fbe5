"""Execution of a plan: one call at a time, and every fault an error."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fasdk
from fasdk.backends.engine import Backend
from fasdk.backends.tensorrt.versions import OLDEST
from fasdk.errors import BackendError
from fasdk.session.session import Liveness

from support.gpu_rig import GRAPH, Rig, batch, expected
from support.graphs import SIZE, capture, graph_logits
from support.tensorrt_standin.settings import Refusal


@pytest.mark.parametrize("size", [1, 3, 4])
def test_every_batch_up_to_the_largest_gives_the_graphs_logits(rig: Rig, size: int) -> None:
    engine = rig.open()
    assert (engine.backend, engine.version, engine.max_batch) == (
        Backend.TENSORRT,
        f"{OLDEST}.0",
        4,
    )
    for seed in range(3):
        inputs = batch(size, seed)
        outputs = engine.run(inputs)
        np.testing.assert_array_equal(outputs.logits, expected(inputs))
        assert outputs.reliability is None


def test_an_answer_is_not_changed_by_the_next_call(rig: Rig) -> None:
    engine = rig.open()
    first = engine.run(batch(2, 1)).logits
    kept = first.copy()
    engine.run(batch(2, 2))
    np.testing.assert_array_equal(first, kept)


def test_a_session_judges_captures_through_it(rig: Rig) -> None:
    captures = [capture(100), capture(101)]
    with Liveness(rig.bundle, rig.open()) as liveness:
        decisions = liveness.check_batch(captures)
    live = [bool(row[1] > row[0]) for row in graph_logits(GRAPH, captures)]
    assert [d.verdict is fasdk.Verdict.LIVE for d in decisions] == live


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"rgb": np.zeros((5, 3, SIZE, SIZE), np.float32)}, "batch of 5, expected 1 to 4"),
        ({"rgb": np.zeros((0, 3, SIZE, SIZE), np.float32)}, "batch of 0"),
        ({"rgb": np.zeros((1, 3, SIZE, 8), np.float32)}, r"float32 \[1, 3, 16, 8\], expected"),
        ({"rgb": np.zeros((1, 3, SIZE, SIZE), np.float64)}, "is float64"),
        ({"ir": np.zeros((1, 3, SIZE, SIZE), np.float32)}, "given ir, expected rgb"),
        ({}, "given nothing, expected rgb"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    rig: Rig, inputs: dict[str, np.ndarray], words: str
) -> None:
    engine = rig.open()
    with pytest.raises(BackendError, match=words):
        engine.run(inputs)


@pytest.mark.parametrize("call", [Refusal.EXECUTE, Refusal.SHAPE])
def test_a_refused_call_fails_the_run_and_the_next_one_works(rig: Rig, call: Refusal) -> None:
    engine = rig.open()
    rig.behavior.refuses.add(call)
    with pytest.raises(BackendError, match="refused"):
        engine.run(batch(1, 1))
    rig.behavior.refuses.clear()
    inputs = batch(2, 2)
    np.testing.assert_array_equal(engine.run(inputs).logits, expected(inputs))


def test_an_execution_that_writes_nothing_never_repeats_the_last_answer(rig: Rig) -> None:
    engine = rig.open()
    assert np.isfinite(engine.run(batch(2)).logits).all()
    rig.behavior.writes = False
    assert np.isnan(engine.run(batch(2)).logits).all()
    with Liveness(rig.bundle, engine) as liveness:
        assert liveness.check(capture(1)).verdict is fasdk.Verdict.ERROR


def test_a_lost_device_fails_the_run(rig: Rig) -> None:
    engine = rig.open()
    rig.gpu.fails_to_synchronize = True
    with pytest.raises(BackendError, match="illegal memory access"):
        engine.run(batch(1))


def test_calls_from_many_threads_keep_their_answers_apart(rig: Rig) -> None:
    engine = rig.open()
    wrong: list[int] = []

    def work(seed: int) -> None:
        inputs = batch(1 + seed % 4, seed)
        if not np.array_equal(engine.run(inputs).logits, expected(inputs)):
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_close_frees_everything_once_and_ends_running(rig: Rig) -> None:
    engine = rig.open()
    engine.run(batch(1))
    assert len(rig.gpu.held) == 5  # two tensors, each on host and device; scratch memory
    assert len(rig.gpu.graphs) == 4
    engine.close()
    engine.close()
    assert rig.gpu.held == {}
    assert rig.gpu.graphs == []
    with pytest.raises(BackendError, match="closed"):
        engine.run(batch(1))


def test_host_code_in_a_plan_is_never_allowed(rig: Rig) -> None:
    rig.open()
    assert rig.behavior.host_code == [False]
