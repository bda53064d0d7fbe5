"""Streams of the simulated driver: delayed, in order, and checked for races."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

from support.cuda_sim.simulated_cuda import ViolationKind

pytestmark = pytest.mark.cuda_sim


@pytest.fixture
def pair(cuda):
    """Device memory and page-locked memory of four floats each, the latter all ones."""
    host = cuda.pagelocked_empty(4, np.float32)
    host[:] = 1
    device = cuda.mem_alloc(host.nbytes)
    return device, host


def test_an_asynchronous_copy_reads_its_source_when_it_runs(simulator, cuda, stream, pair):
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    host[:] = 2  # the bug: the copy may not have read it yet
    stream.synchronize()
    found = np.empty(4, np.float32)
    cuda.memcpy_dtoh(found, device)
    assert found.tolist() == [2, 2, 2, 2]
    assert simulator.report().kinds == {ViolationKind.SOURCE_CHANGED}


def test_a_result_read_before_synchronizing_is_nan(simulator, cuda, stream, pair):
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    stream.synchronize()
    cuda.memcpy_dtoh_async(host, device, stream)
    assert np.isnan(host).all()
    stream.synchronize()
    assert host.tolist() == [1, 1, 1, 1]
    assert simulator.report().violations == ()


def test_a_target_written_to_while_a_copy_into_it_is_enqueued_is_reported(
    simulator, cuda, stream, pair
):
    device, host = pair
    cuda.memcpy_htod(device, host)
    cuda.memcpy_dtoh_async(host, device, stream)
    host.fill(0)
    stream.synchronize()
    assert host.tolist() == [1, 1, 1, 1]
    assert simulator.report().kinds == {ViolationKind.TARGET_CHANGED}


def test_waiting_for_one_stream_does_not_push_another(cuda, stream, pair):
    device, host = pair
    other = cuda.Stream(1)
    cuda.memcpy_htod(device, host)
    cuda.memcpy_dtoh_async(host, device, stream)
    other.synchronize()
    assert np.isnan(host).all()
    stream.synchronize()
    assert not np.isnan(host).any()


def test_asking_does_not_push_but_work_gets_done_in_the_end(simulator, cuda, stream, pair):
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    assert not stream.is_done()
    until = time.monotonic() + 10
    while not stream.is_done():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_target_keeps_what_earlier_work_still_needs_of_it(simulator, cuda, stream, pair):
    # In and out through one buffer: in order on a stream, so the first copy must see the ones.
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    cuda.memcpy_dtoh_async(host, device, stream)
    stream.synchronize()
    assert host.tolist() == [1, 1, 1, 1]
    assert simulator.report().violations == ()


def test_an_event_is_waited_for(cuda, stream, pair):
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    cuda.memcpy_dtoh_async(host, device, stream)
    event = cuda.Event().record(stream)
    assert not event.query()
    event.synchronize()
    assert event.query()
    assert host.tolist() == [1, 1, 1, 1]


def test_time_passes_between_events(simulator, cuda, stream, pair):
    device, host = pair
    simulator.set_delay(2000, 2000, starvation=1)
    start, end = cuda.Event(), cuda.Event()
    start.record(stream)
    cuda.memcpy_htod_async(device, host, stream)
    end.record(stream)
    end.synchronize()
    assert 4 <= start.time_till(end) < 1000  # the copy's delay and the second event's
    with pytest.raises(cuda.LogicError):
        cuda.Event(cuda.event_flags.DISABLE_TIMING).record(stream).time_since(start)


def test_a_stream_waits_for_another_by_an_event(simulator, cuda, stream, pair):
    device, host = pair
    other = cuda.Stream(1)
    found = cuda.pagelocked_empty(4, np.float32)
    cuda.memcpy_htod_async(device, host, stream)
    other.wait_for_event(cuda.Event().record(stream))
    cuda.memcpy_dtoh_async(found, device, other)
    other.synchronize()
    assert found.tolist() == [1, 1, 1, 1]
    assert simulator.report().violations == ()


def test_two_streams_that_nothing_orders_are_a_race(simulator, cuda, stream, pair):
    device, host = pair
    other = cuda.Stream(1)
    found = cuda.pagelocked_empty(4, np.float32)
    cuda.memcpy_htod_async(device, host, stream)
    cuda.memcpy_dtoh_async(found, device, other)
    stream.synchronize()
    other.synchronize()
    (violation,) = simulator.report().violations
    assert violation.kind is ViolationKind.RACE
    assert "cuMemcpyDtoHAsync reads 16 bytes of device memory" in violation.text


def test_a_race_is_one_however_late_the_second_stream_starts(simulator, cuda, stream, pair):
    device, host = pair
    simulator.run_freely()
    cuda.memcpy_htod_async(device, host, stream)
    time.sleep(0.05)  # long done, by luck
    other = cuda.Stream(1)
    cuda.memcpy_htod_async(device, host, other)
    other.synchronize()
    assert simulator.report().kinds == {ViolationKind.RACE}


def test_two_readers_are_no_race_and_nor_is_what_the_host_ordered(simulator, cuda, stream, pair):
    device, host = pair
    other = cuda.Stream(1)
    cuda.memcpy_htod_async(device, host, stream)
    stream.synchronize()
    for each in (stream, other):
        target = cuda.pagelocked_empty(4, np.float32)
        cuda.memcpy_dtoh_async(target, device, each)
        each.synchronize()
    assert simulator.report().violations == ()


def test_the_legacy_stream_and_blocking_streams_wait_for_each_other(simulator, cuda, pair):
    device, host = pair
    blocking = cuda.Stream()
    cuda.memcpy_htod_async(device, host, blocking)
    found = np.empty(4, np.float32)
    cuda.memcpy_dtoh(found, device)  # on the legacy stream
    assert found.tolist() == [1, 1, 1, 1]
    cuda.memset_d32(device, 0, 4)
    cuda.memcpy_dtoh_async(host, device, blocking)
    blocking.synchronize()
    assert host.tolist() == [0, 0, 0, 0]
    assert simulator.report().violations == ()


def test_the_legacy_stream_does_not_wait_for_a_non_blocking_one(simulator, cuda, stream, pair):
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    cuda.memcpy_dtoh(np.empty(4, np.float32), device)
    assert simulator.report().kinds == {ViolationKind.RACE}


def test_freeing_what_enqueued_work_uses_is_reported(simulator, cuda, stream, pair):
    device, host = pair
    cuda.memcpy_htod_async(device, host, stream)
    device.free()
    stream.synchronize()
    (violation,) = simulator.report().violations
    assert violation.kind is ViolationKind.FREE_IN_USE
    assert "cuMemFree: 16 bytes of device memory" in violation.text
    assert "cuMemcpyHtoDAsync" in violation.text


def test_freeing_is_reported_though_the_work_is_done_by_luck(simulator, cuda, stream, pair):
    device, host = pair
    simulator.run_freely()
    cuda.memcpy_htod_async(device, host, stream)
    time.sleep(0.05)
    host.base.free()
    assert simulator.report().kinds == {ViolationKind.FREE_IN_USE}


def test_a_stream_destroyed_under_way_is_reported_and_its_work_done(simulator, cuda, pair):
    device, host = pair
    stream = cuda.Stream(1)
    cuda.memcpy_htod_async(device, host, stream)
    del stream
    gc.collect()
    assert simulator.report().kinds == {ViolationKind.STREAM_IN_USE}
    until = time.monotonic() + 10
    while not simulator.report().executed:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_pageable_memory_is_staged_or_waited_for(simulator, cuda, stream):
    sent = np.ones(4, np.float32)
    found = np.empty(4, np.float32)
    device = cuda.mem_alloc(sent.nbytes)
    cuda.memcpy_htod_async(device, sent, stream)
    sent[:] = 2
    cuda.memcpy_dtoh_async(found, device, stream)
    assert found.tolist() == [1, 1, 1, 1]
    assert simulator.report().violations == ()


def test_operations_are_delayed_and_those_of_a_starved_stream_more(simulator, cuda, pair):
    device, host = pair

    def seconds(seed, **delays):
        simulator.reset(seed)
        simulator.set_delay(500, 500, **delays)
        stream = cuda.Stream(1)
        start = time.perf_counter()
        for _ in range(8):
            cuda.memcpy_htod_async(device, host, stream)
        stream.synchronize()
        return time.perf_counter() - start

    assert seconds(1, starvation=1) >= 8 * 500e-6
    slowest = max(seconds(seed, starvation=20) for seed in range(16))
    assert slowest >= 8 * 20 * 500e-6


def test_ten_thousand_copies_take_seconds_at_most(simulator, cuda, stream, pair):
    device, host = pair
    simulator.run_freely()
    start = time.perf_counter()
    for _ in range(5_000):
        cuda.memcpy_htod_async(device, host, stream)
        cuda.memcpy_dtoh_async(host, device, stream)
        stream.synchronize()
    assert time.perf_counter() - start < 10
    assert simulator.report().executed == {"cuMemcpyHtoDAsync": 5_000, "cuMemcpyDtoHAsync": 5_000}
    assert simulator.report().violations == ()
