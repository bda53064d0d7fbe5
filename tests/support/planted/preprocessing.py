"""Scenarios of preprocessing on the device: rows, staging, mapped memory and faults."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from support.cuda_sim.kernel_image import image
from support.cuda_sim.simulated_cuda import CudaResult
from support.planted.stage import LARGEST, WAIT_S, Stage, fault_expected, on_a_thread, watched

if TYPE_CHECKING:
    from fasdk.backends.tensorrt.capture_lane import CaptureTensorRtLane
    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.capture import Capture, Modality
    from fasdk.preprocess import PreprocessSpec

SIZES = [1, 4, 2, 2, 3, 1, 4]


def _specs(*, composite: bool = False) -> dict[Modality, PreprocessSpec]:
    """Return a padded crop, depth, and an aligned face, or a composite in its place."""
    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec

    shared: dict[str, Any] = {"width": 16, "height": 12, "mean": (90.0,) * 3, "std": (64.0,) * 3}
    face: dict[str, Any] = shared | {"crop": "face", "crop_scale": 1.6}
    positions = [(5.0, 4.0), (11.0, 4.0), (8.0, 6.0), (5.5, 9.0), (10.5, 9.0)]
    aligned = shared | {"crop": "landmarks", "landmark_positions": positions, "border": "reflect"}
    return {
        Modality.RGB: PreprocessSpec.model_validate(
            face | {"crop_bounds": "pad", "border": "replicate", "missing_value": 0.25}
        ),
        Modality.DEPTH: PreprocessSpec.model_validate(
            face
            | {
                "depth": {"near_mm": 300, "far_mm": 2500, "polarity": "near-bright"},
                "missing_value": -2.0,
            }
        ),
        Modality.IR: PreprocessSpec.model_validate(
            face | {"ir_composite": "ir-hog-plgf"} if composite else aligned
        ),
    }


@dataclass
class _Site:
    """An engine that takes captures, and what its graph says of them elsewhere."""

    stage: Stage
    composite: bool = False
    integrated: bool = False
    driver: Any = None
    graphs: bool = True
    specs: dict[Modality, PreprocessSpec] = field(init=False)

    def __post_init__(self) -> None:
        self.specs = _specs(composite=self.composite)
        self.driver = self.driver or self.stage.driver
        if self.integrated:
            self.driver.device = replace(self.driver.device, is_integrated=True)

    @cached_property
    def reference(self) -> Any:
        from fasdk.backends.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(self.graph, threads=1)

    @cached_property
    def graph(self) -> bytes:
        from support.capture_bundle import graph_of

        return graph_of(self.specs, presence=True)

    def open(self) -> TensorRtEngine:
        """Return an engine, unproved, so that a scenario alone decides what is run."""
        from fasdk.backends.engine import Backend
        from fasdk.backends.tensorrt.device_preprocessing import DevicePreprocessing
        from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
        from fasdk.backends.tensorrt.layout import TensorLayout
        from fasdk.backends.tensorrt.plan import build_plan
        from fasdk.backends.tensorrt.row_kernels import CaptureInputs, RowKernels
        from fasdk.preprocess import input_shapes

        presence = tuple(self.specs)
        captures = CaptureInputs(self.specs, presence)
        layout = TensorLayout(input_shapes(self.specs, presence), {"logits": (2,)})
        with self.driver.current():
            plan = build_plan(self.graph, Backend.TENSORRT, shapes=layout.inputs, max_batch=LARGEST)
            kernels = RowKernels(self.driver, image())
        return TensorRtEngine(
            plan.data,
            Backend.TENSORRT,
            layout=layout,
            driver=self.driver,
            plan_source=PlanSource.BUILT,
            graphs=self.graphs,
            preprocessing=DevicePreprocessing(kernels, captures),
        )

    def lane(self, max_batch: int = LARGEST) -> CaptureTensorRtLane:
        from fasdk.backends.tensorrt.capture_lane import CaptureTensorRtLane

        lane = self.open().open_lane(max_batch)
        assert isinstance(lane, CaptureTensorRtLane)
        return lane

    def captures(self, size: int, seed: int) -> list[Capture]:
        """Return random captures that the model can score, some without a modality."""
        from fasdk.errors import FasdkError
        from fasdk.preprocess import to_batch

        from support.capture_bundle import random_capture

        draw, found = np.random.default_rng(seed), list[Any]()
        while len(found) < size:
            capture = random_capture(draw, longest_px=60)
            try:
                to_batch([capture], self.specs)
            except FasdkError:
                continue
            found.append(capture)
        return found

    def right(self, captures: list[Capture]) -> np.ndarray:
        """Return the logits of the host's tensors."""
        from fasdk.preprocess import to_batch

        return np.asarray(
            self.reference.run(to_batch(captures, self.specs, tuple(self.specs))).logits
        )

    def require(self, lane: CaptureTensorRtLane, size: int, seed: int) -> None:
        captures = self.captures(size, seed)
        np.testing.assert_array_equal(self.run(lane, captures), self.right(captures))

    def run(self, lane: CaptureTensorRtLane, captures: list[Capture]) -> np.ndarray:
        for row, capture in enumerate(captures):
            lane.put(capture, row)
        return lane.run_captures(len(captures)).logits


