"""Opening with TensorRT: plans of this machine that reproduce the golden captures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fasdk.backends.cuda_api import CudaDevice
from fasdk.backends.engine import Backend
from fasdk.backends.registry import open_engine
from fasdk.backends.tensorrt.cache import PlanCache
from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
from fasdk.backends.tensorrt.layout import TensorLayout
from fasdk.backends.tensorrt.sealed import KEY_FILE
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import PlanEntry
from fasdk.errors import BackendError, FasdkError, PlanError

from support.gpu_rig import GRAPH, SMALL_PLAN, Rig
from support.graphs import SIZE, write_small_bundle
from support.requirements import Requirement
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import ComputeCapability, DataType, Refusal


def test_a_new_plan_is_kept_and_used_again(rig: Rig) -> None:
    first = rig.open()
    assert (first.plan_source, rig.behavior.builds, len(rig.plans)) == (PlanSource.BUILT, 1, 1)
    second = rig.open()
    assert (second.plan_source, rig.behavior.builds) == (PlanSource.CACHE, 1)


@pytest.mark.parametrize("change", ["version", "device", "cuda"])
def test_a_plan_of_another_release_or_gpu_is_not_used(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    rig.open()
    if change == "version":
        module = stand_in(rig.gpu, rig.behavior, "10.16.2")
        monkeypatch.setitem(sys.modules, "tensorrt", module)
    elif change == "device":
        rig.gpu.device = CudaDevice("Orin Nano", "8.7", "12.6")
    else:
        rig.gpu.device = CudaDevice("Orin", "8.7", "13.2")
    assert rig.open().plan_source is PlanSource.BUILT
    assert len(rig.plans) == 2


@pytest.mark.parametrize("target", ["plan", "record", "key", "half"])
def test_a_cached_plan_that_was_touched_is_built_again(rig: Rig, target: str) -> None:
    rig.open()
    plan = rig.plans[0]
    touched = {
        "plan": plan,
        "record": plan.with_suffix(".json"),
        "key": plan.with_name(KEY_FILE),
        "half": plan.with_suffix(".json"),
    }[target]
    if target == "half":
        touched.unlink()
    else:
        data = bytearray(touched.read_bytes())
        data[-5] ^= 1
        touched.write_bytes(data)
    assert rig.open().plan_source is PlanSource.BUILT
    assert rig.open().plan_source is PlanSource.CACHE


@pytest.mark.parametrize("drift", [1.0, -1.0, float("nan"), float("inf")])
def test_a_new_plan_that_drifts_is_not_kept_and_open_raises(rig: Rig, drift: float) -> None:
    rig.behavior.drift = drift
    with pytest.raises(PlanError, match=r"built plan .* does not reproduce"):
        rig.open()
    assert rig.plans == []
    assert rig.gpu.held == {}


def test_a_cached_plan_that_drifts_is_deleted_and_open_raises(rig: Rig) -> None:
    rig.open().close()
    rig.behavior.drift = 1.0
    with pytest.raises(PlanError, match=r"cache plan .* does not reproduce"):
        rig.open()
    assert rig.plans == []
    assert rig.gpu.held == {}


def test_a_drift_within_the_tolerance_is_accepted(rig: Rig) -> None:
    rig.behavior.drift = 1e-4
    assert rig.open().plan_source is PlanSource.BUILT


def test_a_bundle_without_golden_captures_is_refused_before_building(
    rig: Rig, tmp_path: Path
) -> None:
    rig.bundle = open_bundle(write_small_bundle(tmp_path / "bare.fasb", golden=0))
    with pytest.raises(PlanError, match="no golden capture"):
        rig.open()
    assert rig.behavior.builds == 0


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (Refusal.DESERIALIZE, PlanError, "refuses the built plan on Orin: serialized with another"),
        (Refusal.CONTEXT, BackendError, "cannot make an execution context"),
        (Refusal.ADDRESS, BackendError, "refuses a buffer for rgb"),
        (Refusal.BUILD, PlanError, "cannot build a plan: it gave no reason"),
        (Refusal.PROFILE, PlanError, "refuses batch 1 to 4 for rgb"),
        (Refusal.BUILDER, PlanError, "cannot make a builder: no device"),
    ],
)
def test_tensorrt_refusal_while_opening_leaves_nothing_allocated(
    rig: Rig, call: Refusal, kind: type[FasdkError], words: str
) -> None:
    rig.behavior.refuses.add(call)
    with pytest.raises(kind, match=words):
        rig.open()
    assert rig.gpu.held == {}
    assert rig.plans == []


@pytest.mark.parametrize(
    ("refusal", "what", "kind"),
    [
        (Refusal.NO_BUILDER, "builder", PlanError),
        (Refusal.NO_RUNTIME, "runtime", BackendError),
    ],
)
def test_a_factory_that_gives_nothing_is_an_error(
    rig: Rig, refusal: Refusal, what: str, kind: type[FasdkError]
) -> None:
    rig.behavior.refuses.add(refusal)
    with pytest.raises(kind, match=f"cannot (make|start) a {what}"):
        rig.open()


def test_too_little_device_memory_is_named_and_the_cached_plan_stays(rig: Rig) -> None:
    rig.open().close()
    rig.gpu.memory_bytes = 100
    with pytest.raises(BackendError, match="out of memory"):
        rig.open()
    assert rig.gpu.held == {}
    assert len(rig.plans) == 1


def test_a_plan_with_other_tensors_is_refused(rig: Rig) -> None:
    rig.behavior.output_type = DataType.HALF
    with pytest.raises(
        PlanError, match=r"tensor logits is output .*HALF.* asks for output float32"
    ):
        rig.open()


def test_a_cache_that_cannot_be_written_fails_the_open(rig: Rig) -> None:
    rig.cache.folder.write_text("in the way")
    with pytest.raises(FasdkError, match=r"small\.fasb\.plans"):
        rig.open()
    assert rig.gpu.held == {}


def test_a_plan_that_cannot_be_stored_leaves_nothing_open(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise FasdkError("cannot write plan: No space left on device")

    monkeypatch.setattr(PlanCache, "store", full)
    with pytest.raises(FasdkError, match="No space left"):
        rig.open()
    assert rig.gpu.held == {}


def test_a_device_lost_during_the_proof_fails_the_open_and_keeps_the_cached_plan(rig: Rig) -> None:
    rig.open().close()
    rig.gpu.fails_to_synchronize = True
    with pytest.raises(BackendError, match="illegal memory access"):
        rig.open()
    assert rig.gpu.held == {}
    assert len(rig.plans) == 1


def test_the_layout_follows_the_manifest(rig: Rig) -> None:
    manifest = rig.bundle.manifest.model_copy(update={"reliability": True})
    assert TensorLayout.of(manifest).outputs == {"logits": (2,), "reliability": (1,)}
    assert TensorLayout.of(rig.bundle.manifest).outputs == {"logits": (2,)}


def test_targets_make_no_sense_for_the_machines_own_gpu(rig: Rig) -> None:
    from fasdk.backends.tensorrt.plan import build_plan

    with rig.gpu.current(), pytest.raises(PlanError, match="this machine's GPU only"):
        build_plan(
            GRAPH,
            Backend.TENSORRT,
            shapes={"rgb": (3, SIZE, SIZE)},
            max_batch=1,
            compute_capabilities=("8.7",),
        )


def test_the_engine_factory_leads_here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasdk.backends.registry.installed_backends", lambda: (Backend.TENSORRT,))
    monkeypatch.setattr("fasdk.backends.tensorrt.opening.PyCudaDriver", lambda: rig.gpu)
    assert isinstance(open_engine(rig.bundle), TensorRtEngine)


class TestBroughtPlans:
    """TensorRT-RTX plans that the bundle itself holds."""

    ENTRY = PlanEntry(
        member="plans/rtx.plan", compute_capabilities=("8.6", "8.9"), version="1.7.1", max_batch=4
    )

    @pytest.fixture
    def kiosk(self, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
        module = stand_in(rig.gpu, rig.behavior, "1.7.1")
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
        rig.gpu.device = CudaDevice("RTX 4060", "8.9", "13.0")
        self._bring(rig, tmp_path, self.ENTRY)
        return rig

    def _bring(self, rig: Rig, folder: Path, entry: PlanEntry, plan: bytes = SMALL_PLAN) -> None:
        path = write_small_bundle(
            folder / "kiosk.fasb", plans=(entry,), members={entry.member: plan}
        )
        rig.bundle = open_bundle(path)

    def test_prebuilt_plan_that_fits_is_used_without_a_build(self, kiosk: Rig) -> None:
        engine = kiosk.open(Backend.TENSORRT_RTX)
        assert (engine.plan_source, kiosk.behavior.builds) == (PlanSource.BUNDLE, 0)
        assert not kiosk.cache.folder.exists()

    def test_prebuilt_plan_that_drifts_is_refused(self, kiosk: Rig) -> None:
        kiosk.behavior.drift = 1.0
        with pytest.raises(PlanError, match=r"bundle plan .* does not reproduce"):
            kiosk.open(Backend.TENSORRT_RTX)

    @pytest.mark.parametrize("changes", [{"version": "1.6.0"}, {"compute_capabilities": ("12.0",)}])
    def test_prebuilt_plan_of_another_release_or_gpu_is_ignored(
        self, kiosk: Rig, tmp_path: Path, changes: dict[str, object]
    ) -> None:
        self._bring(kiosk, tmp_path, self.ENTRY.model_copy(update=changes))
        assert kiosk.open(Backend.TENSORRT_RTX).plan_source is PlanSource.BUILT
        assert kiosk.behavior.targets == {0: ComputeCapability.SM89}

    def test_a_target_the_compiler_refuses_is_named(self, kiosk: Rig, tmp_path: Path) -> None:
        self._bring(kiosk, tmp_path, self.ENTRY.model_copy(update={"version": "1.6.0"}))
        kiosk.behavior.refuses.add(Refusal.TARGET)
        with pytest.raises(PlanError, match=r"refuses compute capability 8\.9"):
            kiosk.open(Backend.TENSORRT_RTX)

    def test_tensorrt_proper_never_takes_one(self, kiosk: Rig) -> None:
        assert kiosk.open(Backend.TENSORRT).plan_source is PlanSource.BUILT


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a driver")
def test_the_real_runtime_without_a_driver_refuses_its_own_plan(rig: Rig) -> None:
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    rig.gpu.device = CudaDevice("RTX 4060", "8.9", "13.0")
    with pytest.raises(PlanError, match=r"on RTX 4060: .*driver") as found:
        rig.open(Backend.TENSORRT_RTX)
    assert "\n" not in str(found.value)
    assert rig.plans == []
    assert rig.gpu.held == {}
