"""Launches of kernels on the simulated driver: planted bugs, each reported or seen, and faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fasdk.backends.cuda import PyCudaDriver
from fasdk.backends.cuda_api import CudaModule, CudaStream, DeviceBuffer, HostBuffer
from fasdk.errors import BackendError
from fasdk.preprocess.native import native_module

from support.cuda_sim.kernel_image import image
from support.cuda_sim.simulated_cuda import CudaResult, Simulator, ViolationKind
from support.requirements import Requirement

pytestmark = [
    pytest.mark.cuda_sim,
    Requirement.NATIVE.mark("it was not built", lacking=native_module() is None),
]

HEIGHT, WIDTH = 6, 8
FRAME_BYTES = HEIGHT * WIDTH
ROW_VALUES = 3 * HEIGHT * WIDTH
LEVELS_BYTES = 65_536


@dataclass
class Bench:
    """A frame, a levels table and two rows, in memory of any kind; tests break one rule each.

    Attributes:
        staging: uint8 [6, 8], page-locked.
        frame: The frame on the device.
        rows: float32 [2, 3, 6, 8] on the device.
        found: float32 [2, 3, 6, 8], page-locked.
    """

    simulator: Simulator
    driver: PyCudaDriver
    module: CudaModule
    stream: CudaStream
    staging: HostBuffer
    frame: DeviceBuffer
    levels: DeviceBuffer
    rows: DeviceBuffer
    found: HostBuffer

    def upload(self, stream: CudaStream | None = None) -> None:
        self.driver.copy_to_device(self.frame, self.staging.array, stream or self.stream)

    def arguments(self, **changes: Any) -> bytes:
        native: Any = native_module()
        packer = native.RowPacker(mean=(0.0,) * 3, std=(1.0,) * 3, swap=False)
        given: dict[str, Any] = {
            "frame": self.frame.address,
            "shape": (HEIGHT, WIDTH, 1),
            "strides": (WIDTH, 1, 1),
            "out": self.rows.address,
            "out_size": (HEIGHT, WIDTH),
            "region": (0, 0, WIDTH - 1, HEIGHT - 1),
        }
        given |= changes
        arguments: bytes = packer.depth(**given) if "levels" in given else packer.image(**given)
        return arguments

    def launch(
        self,
        stream: CudaStream | None = None,
        name: str = "fasdk_image_row",
        grid: tuple[int, int, int] = (1, 1, 1),
        **changes: Any,
    ) -> None:
        arguments = self.arguments(**changes)
        function = self.module.function(name)
        self.driver.launch(function, grid, (32, 8, 1), arguments, stream or self.stream)

    def download(self) -> np.ndarray:
        self.driver.copy_to_host(self.found.array, self.rows, self.stream)
        self.stream.synchronize()
        return self.found.array

    @property
    def kinds(self) -> set[ViolationKind]:
        return self.simulator.report().kinds


@pytest.fixture
def seed() -> int:
    return 3


@pytest.fixture
def bench(simulator: Simulator, cuda: Any, seed: int) -> Bench:
    simulator.reset(seed)
    simulator.set_hold(5_000)
    driver = PyCudaDriver()
    made = Bench(
        simulator,
        driver,
        driver.module(image()),
        driver.stream(),
        driver.host_buffer((HEIGHT, WIDTH), np.uint8),
        driver.device_buffer(FRAME_BYTES),
        driver.device_buffer(LEVELS_BYTES),
        driver.device_buffer(2 * 4 * ROW_VALUES),
        driver.host_buffer((2, 3, HEIGHT, WIDTH)),
    )
    made.staging.array[...] = np.arange(FRAME_BYTES).reshape(HEIGHT, WIDTH)
    return made


def test_a_row_is_written_behind_its_upload(bench):
    bench.upload()
    bench.launch()
    np.testing.assert_array_equal(bench.download()[0], [bench.staging.array] * 3)
    assert np.isnan(bench.found.array[1]).all(), "the other row was never written"
    assert bench.kinds == set()
    assert bench.simulator.report().executed["fasdk_image_row"] == 1


def test_a_recorded_row_is_written_anew_by_each_launch(bench):
    def work() -> None:
        bench.upload()
        bench.launch()
        bench.driver.copy_to_host(bench.found.array, bench.rows, bench.stream)

    graph = bench.driver.capture(bench.stream, work)
    assert bench.simulator.report().executed.get("fasdk_image_row", 0) == 0
    for start in (1, 50):
        bench.staging.array[...] = np.arange(start, start + FRAME_BYTES).reshape(HEIGHT, WIDTH)
        graph.launch(bench.stream)
        bench.stream.synchronize()
        np.testing.assert_array_equal(bench.found.array[0, 2], bench.staging.array)
    graph.free()
    assert bench.kinds == set()


def test_a_kernel_says_what_it_takes(bench):
    native: Any = native_module()
    for name, parameters in native.ROW_PARAMETERS.items():
        assert bench.module.function(name).parameters() == parameters
    with pytest.raises(BackendError, match="no kernel fasdk_other_row"):
        bench.module.function("fasdk_other_row")


# -- planted bugs ----------------------------------------------------------------------------------


def staging_reused(bench: Bench) -> None:
    """The next frame is written to staging before the copy of this one is done."""
    bench.upload()
    bench.launch()
    bench.staging.array.fill(0)
    bench.download()


def kernel_on_another_stream(bench: Bench) -> None:
    """The kernel does not wait for the upload."""
    other = bench.driver.stream()
    bench.upload()
    bench.launch(other)
    other.synchronize()
    bench.download()


def reader_on_another_stream(bench: Bench) -> None:
    """Whoever reads the row does not wait for the kernel."""
    other = bench.driver.stream()
    bench.upload()
    bench.launch()
    bench.driver.copy_to_host(bench.found.array, bench.rows, other)
    other.synchronize()
    bench.stream.synchronize()


def levels_freed(bench: Bench) -> None:
    """The levels table is freed while a kernel that reads it is enqueued."""
    bench.launch(
        name="fasdk_depth_row",
        levels=bench.levels.address,
        shape=(HEIGHT // 2, WIDTH, 1),
        region=(0, 0, WIDTH - 1, HEIGHT // 2 - 1),
    )
    bench.levels.free()
    bench.stream.synchronize()


def frame_freed(bench: Bench) -> None:
    """The frame is freed before the kernel is enqueued."""
    bench.upload()
    bench.stream.synchronize()
    arguments = bench.arguments()
    bench.frame.free()
    function = bench.module.function("fasdk_image_row")
    bench.driver.launch(function, (1, 1, 1), (32, 8, 1), arguments, bench.stream)
    bench.stream.synchronize()


def module_unloaded(bench: Bench) -> None:
    """The kernels are unloaded while one of them is enqueued."""
    bench.upload()
    bench.launch()
    bench.module.free()
    bench.stream.synchronize()


def mapped_frame_changed(bench: Bench) -> None:
    """A mapped frame is overwritten before the kernel has read it."""
    mapped = bench.driver.host_buffer((HEIGHT, WIDTH), np.uint8, mapped=True)
    mapped.array.fill(7)
    bench.launch(frame=mapped.device_address)
    mapped.array.fill(8)
    bench.stream.synchronize()


def mapped_row_written_by_the_host(bench: Bench) -> None:
    """The host writes to a mapped row before the kernel has."""
    bench.upload()
    row = bench.driver.host_buffer((ROW_VALUES,), mapped=True)
    bench.launch(out=row.device_address)
    row.array.fill(0.0)
    bench.stream.synchronize()


def two_kernels_one_row(bench: Bench) -> None:
    """Two streams write one row, the second with an offset that is wrong by one capture."""
    other = bench.driver.stream()
    bench.upload()
    bench.stream.synchronize()
    bench.launch()
    bench.launch(other)
    other.synchronize()
    bench.stream.synchronize()


PLANTED = {
    staging_reused: ViolationKind.SOURCE_CHANGED,
    kernel_on_another_stream: ViolationKind.RACE,
    reader_on_another_stream: ViolationKind.RACE,
    levels_freed: ViolationKind.FREE_IN_USE,
    frame_freed: ViolationKind.USE_AFTER_FREE,
    module_unloaded: ViolationKind.MODULE_IN_USE,
    mapped_frame_changed: ViolationKind.SOURCE_CHANGED,
    mapped_row_written_by_the_host: ViolationKind.TARGET_CHANGED,
    two_kernels_one_row: ViolationKind.RACE,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_reported_whatever_the_seed(bench, plant, seed):
    plant(bench)
    assert PLANTED[plant] in bench.kinds


def test_a_mapped_row_read_too_early_holds_nothing(bench):
    bench.upload()
    row = bench.driver.host_buffer((ROW_VALUES,), mapped=True)
    row.array.fill(0.5)
    bench.launch(out=row.device_address)
    assert np.isnan(row.array).all()
    bench.stream.synchronize()
    np.testing.assert_array_equal(row.array[:FRAME_BYTES], bench.staging.array.ravel())


def test_a_grid_too_small_leaves_values_unwritten(bench):
    wide = (0, 0, WIDTH - 1, HEIGHT - 1)
    row = bench.driver.device_buffer(4 * 3 * 40)
    found = bench.driver.host_buffer((3, 40))
    bench.upload()
    bench.launch(out=row.address, out_size=(1, 40), region=wide)
    bench.driver.copy_to_host(found.array, row, bench.stream)
    bench.stream.synchronize()
    assert np.isnan(found.array).any(axis=0).tolist() == [False] * 32 + [True] * 8


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"frame": 1 << 20}, "illegal memory access"),
        ({"region": (0, 0, WIDTH, HEIGHT - 1), "shape": (HEIGHT, WIDTH + 1, 1)}, "illegal memory"),
        ({"strides": (WIDTH + 1, 1, 1)}, "illegal memory access"),
        ({"out": 1 << 20}, "illegal memory access"),
    ],
    ids=["no memory", "a column too many", "rows too far apart", "no row"],
)
def test_an_access_outside_of_memory_is_a_fault_of_the_stream(bench, changes, fault):
    bench.upload()
    with pytest.raises(BackendError, match=fault), bench.driver.current():
        bench.launch(**changes)
        bench.stream.synchronize()


def test_a_row_beyond_the_last_one_is_a_fault(bench):
    bench.upload()
    with pytest.raises(BackendError, match="illegal memory access"), bench.driver.current():
        bench.launch(out=bench.rows.address + 2 * 4 * ROW_VALUES - 4)
        bench.stream.synchronize()


def test_arguments_of_another_size_are_refused(bench):
    function = bench.module.function("fasdk_present_row")
    with pytest.raises(BackendError, match="not launched: CUDA_ERROR_INVALID_VALUE"):
        bench.driver.launch(function, (1, 1, 1), (32, 1, 1), bench.arguments(), bench.stream)
    with pytest.raises(BackendError, match="not launched: CUDA_ERROR_INVALID_VALUE"):
        bench.launch(grid=(0, 1, 1))


@pytest.mark.parametrize(
    ("call", "result", "words"),
    [
        ("cuModuleLoadData", CudaResult.NO_BINARY_FOR_GPU, "no code for Orin"),
        ("cuModuleLoadData", CudaResult.OUT_OF_MEMORY, "cannot be loaded: .*OUT_OF_MEMORY"),
        ("cuModuleGetFunction", CudaResult.NOT_FOUND, "there is no kernel fasdk_image_row"),
        ("cuLaunchKernel", CudaResult.OUT_OF_MEMORY, "not launched: CUDA_ERROR_OUT_OF_MEMORY"),
    ],
)
def test_a_call_that_fails_is_told(bench, call, result, words):
    bench.simulator.fail_call(call, result)
    with pytest.raises(BackendError, match=words):
        module = bench.driver.module(image())
        try:
            bench.driver.launch(
                module.function("fasdk_image_row"),
                (1, 1, 1),
                (32, 8, 1),
                bench.arguments(),
                bench.stream,
            )
        finally:
            module.free()


def test_a_kernel_that_fails_is_a_fault_of_the_stream(bench):
    bench.upload()
    bench.stream.synchronize()
    bench.simulator.fail_operation(CudaResult.LAUNCH_FAILED)
    with pytest.raises(BackendError, match="launch fail"), bench.driver.current():
        bench.launch()
        bench.stream.synchronize()


@pytest.mark.parametrize(("capability", "fits"), [("8.7", True), ("8.0", True), ("9.0", False)])
def test_ptx_fits_its_gpu_and_every_later_one(bench, capability, fits):
    if fits:
        bench.driver.module(image(capability)).free()
        return
    with pytest.raises(BackendError, match=r"no code for Orin \(compute capability 8.7\)"):
        bench.driver.module(image(capability))


@pytest.mark.parametrize("integrated", [False, True])
def test_the_driver_says_whether_the_gpu_shares_the_hosts_memory(simulator, cuda, integrated):
    simulator.set_integrated(integrated=integrated)
    assert PyCudaDriver().device.is_integrated is integrated


def test_memory_that_is_not_mapped_has_no_address_on_the_device(simulator, cuda):
    driver = PyCudaDriver()
    with pytest.raises(BackendError, match="mapped=True"):
        _ = driver.host_buffer((4,)).device_address
    plain = cuda.pagelocked_empty(4, np.float32)
    with pytest.raises(cuda.Error, match="invalid"):
        plain.base.get_device_pointer()


def test_modules_are_counted_until_they_are_freed(bench):
    before = bench.simulator.report().live
    bench.module.free()
    after = bench.simulator.report().live
    assert (before.modules, after.modules) == (1, 0)
    assert before.objects - after.objects == 1
