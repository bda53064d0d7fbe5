"""TensorRT backend on the real pycuda and the simulated driver, from opening to faults."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasdk
from fasdk.backends.engine import Backend, Preprocessing, place_of_preprocessing
from fasdk.backends.tensorrt import device_preprocessing
from fasdk.backends.tensorrt.cache import PlanCache
from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
from fasdk.backends.tensorrt.opening import open_tensorrt_engine
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.decision import Decision
from fasdk.errors import BackendError, PlanError
from fasdk.session.session import Liveness
from fasdk.telemetry import Stage

from support import tiny_bundle
from support.cuda_sim.kernel_image import image
from support.cuda_sim.simulated_cuda import CudaResult, Simulator
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import Behavior, Refusal

pytestmark = pytest.mark.cuda_sim

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Kiosk:
    """A bundle on a machine with a simulated GPU."""

    bundle: Bundle
    simulator: Simulator
    behavior: Behavior

    @property
    def plans(self) -> list[Path]:
        return sorted(PlanCache.beside(self.bundle.path).folder.glob("*.plan"))

    def open(
        self,
        *,
        graphs: bool = True,
        timed: bool = False,
        preprocess: Preprocessing = Preprocessing.HOST,
    ) -> TensorRtEngine:
        return open_tensorrt_engine(
            self.bundle, Backend.TENSORRT, graphs=graphs, timed=timed, preprocess=preprocess
        )

    def require_clean(self) -> None:
        gc.collect()
        report = self.simulator.report()
        assert report.violations == ()
        assert report.live.objects == 0, report.live


@pytest.fixture
def kiosk(tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Kiosk:
    behavior = Behavior()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in(simulator, behavior))
    monkeypatch.setattr(device_preprocessing, "kernel_image", lambda *_: image())
    return Kiosk(open_bundle(tiny_bundle.write(tmp_path / "tiny.fasb")), simulator, behavior)


@pytest.mark.parametrize("graphs", [True, False])
def test_a_plan_is_built_proved_kept_and_used_again(kiosk: Kiosk, graphs: bool) -> None:
    for source in (PlanSource.BUILT, PlanSource.CACHE):
        engine = kiosk.open(graphs=graphs)
        assert engine.plan_source is source
        with Liveness(kiosk.bundle, engine) as liveness:
            assert liveness.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
            assert liveness.check(tiny_bundle.capture(60)).verdict is fasdk.Verdict.SPOOF
    assert kiosk.behavior.builds == 1
    kiosk.require_clean()


@pytest.mark.parametrize(
    "fault",
    [{"drift_batch": 4}, {"drift_batch": 4, "drift_row": 3}, {"drift_replay": True}],
    ids=["largest batch", "last row", "replay"],
)
def test_a_plan_that_drifts_somewhere_is_not_kept(kiosk: Kiosk, fault: dict[str, object]) -> None:
    kiosk.behavior.drift = 1.0
    for name, value in fault.items():
        setattr(kiosk.behavior, name, value)
    with pytest.raises(PlanError, match="does not reproduce"):
        kiosk.open()
    assert kiosk.plans == []
    kiosk.require_clean()


def test_an_execution_that_writes_nothing_opens_no_door(kiosk: Kiosk) -> None:
    with Liveness(kiosk.bundle, kiosk.open()) as liveness:
        assert liveness.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
        kiosk.behavior.writes = False
        assert liveness.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.ERROR


def test_a_device_lost_between_captures_answers_error_from_then_on(kiosk: Kiosk) -> None:
    with Liveness(kiosk.bundle, kiosk.open()) as liveness:
        assert liveness.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
        kiosk.simulator.lose_device()
        for _ in range(3):
            assert liveness.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.ERROR
    kiosk.simulator.lose_device(CudaResult.SUCCESS)


@pytest.mark.parametrize(
    "call", ["cuStreamCreate", "cuEventCreate", "cuMemAlloc", "cuMemHostAlloc", "cuLaunchKernel"]
)
def test_failed_driver_call_while_opening_leaves_nothing_allocated(kiosk: Kiosk, call: str) -> None:
    kiosk.simulator.fail_call(call, CudaResult.OUT_OF_MEMORY, nth=2, repeats=True)
    with pytest.raises(BackendError):
        kiosk.open()
    assert kiosk.plans == []
    kiosk.require_clean()


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuGraphInstantiateWithFlags"])
def test_graphs_the_driver_refuses_cost_no_answer(
    kiosk: Kiosk, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = kiosk.open()
    kiosk.simulator.fail_call(call, CudaResult.NOT_SUPPORTED, repeats=True)
    caplog.clear()
    lane = engine.open_lane(2)
    assert not lane.uses_graphs
    assert sum("without CUDA graphs" in message for message in caplog.messages) == 1
    assert "CUDA_ERROR_NOT_SUPPORTED" in caplog.text
    for name in lane.inputs:
        lane.inputs[name].fill(0.5)
    np.testing.assert_allclose(lane.run(2).logits, [[0.0, 3.0]] * 2, rtol=1e-6)
    engine.close()
    kiosk.require_clean()


def test_contexts_tensorrt_refuses_leave_nothing_behind(kiosk: Kiosk) -> None:
    engine = kiosk.open()
    for refusal in (Refusal.CONTEXT, Refusal.ADDRESS, Refusal.SHAPE, Refusal.EXECUTE):
        kiosk.behavior.refuses = {refusal}
        with pytest.raises(BackendError):
            engine.open_lane(2)
        kiosk.behavior.refuses = set()
    engine.close()
    kiosk.require_clean()


@pytest.mark.parametrize("graphs", [True, False])
def test_every_capture_on_a_gpu_has_stages_that_add_up(kiosk: Kiosk, graphs: bool) -> None:
    policy = BatchingPolicy(lanes=2, max_batch=4)
    with Liveness(kiosk.bundle, kiosk.open(graphs=graphs, timed=True), batching=policy) as session:
        answers: list[Decision] = []

        def call() -> None:
            answers.extend(session.check(tiny_bundle.capture(200)) for _ in range(20))

        with session.recorded_stages() as recording:
            threads = [threading.Thread(target=call) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(answers) == len(recording.clocks) == 80
    for answer in answers:
        assert answer.verdict is fasdk.Verdict.LIVE
        spent = [answer.timings_ms[stage.value] for stage in Stage]
        assert min(spent) >= 0
        assert sum(spent) == pytest.approx(answer.timings_ms["end_to_end"], rel=0.01)
        # The simulated device waits before each operation.
        for stage in (Stage.UPLOAD, Stage.ENGINE, Stage.DOWNLOAD):
            assert answer.timings_ms[stage.value] > 0
    kiosk.require_clean()


@pytest.mark.parametrize("call", ["cuEventRecordWithFlags", "cuEventElapsedTime"])
def test_a_device_that_fails_to_time_a_call_fails_that_call(kiosk: Kiosk, call: str) -> None:
    lane_settings = {"graphs": False, "timed": True}
    with Liveness(kiosk.bundle, kiosk.open(**lane_settings)) as session:
        assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
        kiosk.simulator.fail_call(call, CudaResult.LAUNCH_FAILED)
        assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.ERROR
        assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
    kiosk.require_clean()


@pytest.mark.parametrize("integrated", [False, True])
def test_the_device_times_upload_and_kernels_of_a_capture(kiosk: Kiosk, integrated: bool) -> None:
    kiosk.simulator.set_integrated(integrated=integrated)
    engine = kiosk.open(timed=True, preprocess=Preprocessing.DEVICE)
    with Liveness(kiosk.bundle, engine) as session:
        for _ in range(5):
            answer = session.check(tiny_bundle.capture(200))
            assert answer.verdict is fasdk.Verdict.LIVE
            spent = {stage: answer.timings_ms[stage.value] for stage in Stage}
            assert sum(spent.values()) == pytest.approx(answer.timings_ms["end_to_end"], rel=0.01)
            # The simulated device waits before each operation; three kernels are three.
            assert spent[Stage.PREPROCESS] > 0
            assert spent[Stage.ENGINE] > 0
            if not integrated:
                assert min(spent[Stage.UPLOAD], spent[Stage.DOWNLOAD]) > 0
    copied = [name for name in kiosk.simulator.report().executed if "Memcpy" in name]
    assert bool(copied) is not integrated
    kiosk.require_clean()


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync", "cuLaunchKernel", "cuGraphLaunch"])
def test_a_call_that_fails_on_the_way_to_the_engine_is_an_error(kiosk: Kiosk, call: str) -> None:
    engine = kiosk.open(preprocess=Preprocessing.DEVICE)
    with Liveness(kiosk.bundle, engine) as session:
        assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
        for result in (CudaResult.LAUNCH_FAILED, CudaResult.OUT_OF_MEMORY):
            kiosk.simulator.fail_call(call, result)
            answer = session.check(tiny_bundle.capture(200))
            assert (answer.verdict, answer.codes) == (fasdk.Verdict.ERROR, ("engine-fault",))
            assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
    kiosk.require_clean()


def test_a_kernel_that_faults_answers_error_from_then_on(kiosk: Kiosk) -> None:
    engine = kiosk.open(preprocess=Preprocessing.DEVICE)
    with Liveness(kiosk.bundle, engine) as session:
        assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
        kiosk.simulator.fail_operation(CudaResult.ILLEGAL_ADDRESS, nth=2)
        for _ in range(3):
            assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.ERROR


@pytest.mark.parametrize("call", ["cuModuleLoadData", "cuModuleGetFunction"])
def test_kernels_that_cannot_be_loaded_leave_auto_on_the_host(kiosk: Kiosk, call: str) -> None:
    kiosk.simulator.fail_call(call, CudaResult.NO_BINARY_FOR_GPU, repeats=True)
    with Liveness(kiosk.bundle, kiosk.open(preprocess=Preprocessing.AUTO)) as session:
        assert place_of_preprocessing(session.engine) is Preprocessing.HOST
        assert session.check(tiny_bundle.capture(200)).verdict is fasdk.Verdict.LIVE
    with pytest.raises(BackendError, match="cannot preprocess on Orin"):
        kiosk.open(preprocess=Preprocessing.DEVICE)
    kiosk.require_clean()


@pytest.mark.parametrize("nth", [1, 5, 8, 9])
@pytest.mark.parametrize("call", ["cuMemAlloc", "cuMemHostAlloc"])
def test_no_memory_for_a_lane_that_preprocesses_leaves_nothing_allocated(
    kiosk: Kiosk, call: str, nth: int
) -> None:
    engine = kiosk.open(preprocess=Preprocessing.DEVICE)
    kiosk.simulator.fail_call(call, CudaResult.OUT_OF_MEMORY, nth=nth, repeats=True)
    with suppress(BackendError):  # the last of them may be more than a lane asks for
        engine.open_lane(2).close()
    engine.close()
    kiosk.require_clean()


def run_program(name: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a program of `support.cuda_sim` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", f"support.cuda_sim.{name}", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--session",),
        ("--session", "--preprocess", "device"),
        ("--session", "--preprocess", "device", "--integrated"),
    ],
    ids=" ".join,
)
def test_lanes_give_the_scores_of_a_serial_run(options: tuple[str, ...]) -> None:
    status, result = run_program("lanes", "--captures", "1000", *options)
    assert status == 0, result
    assert result["equal"]
    assert (result["lanes"], result["violations"]) == (4, 0)
    assert min(result["captures_by_lane"], default=1) > 0
    assert result["distinct_scores"] > 900
    assert (result["kernels"] > 3000) is ("device" in options)
    if "device" in options:
        assert result["copied_bytes"] <= result["most_bytes"]


def test_captures_of_every_shape_are_preprocessed_as_on_the_host() -> None:
    options = ("--captures", "240", "--a-bundle", "40", "--no-models")
    status, result = run_program("device_captures", *options)
    assert status == 0, result
    assert (result["different"], result["bundles"]) == (0, 6)
