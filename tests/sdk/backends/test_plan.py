"""Plan builder on the real TensorRT-RTX compiler, which needs neither GPU nor driver."""

from __future__ import annotations

import logging
import os
import signal
import threading
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from fasdk.backends.engine import Backend
from fasdk.backends.plan_options import PlanOptions
from fasdk.backends.tensorrt.module import (
    load_module,
    one_line,
    open_log,
    without_driver_noise,
)
from fasdk.backends.tensorrt.plan import BuiltPlan, build_plan
from fasdk.errors import BackendError, PlanError

from support.graphs import SIZE, model, small_graph
from support.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Callable

Requirement.TENSORRT_RTX.module("tensorrt_rtx", whole_module=True)

RTX = Backend.TENSORRT_RTX
SHAPES = {"rgb": (3, SIZE, SIZE)}
TARGETS = ("8.6", "8.9", "12.0")


def build(graph: bytes, **changes: object) -> BuiltPlan:
    settings: dict[str, object] = {
        "shapes": SHAPES,
        "max_batch": 4,
        "compute_capabilities": ("8.6",),
    }
    return build_plan(graph, RTX, **(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_plan_holds_code_for_every_target(half: bool) -> None:
    graph = small_graph(half=half)
    plan = build(graph, compute_capabilities=TARGETS)
    assert plan.compute_capabilities == TARGETS
    assert (plan.backend, plan.max_batch) == (RTX, 4)
    assert plan.version == str(load_module(RTX).__version__)
    assert plan.seconds > 0
    single = build(graph)
    assert len(plan.data) > len(single.data) > 0


def test_a_plan_stores_weights_in_the_type_the_graph_writes_them() -> None:
    bare = len(build(small_graph(width=1)).data)
    full = len(build(small_graph(width=20_000)).data) - bare
    half = len(build(small_graph(width=20_000, half=True)).data) - bare
    weights = 20_000 * (3 * 9 + 2)
    assert full > 4 * weights
    assert 2 * weights < half < 0.75 * full


def test_repeated_targets_count_once() -> None:
    assert build(small_graph(), compute_capabilities=("8.6", "8.6")).compute_capabilities == (
        "8.6",
    )


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("8.6", "8.7"), ["compute capability 8.7", "8.6, 8.9, 12.0"]),  # Orin: not TensorRT-RTX
        (("SM86",), ["compute capability SM86"]),
        ((), ["no compute capability", "8.6"]),
    ],
)
def test_an_unknown_target_is_refused_with_the_known_ones(
    targets: tuple[str, ...], words: list[str]
) -> None:
    with pytest.raises(PlanError) as found:
        build(small_graph(), compute_capabilities=targets)
    assert all(word in str(found.value) for word in words)