def _rows(site: _Site) -> None:
    lane = site.lane()
    for seed, size in enumerate(SIZES):
        site.require(lane, size, seed)


def device_rows(stage: Stage) -> None:
    """Each call of any batch size gets the answers of the host's tensors."""
    _rows(_Site(stage))


def plain_device_rows(stage: Stage) -> None:
    """The same without graphs."""
    _rows(_Site(stage, graphs=False))


def mapped_rows(stage: Stage) -> None:
    """The same where CPU and GPU share one memory, and nothing is copied."""
    _rows(_Site(stage, integrated=True))
    assert not any("Memcpy" in name for name in stage.simulator.report().executed)


def composite_rows(stage: Stage) -> None:
    """The same where the host draws one modality's maps."""
    _rows(_Site(stage, composite=True))


def turns(stage: Stage) -> None:
    """Tensors and captures take turns on one lane."""
    from fasdk.preprocess import to_batch

    site = _Site(stage)
    lane = site.lane()
    for seed in range(3):
        site.require(lane, 3, seed)
        captures = site.captures(2, 50 + seed)
        for name, rows in to_batch(captures, site.specs, tuple(site.specs)).items():
            lane.inputs[name][:2] = rows
        np.testing.assert_array_equal(lane.run(2).logits, site.right(captures))


def put_again(stage: Stage) -> None:
    """A row that is put again is the later capture's, and one that was not put is none's."""
    site = _Site(stage)
    lane = site.lane()
    first, second, third = site.captures(3, 1)
    lane.put(first, 0)
    lane.put(second, 1)
    lane.put(third, 0)
    np.testing.assert_array_equal(lane.run_captures(1).logits, site.right([third]))
    with fault_expected():
        lane.run_captures(1)


def refused_kernel(stage: Stage) -> None:
    """A kernel that the driver does not launch is a fault, and the next call is right."""
    site = _Site(stage, graphs=False)
    lane = site.lane()
    site.require(lane, 2, 1)
    stage.simulator.fail_call("cuLaunchKernel", CudaResult.LAUNCH_FAILED, nth=2)
    with fault_expected():
        site.run(lane, site.captures(2, 2))
    site.require(lane, 2, 3)


def refused_upload(stage: Stage) -> None:
    """A copy that the driver does not take is a fault, and the next call is right."""
    site = _Site(stage)
    lane = site.lane()
    stage.simulator.fail_call("cuMemcpyHtoDAsync", CudaResult.LAUNCH_FAILED)
    with fault_expected():
        site.run(lane, site.captures(2, 2))
    site.require(lane, 2, 3)


def failing_kernel(stage: Stage) -> None:
    """A kernel that kills the context is a fault, and so is every later call."""
    site = _Site(stage)
    engine = site.open()
    lane: Any = engine.open_lane(2)
    site.require(lane, 2, 1)
    stage.simulator.fail_operation(CudaResult.ILLEGAL_ADDRESS, nth=3)
    for seed in range(3):
        with fault_expected():
            site.run(lane, site.captures(2, seed))
    engine.close()


