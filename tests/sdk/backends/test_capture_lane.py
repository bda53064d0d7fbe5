"""Lane that takes captures: rows by kernels, staging, missing modalities and faults."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasdk.backends.cuda_api import CudaStream, DeviceBuffer
from fasdk.backends.engine import Backend, CaptureLane, Preprocessing, place_of_preprocessing
from fasdk.backends.tensorrt import capture_lane, row_kernels
from fasdk.backends.tensorrt.capture_lane import CaptureTensorRtLane
from fasdk.backends.tensorrt.execution import TensorRtEngine
from fasdk.backends.tensorrt.opening import open_tensorrt_engine
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import Bundle
from fasdk.capture import Capture, Modality
from fasdk.decision import MissingModalities, Verdict
from fasdk.errors import BackendError, PlanError, PreprocessError
from fasdk.preprocess import CropRule, DepthEncoding, IrComposite, PreprocessSpec
from fasdk.preprocess.parts import part_of
from fasdk.scorer import Scorer
from fasdk.session.session import Liveness

from support import capture_bundle
from support.capture_bundle import fit_captures, random_specs
from support.fake_gpu import FakeGpu
from support.played_kernels import PlayedKernels
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import Behavior

LARGEST = 3
PLAIN = PreprocessSpec(width=16, height=12, crop=CropRule.FACE, mean=(9.0,) * 3, std=(99.0,) * 3)
DEPTH = DepthEncoding(near_mm=400, far_mm=2000, polarity="near-bright")
SPECS = {
    Modality.RGB: PLAIN,
    Modality.DEPTH: PLAIN.model_copy(update={"depth": DEPTH, "missing_value": -1.5}),
    Modality.IR: PLAIN.model_copy(update={"ir_composite": IrComposite.IR_HOG_PLGF}),
}


class CountingGpu(FakeGpu):
    """A fake GPU that counts what is copied to it."""

    copied_bytes = 0

    def copy_to_device(
        self,
        target: DeviceBuffer,
        source: Any,
        stream: CudaStream,
        offset_bytes: int = 0,
    ) -> None:
        if "upload" in self.refuses:
            raise BackendError("CUDA failed: cuMemcpyHtoDAsync gave CUDA_ERROR_LAUNCH_FAILED")
        self.copied_bytes += source.nbytes
        super().copy_to_device(target, source, stream, offset_bytes)


@dataclass
class Site:
    """A GPU whose kernels are played, and folders for bundles."""

    gpu: CountingGpu
    played: PlayedKernels
    folder: Path

    def bundle(self, specs: dict[Modality, PreprocessSpec], *, presence: bool = False) -> Bundle:
        return capture_bundle.write(
            self.folder / "rows.fasb", specs, presence=presence, max_batch=LARGEST
        )

    def open(
        self, bundle: Bundle, preprocess: Preprocessing = Preprocessing.DEVICE, **options: Any
    ) -> TensorRtEngine:
        return open_tensorrt_engine(
            bundle, Backend.TENSORRT, driver=self.gpu, preprocess=preprocess, **options
        )

    def lane(self, bundle: Bundle, max_batch: int = LARGEST, **options: Any) -> CaptureTensorRtLane:
        lane = self.open(bundle, **options).open_lane(max_batch)
        assert isinstance(lane, CaptureTensorRtLane)
        return lane


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    gpu = CountingGpu()
    played = PlayedKernels(gpu, monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in(gpu, Behavior()))
    yield Site(gpu, played, tmp_path)
    row_kernels._packer.cache_clear()


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def any_site(request: pytest.FixtureRequest, site: Site) -> Site:
    site.gpu.device = replace(site.gpu.device, is_integrated=request.param)
    return site


def put_all(lane: CaptureLane, captures: list[Capture]) -> None:
    for row, capture in enumerate(captures):
        lane.put(capture, row)


def host_rows(bundle: Bundle, captures: list[Capture]) -> dict[str, np.ndarray]:
    return Scorer(bundle, "standard").batch(captures)


@pytest.mark.parametrize("presence", [False, True])
def test_rows_are_those_of_the_host_to_the_bit(any_site: Site, presence: bool) -> None:
    draw = np.random.default_rng(3)
    for _ in range(2):
        bundle = any_site.bundle(random_specs(draw), presence=presence)
        captures = fit_captures(Scorer(bundle, "standard"), draw)
        lane = any_site.lane(bundle)
        for size in (3, 1, 2):
            given = [next(captures) for _ in range(size)]
            put_all(lane, given)
            made = lane.tensors(size)
            for name, rows in host_rows(bundle, given).items():
                assert made[name].tobytes() == rows.tobytes(), name
    assert set(any_site.played.played) >= {
        "fasdk_image_row",
        "fasdk_depth_row",
        "fasdk_constant_row",
    }
    assert ("fasdk_present_row" in any_site.played.played) is presence


@pytest.mark.parametrize("graphs", [True, False])
def test_the_engine_reads_the_rows_of_its_own_call(any_site: Site, graphs: bool) -> None:
    bundle = any_site.bundle(SPECS, presence=True)
    lane = any_site.lane(bundle, graphs=graphs)
    host = any_site.open(bundle, Preprocessing.HOST)
    captures = fit_captures(Scorer(bundle, "standard"), np.random.default_rng(4))
    for size in (2, 3, 1, 3):
        given = [next(captures) for _ in range(size)]
        put_all(lane, given)
        found = lane.run_captures(size).logits
        rows = host_rows(bundle, given)
        np.testing.assert_array_equal(found, host.run(rows).logits)
        for name, values in rows.items():  # tensors and captures take turns
            lane.inputs[name][:size] = values[::-1]
        np.testing.assert_array_equal(lane.run(size).logits, found[::-1])


def regions_bytes(bundle: Bundle, capture: Capture) -> int:
    """Return the bytes of what the device preprocesses of a capture."""
    found = 0
    for modality, spec in bundle.manifest.inputs.items():
        if modality in capture.present:
            landmarks, face = capture.landmarks_in(modality), capture.face_in(modality)
            part = part_of(capture.frame(modality), face, spec, landmarks=landmarks)
            found += part.pixels.nbytes
    return found


def test_no_more_is_copied_than_the_regions(any_site: Site) -> None:
    draw = np.random.default_rng(8)
    specs = random_specs(draw)
    specs[Modality.IR] = specs[Modality.IR].model_copy(update={"ir_composite": IrComposite.PLAIN})
    bundle = any_site.bundle(specs, presence=True)
    captures = fit_captures(Scorer(bundle, "standard"), draw)
    lane = any_site.lane(bundle)
    for size in (1, 3, 2):
        given = [next(captures) for _ in range(size)]
        any_site.gpu.copied_bytes = 0
        put_all(lane, given)
        lane.run_captures(size)
        most = sum(regions_bytes(bundle, capture) for capture in given)
        if any_site.gpu.device.is_integrated:
            assert any_site.gpu.copied_bytes == 0
        else:
            assert most <= any_site.gpu.copied_bytes <= most + 1024 * size


def test_a_frame_that_is_put_may_change_at_once(site: Site) -> None:
    bundle = site.bundle({Modality.RGB: PLAIN})
    capture = Capture(rgb=np.full((40, 50, 3), 7, np.uint8), face=(3, 3, 30, 30))
    expected = host_rows(bundle, [capture])["rgb"]
    lane = site.lane(bundle)
    lane.put(capture, 0)
    assert capture.rgb is not None
    capture.rgb.fill(200)
    assert lane.tensors(1)["rgb"].tobytes() == expected.tobytes()


def test_a_capture_that_does_not_fit_makes_room_for_the_next_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_lane, "_USUAL_FRAME_PX", 200)
    bundle = site.bundle(SPECS)
    lane = site.lane(bundle, 2)
    captures = fit_captures(Scorer(bundle, "standard"), np.random.default_rng(6), longest_px=200)
    given = [next(c for c in captures if len(c.present) == 3) for _ in range(2)]
    rows, before = host_rows(bundle, given), lane.staging_bytes
    put_all(lane, given)
    allocated = site.gpu.allocations
    first = lane.run_captures(2).logits
    assert site.gpu.allocations == allocated, "a call allocates"
    lane.tend()
    assert lane.staging_bytes > before
    allocated, site.gpu.copied_bytes = site.gpu.allocations, 0
    put_all(lane, given)
    np.testing.assert_array_equal(lane.run_captures(2).logits, first)
    drawn_on_host = rows["ir"].nbytes
    assert site.gpu.copied_bytes <= drawn_on_host + 2 * 1024 + sum(
        regions_bytes(bundle, capture) for capture in given
    )
    lane.tend()
    assert site.gpu.allocations == allocated, "it grows once"
    put_all(lane, given)
    for name, made in lane.tensors(2).items():
        assert made.tobytes() == rows[name].tobytes()


def test_what_is_beyond_the_limit_stays_on_the_host_and_says_so_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture_lane, "_USUAL_FRAME_PX", 200)
    monkeypatch.setattr(capture_lane, "_LARGEST_STAGING_BYTES", 1 << 12)
    bundle = site.bundle({Modality.RGB: PLAIN})
    lane = site.lane(bundle, 1)
    capture = Capture(rgb=np.full((90, 90, 3), 7, np.uint8), face=(0, 0, 90, 90))
    for _ in range(3):
        lane.put(capture, 0)
        lane.run_captures(1)
        lane.tend()
        lane.put(capture, 0)
        assert lane.tensors(1)["rgb"].tobytes() == host_rows(bundle, [capture])["rgb"].tobytes()
    assert sum("the host preprocesses what is beyond it" in line for line in caplog.messages) == 1


def test_staging_that_cannot_grow_costs_no_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture_lane, "_USUAL_FRAME_PX", 200)
    bundle = site.bundle({Modality.RGB: PLAIN})
    lane = site.lane(bundle, 1)
    capture = Capture(rgb=np.full((90, 90, 3), 7, np.uint8), face=(0, 0, 90, 90))
    lane.put(capture, 0)
    first = lane.run_captures(1).logits
    site.gpu.memory_bytes = 0
    lane.tend()
    assert "staging cannot grow" in caplog.text
    lane.put(capture, 0)
    np.testing.assert_array_equal(lane.run_captures(1).logits, first)


def test_rows_are_put_in_order_and_again(site: Site) -> None:
    bundle = site.bundle({Modality.RGB: PLAIN})
    captures = fit_captures(Scorer(bundle, "standard"), np.random.default_rng(2))
    first, second, third = (next(captures) for _ in range(3))
    lane = site.lane(bundle, 2)
    with pytest.raises(BackendError, match="row 1 is put after 0 of 2"):
        lane.put(first, 1)
    lane.put(first, 0)
    lane.put(second, 1)
    with pytest.raises(BackendError, match="row 2 is put after 2 of 2"):
        lane.put(third, 2)
    lane.put(third, 0)
    with pytest.raises(BackendError, match="1 captures were put, a call asks for 2"):
        lane.run_captures(2)
    lane.put(third, 0)
    assert lane.tensors(1)["rgb"].tobytes() == host_rows(bundle, [third])["rgb"].tobytes()
    lane.close()
    with pytest.raises(BackendError, match="the lane is closed"):
        lane.put(first, 0)


def test_a_frame_that_does_not_fit_its_spec_leaves_the_row_to_the_next(site: Site) -> None:
    bundle = site.bundle({Modality.RGB: PLAIN})
    lane = site.lane(bundle, 2)
    wrong = Capture(rgb=np.zeros((20, 20, 3), np.uint8))  # and no face
    right = Capture(rgb=np.full((20, 20, 3), 9, np.uint8), face=(1, 1, 9, 9))
    lane.put(right, 0)
    with pytest.raises(PreprocessError):
        lane.put(wrong, 1)
    lane.put(right, 1)
    assert np.isfinite(lane.run_captures(2).logits).all()


@pytest.mark.parametrize("fault", ["kernels", "upload", "launch"])
def test_a_fault_on_the_way_to_the_device_answers_error_and_the_next_call_is_right(
    site: Site, fault: str
) -> None:
    bundle = site.bundle({Modality.RGB: PLAIN})
    capture = Capture(rgb=np.full((20, 20, 3), 9, np.uint8), face=(1, 1, 9, 9))
    with Liveness(bundle, site.open(bundle), missing=MissingModalities.DEGRADE) as session:
        right = session.check(capture)
        assert right.verdict in (Verdict.LIVE, Verdict.SPOOF)
        site.gpu.refuses.add(fault)
        assert session.check(capture).verdict is Verdict.ERROR
        site.gpu.refuses.clear()
        assert session.check(capture).score == right.score


def test_device_times_split_upload_kernels_and_engine(any_site: Site) -> None:
    bundle = any_site.bundle(SPECS)
    lane = any_site.lane(bundle, timed=True)
    capture = next(fit_captures(Scorer(bundle, "standard"), np.random.default_rng(1)))
    lane.put(capture, 0)
    device = lane.run_captures(1).device
    assert device is not None
    # The fake device takes a millisecond for each piece of work.
    assert device.preprocess_ms >= 1.0
    assert (
        device.upload_ms >= 1.0
    ) is not any_site.gpu.device.is_integrated or device.upload_ms > 0


def test_a_session_counts_the_devices_kernels_as_preprocess(site: Site) -> None:
    bundle = site.bundle({Modality.RGB: PLAIN})
    capture = Capture(rgb=np.full((20, 20, 3), 9, np.uint8), face=(1, 1, 9, 9))
    policy = BatchingPolicy(lanes=1, max_batch=1)
    with Liveness(bundle, site.open(bundle, timed=True), batching=policy) as session:
        with session.recorded_stages() as recording:
            timings = session.check(capture).timings_ms
        spans = [span.stage.value for span in recording.clocks[0].spans()]
    assert spans.index("upload") < spans.index("preprocess") < spans.index("engine")
    assert spans.count("preprocess") == 1
    assert timings["preprocess"] > 0


def test_auto_takes_the_host_where_no_kernel_fits_and_device_refuses(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fasdk.tensorrt")
    bundle = site.bundle({Modality.RGB: PLAIN})
    site.gpu.kernels.clear()
    engine = site.open(bundle, Preprocessing.AUTO)
    assert not isinstance(engine.open_lane(1), CaptureTensorRtLane)
    assert place_of_preprocessing(engine) is Preprocessing.HOST
    assert "preprocessed on the host: " in caplog.text
    assert "the kernels hold no code for Orin" in caplog.text
    engine.close()
    with pytest.raises(BackendError, match=r"cannot preprocess on Orin: .*hold no code"):
        site.open(bundle, Preprocessing.DEVICE)
    assert not site.gpu.held


def test_the_log_names_what_stays_on_the_host(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fasdk.tensorrt")
    engine = site.open(site.bundle(SPECS))
    assert place_of_preprocessing(engine) is Preprocessing.DEVICE
    assert "frames are preprocessed on the device" in caplog.text
    assert "ir is preprocessed on the host, which draws its HOG and PLGF maps" in caplog.text


def test_kernels_that_differ_from_the_host_open_no_session(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = site.bundle({Modality.RGB: PLAIN})
    right = site.gpu.kernels["fasdk_image_row"]

    def off_by_one_bit(arguments: bytes) -> None:
        right(arguments)
        asked = site.played._asked[arguments]
        row = site.played._memory(asked["out"], (1,), np.uint32)
        row ^= 1

    site.gpu.kernels["fasdk_image_row"] = off_by_one_bit
    with pytest.raises(PlanError, match="the device preprocesses rgb otherwise than the host"):
        site.open(bundle, Preprocessing.AUTO)
    assert not site.gpu.held


def test_no_memory_for_staging_is_one_line(site: Site) -> None:
    bundle = site.bundle({Modality.RGB: PLAIN})
    engine = site.open(bundle)
    site.gpu.memory_bytes = sum(b.array.nbytes for b in site.gpu.held.values()) + 100_000
    with pytest.raises(BackendError, match="out of memory"):
        engine.open_lane(LARGEST)
    engine.close()
    assert not site.gpu.held