HALF = np.ones((3, SIZE, SIZE), np.float16)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (b"no graph", ["Failed to parse the ONNX model"]),
        (
            model([helper.make_node("Unheard", ["rgb"], ["logits"])]),
            ["node 0 (Unheard)", "Plugin"],
        ),
        (
            model([helper.make_node("Add", ["rgb", "half"], ["logits"])], {"half": HALF}),
            ["node 0 (Add)", "must have same input types"],
        ),
        (small_graph(batch=3), ["rgb float32 [3, 3, 16, 16]", "[-1, 3, 16, 16]"]),
        (
            model([helper.make_node("Cast", ["rgb"], ["logits"], to=1)], dtype=TensorProto.FLOAT16),
            ["HALF", "float32 [-1, 3, 16, 16]"],
        ),
    ],
    ids=["garbage", "unknown-operator", "mixed-types", "fixed-batch", "half-input"],
)
def test_a_graph_that_does_not_fit_is_refused_in_one_line(graph: bytes, words: list[str]) -> None:
    with pytest.raises(PlanError) as found:
        build(graph)
    message = str(found.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert "cudaError 35" not in message


def test_inputs_other_than_the_manifests_are_refused() -> None:
    with pytest.raises(PlanError, match=r"rgb float32 .* asks for depth .*, rgb "):
        build(small_graph(), shapes=SHAPES | {"depth": (3, SIZE, SIZE)})


@pytest.mark.parametrize(("max_batch", "has_advice"), [(64, True), (1, False)])
def test_a_build_short_of_memory_says_how_to_need_less(max_batch: int, has_advice: bool) -> None:
    rng = np.random.default_rng(1)
    weights = {
        "first": rng.standard_normal((256, 3, 3, 3)).astype(np.float32),
        "second": rng.standard_normal((2, 256, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["rgb", "first"], ["inner"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["inner", "second"], ["outer"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["outer"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    with pytest.raises(PlanError) as caught:
        build(model(nodes, weights), max_batch=max_batch, options=PlanOptions(workspace_mib=0))
    assert ("lower --max-batch from 64" in str(caught.value)) is has_advice


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(PlanError, match="largest batch 0"):
        build(small_graph(), max_batch=0)


def test_a_missing_driver_is_not_reported_while_building(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="fasdk.tensorrt"):
        build(small_graph())
    assert "cudaError" not in caplog.text


class Recorder:
    """Records every update, and may do something at each."""

    def __init__(self, react: Callable[[], None] = lambda: None) -> None:
        self.updates: list[tuple[str, int, int]] = []
        self.react = react

    def update(self, phase: str, step: int, steps: int, /) -> None:
        self.updates.append((phase, step, steps))
        self.react()


def test_progress_starts_at_nothing_and_ends_complete() -> None:
    recorder = Recorder()
    build(small_graph(), progress=recorder)
    phases = {phase for phase, _, _ in recorder.updates}
    assert "Building engine" in phases
    for phase in phases:
        steps = [(step, count) for name, step, count in recorder.updates if name == phase]
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1] > 0
        assert all(0 <= step <= count for step, count in steps)


def test_ctrl_c_stops_the_compiler_and_is_raised_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    recorder = Recorder(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        build(small_graph(), progress=recorder)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(recorder.updates) < 5


def test_a_failing_listener_stops_the_compiler_and_its_error_is_raised() -> None:
    def fail() -> None:
        raise ValueError("the screen is gone")

    recorder = Recorder(fail)
    with pytest.raises(ValueError, match="the screen is gone"):
        build(small_graph(), progress=recorder)
    assert len(recorder.updates) == 1


def test_a_thread_other_than_the_main_one_can_build() -> None:
    found: list[BuiltPlan] = []
    thread = threading.Thread(target=lambda: found.append(build(small_graph())))
    thread.start()
    thread.join(60)
    assert len(found) == 1


def test_an_error_keeps_none_of_the_compilers_objects() -> None:
    # A builder freed late, by the collector inside a callback, waits for itself for ever.
    for graph, changes in [(b"no graph", {}), (small_graph(), {"max_batch": 0})]:
        with pytest.raises(PlanError) as found:
            build(graph, **changes)
        frames = list(traceback.walk_tb(found.value.__traceback__))
        assert any(frame.f_code.co_name == "_compile" for frame, _ in frames)
        kept = [value for frame, _ in frames for value in frame.f_locals.values()]
        assert not [v for v in kept if type(v).__module__.startswith("tensorrt")]


def test_onnx_runtime_is_no_tensorrt() -> None:
    with pytest.raises(BackendError, match="onnxruntime is not TensorRT"):
        build_plan(small_graph(), Backend.ONNXRUNTIME, shapes=SHAPES, max_batch=1)


@pytest.mark.parametrize("needs_driver", [True, False])
def test_only_a_runtime_minds_that_there_is_no_driver(needs_driver: bool) -> None:
    trt = load_module(RTX)
    message = "CUDA initialization failure (cudaError 35: CUDA driver version is insufficient)"
    log = open_log(trt, needs_driver=needs_driver)
    log.logger.log(trt.ILogger.Severity.ERROR, message)
    assert list(log.errors) == ([message] if needs_driver else [])


def test_warnings_are_forwarded_and_errors_kept(caplog: pytest.LogCaptureFixture) -> None:
    trt = load_module(RTX)
    log = open_log(trt, needs_driver=True)
    severity: Any = trt.ILogger.Severity
    log.logger.log(severity.WARNING, "mind the step")
    log.logger.log(severity.ERROR, "fell\ndown")
    log.logger.log(severity.INTERNAL_ERROR, "stairs")
    log.logger.log(severity.INFO, "all quiet")
    assert [record.getMessage() for record in caplog.records] == ["mind the step"]
    assert log.summary() == "fell down; stairs"


def test_a_builders_errors_lose_driver_noise_and_line_breaks() -> None:
    text = "a\n  b\n\n[f] Error Code 1 (cudaError 35: CUDA driver version is insufficient)\nc"
    assert one_line(without_driver_noise(text)) == "a b c"