def close_under_a_kernel(stage: Stage) -> None:
    """Nothing is freed under a kernel that a failed call left queued."""
    site = _Site(stage)
    lane = site.lane()
    captures = site.captures(2, 1)
    stage.simulator.fail_call("cuEventRecord", CudaResult.LAUNCH_FAILED)
    stage.simulator.fail_call("cuStreamSynchronize", CudaResult.LAUNCH_FAILED)
    with fault_expected():
        site.run(lane, captures)
    lane.close()


def close_during_kernels(stage: Stage) -> None:
    """Closing waits for the call whose kernels are queued, which gets its answer."""
    site = _Site(stage, driver=watched())
    engine = site.open()
    lane: Any = engine.open_lane(2)
    captures = site.captures(2, 7)
    site.driver.waits.clear()
    with stage.hanging():
        answer = on_a_thread(lambda: site.run(lane, captures))
        assert site.driver.waits.wait(WAIT_S)
        closing = threading.Event()
        closed = on_a_thread(lambda: (closing.set(), engine.close()))
        assert closing.wait(WAIT_S)
        threading.Event().wait(0.3)
        assert not closed.done(), "it closed under the call"
    np.testing.assert_array_equal(answer.result(WAIT_S), site.right(captures))
    closed.result(WAIT_S)


def kernels_outlive_an_abandoned_lane(stage: Stage) -> None:
    """Kernels are not unloaded under a call that hangs, and in the end nothing is left."""
    from fasdk.backends.tensorrt.close_timeout import CloseTimeout

    site = _Site(stage, driver=watched())
    engine = site.open()
    lane: Any = engine.open_lane(2)
    captures = site.captures(2, 7)
    site.driver.waits.clear()
    CloseTimeout.CLOSE_S, before = 0.5, CloseTimeout.CLOSE_S
    try:
        with stage.hanging():
            answer = on_a_thread(lambda: site.run(lane, captures))
            assert site.driver.waits.wait(WAIT_S)
            on_a_thread(engine.close).result(8.0)
            assert engine.preprocessing is not None, "the kernels were unloaded"
    finally:
        CloseTimeout.CLOSE_S = before
    np.testing.assert_array_equal(answer.result(WAIT_S), site.right(captures))
    engine.close()
    stage.require_nothing_live()


def grown_staging(stage: Stage) -> None:
    """A capture that does not fit is right, and so is the next, for which there is room."""
    from fasdk.backends.tensorrt import capture_lane

    capture_lane._USUAL_FRAME_PX = 50
    site = _Site(stage)
    lane = site.lane()
    before = lane.staging_bytes
    for seed, size in enumerate(SIZES):
        site.require(lane, size, seed)
        lane.tend()
    assert lane.staging_bytes > before


def device_lanes(stage: Stage) -> None:
    """Four lanes on four threads keep their rows apart."""
    site = _Site(stage)
    engine = site.open()
    opened: list[Any] = [engine.open_lane(LARGEST) for _ in range(4)]
    right = {
        (i, s): site.captures(1 + s % LARGEST, 100 * i + s) for i in range(4) for s in range(6)
    }
    _ = site.reference
    start = threading.Barrier(4)

    def work(index: int) -> None:
        start.wait(WAIT_S)
        for seed in range(6):
            captures = right[index, seed]
            np.testing.assert_array_equal(site.run(opened[index], captures), site.right(captures))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def device_nothing_left(stage: Stage) -> None:
    """Closing gives back staging, tables and kernels, grown ones included."""
    from fasdk.backends.tensorrt import capture_lane

    capture_lane._USUAL_FRAME_PX = 50
    site = _Site(stage)
    engine = site.open()
    lane: Any = engine.open_lane(LARGEST)
    before = lane.staging_bytes
    for seed in range(3):
        site.require(lane, 4, seed)
        lane.tend()
    assert lane.staging_bytes > before
    engine.close()
    stage.require_nothing_live()


SCENARIOS = (
    device_rows,
    plain_device_rows,
    mapped_rows,
    composite_rows,
    turns,
    put_again,
    refused_kernel,
    refused_upload,
    failing_kernel,
    close_under_a_kernel,
    close_during_kernels,
    kernels_outlive_an_abandoned_lane,
    grown_staging,
    device_lanes,
    device_nothing_left,
)
