"""Memory of the simulated driver: NaN when fresh or freed, and leak accounting."""

from __future__ import annotations

import gc
from ctypes import byref, c_uint64

import numpy as np
import pytest

from support.cuda_sim.simulated_cuda import CudaResult, ViolationKind

pytestmark = pytest.mark.cuda_sim


def test_the_device_is_an_orin_as_far_as_pycuda_can_tell(cuda):
    device = cuda.Device(0)
    assert device.name() == "Orin"
    assert device.compute_capability() == (8, 7)
    assert cuda.get_driver_version() == 12060


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_fresh_memory_is_nan(cuda, dtype):
    assert np.isnan(cuda.pagelocked_empty((3, 5), dtype)).all()
    device = cuda.mem_alloc(64)
    found = np.zeros(64 // np.dtype(dtype).itemsize, dtype)
    cuda.memcpy_dtoh(found, device)
    assert np.isnan(found).all()


def test_freed_page_locked_memory_is_nan_to_a_late_reader(cuda):
    array = cuda.pagelocked_empty(8, np.float32)
    array[:] = 1
    array.base.free()
    assert np.isnan(array).all()


def test_copies_arrive(cuda):
    sent = np.arange(7, dtype=np.float32)
    device = cuda.mem_alloc(sent.nbytes)
    cuda.memcpy_htod(device, sent)
    other = cuda.mem_alloc(sent.nbytes)
    cuda.memcpy_dtod(other, device, sent.nbytes)
    found = np.empty_like(sent)
    cuda.memcpy_dtoh(found, other)
    np.testing.assert_array_equal(found, sent)


def test_a_fill_sets_every_element(cuda, stream):
    device = cuda.mem_alloc(12)
    host = cuda.pagelocked_empty(3, np.uint32)
    cuda.memset_d32_async(device, 0x7FC00000, 3, stream)
    cuda.memcpy_dtoh_async(host, device, stream)
    stream.synchronize()
    assert host.tolist() == [0x7FC00000] * 3


def test_a_copy_outside_an_allocation_is_refused(cuda):
    device = cuda.mem_alloc(16)
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        cuda.memcpy_htod(device, np.zeros(5, np.float32))
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        cuda.memcpy_htod(4096, np.zeros(1, np.float32))


def test_memory_still_held_is_listed(simulator, cuda):
    device = cuda.mem_alloc(16)
    array = cuda.pagelocked_empty(2, np.float32)
    stream, event = cuda.Stream(), cuda.Event()
    live = simulator.report().live
    assert (live.device, live.device_bytes, live.pinned, live.pinned_bytes) == (1, 16, 1, 8)
    assert (live.streams, live.events, live.objects) == (1, 1, 4)
    assert "16 bytes of device memory" in " ".join(live.memory)
    device.free()
    array.base.free()
    del stream, event, array
    gc.collect()
    assert simulator.report().live.objects == 0
    assert simulator.report().violations == ()


def test_a_second_free_is_reported(simulator, cuda):
    address = int(cuda.mem_alloc(16))  # the handle is dropped, which frees it
    gc.collect()
    assert simulator.library.cuMemFree_v2(c_uint64(address)) == CudaResult.INVALID_VALUE
    assert simulator.report().kinds == {ViolationKind.DOUBLE_FREE}


def test_a_free_of_what_was_never_allocated_is_reported(simulator, cuda):
    device = cuda.mem_alloc(16)
    assert simulator.library.cuMemFree_v2(c_uint64(int(device) + 4)) == CudaResult.INVALID_VALUE
    assert simulator.report().kinds == {ViolationKind.INVALID_FREE}


def test_a_context_that_goes_with_memory_in_it_is_a_leak(simulator, cuda):
    context = cuda.Device(0).make_context()
    address = simulator.library.cuMemAlloc_v2
    held = c_uint64(0)
    assert address(byref(held), c_uint64(32)) == CudaResult.SUCCESS
    context.pop()
    context.detach()
    assert simulator.report().kinds == {ViolationKind.LEAK}


def test_memory_ends_where_it_was_said_to(simulator, cuda):
    before = cuda.mem_alloc(1000)  # of no interest after a reset
    simulator.reset()
    simulator.set_memory(1024)
    first = cuda.mem_alloc(1000)
    with pytest.raises(cuda.MemoryError, match="out of memory"):
        cuda.mem_alloc(25)
    assert cuda.mem_get_info() == (24, 1024)
    first.free()
    cuda.mem_alloc(25).free()
    before.free()
    assert simulator.report().violations == ()


def test_the_nth_allocation_fails(simulator, cuda):
    simulator.fail_call("cuMemAlloc", CudaResult.OUT_OF_MEMORY, nth=3, repeats=True)
    held = [cuda.mem_alloc(4), cuda.mem_alloc(4)]
    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(4)
    assert simulator.report().live.device == len(held)


def test_an_allocation_that_fails_once_is_tried_again_by_pycuda(simulator, cuda):
    simulator.fail_call("cuMemAlloc", CudaResult.OUT_OF_MEMORY)
    cuda.mem_alloc(4).free()


def test_page_locked_memory_runs_out_too(simulator, cuda):
    simulator.fail_call("cuMemHostAlloc", CudaResult.OUT_OF_MEMORY, repeats=True)
    for _ in range(2):
        with pytest.raises(cuda.MemoryError):
            cuda.pagelocked_empty(4, np.float32)
