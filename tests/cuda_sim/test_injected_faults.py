"""Contexts, and injected faults: failing calls, a lost device, a hanging one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from ctypes import CFUNCTYPE, byref, c_char_p, c_int, c_uint64, c_void_p

import numpy as np
import pytest

from support.cuda_sim.simulated_cuda import HERE, CudaResult, Layout, Simulator, ViolationKind

pytestmark = pytest.mark.cuda_sim


@pytest.fixture
def pair(cuda):
    host = cuda.pagelocked_empty(4, np.float32)
    host[:] = 1
    return cuda.mem_alloc(host.nbytes), host


@pytest.mark.parametrize(
    "call",
    [
        lambda library: library.cuMemAlloc_v2(byref(c_uint64()), c_uint64(4)),
        lambda library: library.cuMemHostAlloc(byref(c_void_p()), c_uint64(4), 0),
        lambda library: library.cuMemFree_v2(c_uint64(1)),
        lambda library: library.cuMemcpyHtoD_v2(c_uint64(1), c_void_p(1), c_uint64(4)),
        lambda library: library.cuMemcpyDtoHAsync_v2(c_void_p(1), c_uint64(1), c_uint64(4), None),
        lambda library: library.cuMemsetD32Async(c_uint64(4), 0, c_uint64(1), None),
        lambda library: library.cuStreamCreate(byref(c_void_p()), 0),
        lambda library: library.cuStreamSynchronize(None),
        lambda library: library.cuStreamBeginCapture_v2(None, 1),
        lambda library: library.cuEventCreate(byref(c_void_p()), 0),
        lambda library: library.cuEventRecord(c_void_p(1), None),
        lambda library: library.cuGraphLaunch(c_void_p(1), None),
        lambda library: library.cuCtxSynchronize(),
        lambda library: library.cuCtxPopCurrent_v2(byref(c_void_p())),
    ],
)
def test_a_thread_without_a_context_can_do_nothing(simulator, cuda, call):
    results = []
    thread = threading.Thread(target=lambda: results.append(call(simulator.library)))
    thread.start()
    thread.join()
    assert results == [CudaResult.INVALID_CONTEXT]


def test_another_contexts_stream_is_no_valid_handle(cuda, stream, pair):
    context = cuda.Device(0).make_context()  # what pycuda.autoinit would do
    try:
        with pytest.raises(cuda.LogicError, match="invalid resource handle"):
            stream.synchronize()
        with pytest.raises(cuda.LogicError, match="invalid resource handle"):
            cuda.memcpy_htod_async(*pair, stream)
    finally:
        context.pop()
        context.detach()


def test_a_launch_failure_comes_to_light_when_waited_for_and_stays(simulator, cuda, stream, pair):
    simulator.fail_operation(CudaResult.LAUNCH_FAILED, nth=2)
    found = cuda.pagelocked_empty(4, np.float32)
    cuda.memcpy_htod_async(*pair, stream)
    cuda.memcpy_dtoh_async(found, pair[0], stream)
    with pytest.raises(cuda.LaunchError, match="unspecified launch failure"):
        stream.synchronize()
    assert np.isnan(found).all()
    for call in (
        stream.synchronize,
        stream.is_done,
        cuda.Context.synchronize,
        lambda: cuda.mem_alloc(4),
        lambda: cuda.memcpy_htod(*pair),
        cuda.Event,
    ):
        with pytest.raises(cuda.Error, match="unspecified launch failure"):
            call()


def test_after_a_fault_nothing_runs_any_more(simulator, cuda, stream, pair):
    simulator.fail_operation()
    for _ in range(3):
        cuda.memcpy_htod_async(*pair, stream)
    with pytest.raises(cuda.Error):
        stream.synchronize()
    simulator.library.cudasim_reset(c_uint64(0))
    assert simulator.report().executed == {}


def test_a_call_fails_by_name_once_or_from_then_on(simulator, cuda, stream):
    simulator.fail_call("cuStreamSynchronize", CudaResult.LAUNCH_FAILED, nth=2)
    stream.synchronize()
    with pytest.raises(cuda.LaunchError):
        stream.synchronize()
    stream.synchronize()
    simulator.fail_call("cuEventCreate", CudaResult.ECC_UNCORRECTABLE, repeats=True)
    for _ in range(2):
        with pytest.raises(cuda.Error, match="ECC"):
            cuda.Event()


def test_a_lost_device_answers_nothing(simulator, cuda, stream, pair):
    cuda.memcpy_htod_async(*pair, stream)
    simulator.lose_device()
    with pytest.raises(cuda.Error, match="unavailable"):
        stream.synchronize()
    with pytest.raises(cuda.Error, match="unavailable"):
        cuda.Device(0)
    with pytest.raises(cuda.Error, match="no CUDA-capable device"):
        cuda.init()
    simulator.lose_device(CudaResult.SUCCESS)
    cuda.Device(0)
    with pytest.raises(cuda.Error, match="unavailable"):
        stream.synchronize()  # the context went with it


def test_a_device_that_hangs_is_waited_for_until_it_goes_on(simulator, cuda, stream, pair):
    simulator.hang()
    cuda.memcpy_htod_async(*pair, stream)
    timer = threading.Timer(0.2, lambda: simulator.hang(hangs=False))
    start = time.monotonic()
    timer.start()
    stream.synchronize()
    assert time.monotonic() - start >= 0.2


def test_host_functions_run_in_order_and_may_call_python(simulator, cuda, stream, pair):
    seen = []
    found = cuda.pagelocked_empty(4, np.float32)
    function = CFUNCTYPE(None, c_void_p)(lambda _: seen.append(found.tolist()))
    cuda.memcpy_htod_async(*pair, stream)
    cuda.memcpy_dtoh_async(found, pair[0], stream)
    assert simulator.library.cuLaunchHostFunc(c_void_p(stream.handle), function, None) == 0
    stream.synchronize()
    assert seen == [[1, 1, 1, 1]]


def test_an_image_without_kernels_is_refused(simulator, cuda):
    with pytest.raises(cuda.Error, match="image is invalid"):
        cuda.module_from_buffer(b"no cubin")
    with pytest.raises(cuda.Error, match="no kernel image is available"):
        cuda.module_from_buffer(b".version 8.0\n.target sm_90\n\0")


def test_arrays_are_not_supported_and_say_so(simulator, cuda):
    assert simulator.library.cuArrayDestroy() == CudaResult.NOT_SUPPORTED


def test_writing_beside_an_allocation_is_reported(simulator, cuda):
    device = cuda.mem_alloc(12)
    beside = (c_int * 1).from_address(int(device) + 12)
    beside[0] = 0
    device.free()
    assert simulator.report().kinds == {ViolationKind.OVERRUN}


def test_codes_have_their_names(simulator):
    name = c_char_p()
    for code in CudaResult:
        assert simulator.library.cuGetErrorName(c_int(code), byref(name)) == 0
        short = (name.value or b"").decode().removeprefix("CUDA_ERROR_").removeprefix("CUDA_")
        assert short == code.name


def test_a_reset_forgets_and_what_was_held_goes_on_working(simulator, cuda, stream, pair):
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    device.free()
    assert simulator.report().violations
    simulator.reset(7)
    report = simulator.report()
    assert (report.violations, report.executed, report.live.objects) == ((), {}, 0)
    again = cuda.mem_alloc(host.nbytes)
    cuda.memcpy_htod_async(again, host, stream)
    stream.synchronize()
    host.base.free()
    assert simulator.report().violations == ()


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, "Orin 8.7 12060"),
        (
            {
                "CUDASIM_NAME": "NVIDIA Thor",
                "CUDASIM_COMPUTE_CAPABILITY": "11.0",
                "CUDASIM_DRIVER_VERSION": "13000",
            },
            "NVIDIA Thor 11.0 13000",
        ),
    ],
)
def test_the_environment_says_which_device_it_is(variables, found):
    script = (
        "from support.cuda_sim.simulated_cuda import load; load(); "
        "import pycuda.driver as cuda; cuda.init(); "
        "d = cuda.Device(0); "
        "print(d.name(), '.'.join(map(str, d.compute_capability())), cuda.get_driver_version())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])} | variables,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == found
    assert done.stderr == ""


def test_a_driver_that_was_not_built_says_how(tmp_path):
    with pytest.raises(FileNotFoundError, match="make cuda-sim"):
        Simulator(Layout(tmp_path))
