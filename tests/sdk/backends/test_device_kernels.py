"""Origin of a device's kernels: the fatbin, NVRTC, or none and why."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fasdk.backends import device_kernels, nvrtc
from fasdk.backends.device_kernels import KernelSource
from fasdk.backends.tensorrt import row_kernels
from fasdk.backends.tensorrt.device_preprocessing import load_kernels
from fasdk.backends.tensorrt.row_kernels import CaptureInputs
from fasdk.capture import Modality
from fasdk.errors import BackendError
from fasdk.preprocess import PreprocessSpec

from support.fake_gpu import FakeFunction, FakeGpu, FakeModule

INPUTS = CaptureInputs(
    {Modality.RGB: PreprocessSpec(width=4, height=4, crop="frame", mean=(0,) * 3, std=(1,) * 3)},
    None,
)
ENTRIES = ("fasdk_image_row", "fasdk_depth_row", "fasdk_constant_row", "fasdk_present_row")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    """A GPU that takes any image, and an installed fasdk with kernels in both forms."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "preprocess.fatbin").write_bytes(b"fatbin")
    (folder / "preprocess.cu").write_text('#include "fasdk/a.hpp"')
    (folder / "a.hpp").write_text("int a;")
    native = SimpleNamespace(__file__=str(tmp_path / "_native.so"), ROW_PARAMETERS={})
    native.ROW_PARAMETERS |= dict.fromkeys(ENTRIES, ((0, 8), (8, 4)))
    monkeypatch.setattr(device_kernels, "native_module", lambda: native)
    monkeypatch.setattr(row_kernels, "native_module", lambda: native)
    monkeypatch.setattr(device_kernels, "compiled", lambda *_: b"compiled")
    made = FakeGpu()
    made.kernels = dict.fromkeys(ENTRIES, lambda _: None)
    return made


def refuse(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, *images: bytes) -> None:
    load = gpu.module

    def module(image: bytes) -> FakeModule:
        if image in images:
            raise BackendError(f"no code in {image.decode()}")
        return load(image)

    monkeypatch.setattr(gpu, "module", module)


def origin(gpu: FakeGpu) -> str:
    with gpu.current():
        kernels, found = load_kernels(gpu, INPUTS)
        kernels.free()
    return found


def test_a_fatbin_that_fits_is_taken(gpu):
    assert origin(gpu) == "fatbin"


def test_nvrtc_compiles_for_a_gpu_without_code(gpu, monkeypatch):
    refuse(monkeypatch, gpu, b"fatbin")
    assert origin(gpu) == "nvrtc"


def test_nvrtc_is_given_the_source_and_what_it_includes(gpu, monkeypatch, tmp_path):
    given: list[Any] = []

    def compiled(*arguments: Any) -> bytes:
        given.extend(arguments)
        return b"compiled"

    monkeypatch.setattr(device_kernels, "compiled", compiled)
    (tmp_path / "kernels" / "preprocess.fatbin").unlink()
    assert origin(gpu) == "nvrtc"
    assert given == ['#include "fasdk/a.hpp"', {"fasdk/a.hpp": "int a;"}, "8.7"]


def test_without_either_both_reasons_are_told(gpu, monkeypatch, tmp_path):
    refuse(monkeypatch, gpu, b"fatbin", b"compiled")
    with pytest.raises(BackendError, match="fatbin: no code in fatbin; nvrtc: no code in compiled"):
        origin(gpu)
    (tmp_path / "kernels" / "preprocess.fatbin").unlink()
    with pytest.raises(BackendError, match=r"fatbin: preprocess\.fatbin was not built"):
        origin(gpu)


def test_kernels_of_another_build_are_refused_and_released(gpu, monkeypatch):
    monkeypatch.setattr(FakeFunction, "parameters", lambda _: ((0, 8), (8, 8)))
    loaded: list[FakeModule] = []
    load = gpu.module

    def module(image: bytes) -> FakeModule:
        loaded.append(load(image))
        return loaded[-1]

    monkeypatch.setattr(gpu, "module", module)
    with pytest.raises(BackendError, match=r"takes \(\(0, 8\), \(8, 8\)\) .* reinstall fasdk"):
        origin(gpu)
    assert [module.is_loaded for module in loaded] == [False, False]
    monkeypatch.setattr(FakeFunction, "parameters", lambda _: ((0, 8), (8, 4)))
    assert origin(gpu) == "fatbin"


class FakeNvrtc:
    """Answers as NVRTC does."""

    def __init__(self, known: Sequence[int]) -> None:
        self.known = known
        self.options: list[bytes] = []
        self.code = 0
        self.destroyed = 0

    def nvrtcGetNumSupportedArchs(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.known)
        return 0

    def nvrtcGetSupportedArchs(self, known: Any) -> int:  # noqa: N802
        known[:] = self.known
        return 0

    def nvrtcCreateProgram(self, _program: Any, *given: Any) -> int:  # noqa: N802
        self.given = given
        return 0

    def nvrtcCompileProgram(self, _program: Any, _count: int, options: Any) -> int:  # noqa: N802
        self.options = list(options)
        return self.code

    def nvrtcDestroyProgram(self, _program: Any) -> int:  # noqa: N802
        self.destroyed += 1
        return 0

    def __getattr__(self, name: str) -> Any:
        text = {
            "nvrtcGetCUBIN": b"cubin",
            "nvrtcGetPTX": b"ptx\0",
            "nvrtcGetProgramLog": b"a.cu(1): warning\na.cu(2): error: no such thing\n\0",
        }[name.removesuffix("Size")]

        def size(program: Any, found: Any) -> int:
            found._obj.value = len(text)
            return 0

        def content(program: Any, found: Any) -> int:
            ctypes.memmove(found, text, len(text))
            return 0

        return size if name.endswith("Size") else content


@pytest.mark.parametrize(
    ("capability", "image", "target"),
    [("8.7", b"cubin", b"sm_87"), ("12.1", b"ptx\0", b"compute_120")],
)
def test_nvrtc_compiles_for_the_gpu_or_for_the_newest_one_before_it(
    monkeypatch, capability, image, target
):
    library = FakeNvrtc([75, 87, 120])
    monkeypatch.setattr(nvrtc, "_library", lambda: library)
    assert nvrtc.compiled("source", {"a.hpp": "text"}, capability) == image
    assert library.options[-1] == b"--gpu-architecture=" + target
    assert b"--fmad=false" in library.options
    assert library.destroyed == 1


def test_what_nvrtc_refuses_is_told_in_its_words(monkeypatch):
    library = FakeNvrtc([87])
    monkeypatch.setattr(nvrtc, "_library", lambda: library)
    library.code = 6
    with pytest.raises(BackendError, match=r"cannot compile the kernels: a.cu\(2\): error: no su"):
        nvrtc.compiled("source", {}, "8.7")
    assert library.destroyed == 1
    with pytest.raises(BackendError, match=r"capability 8.7 and later, this GPU has 7.5"):
        nvrtc.compiled("source", {}, "7.5")


def test_a_machine_without_nvrtc_is_told_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(nvrtc, "_NAMES", ("libnvrtc-of-nobody.so",))
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libnvrtc-of-nobody.so").touch()  # no library
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(BackendError, match=r"not installed \(package nvidia-cuda-nvrtc"):
        nvrtc.compiled("source", {}, "8.7")


def test_a_machine_without_a_gpu_knows_which_kernels_one_would_get(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, tmp_path: Path
) -> None:
    assert device_kernels.kernels_here() is KernelSource.FATBIN
    (tmp_path / "kernels" / "preprocess.fatbin").unlink()
    monkeypatch.setattr(device_kernels, "require_nvrtc", lambda: None)
    assert device_kernels.kernels_here() is KernelSource.NVRTC

    def absent() -> None:
        raise BackendError("NVRTC is not installed")

    monkeypatch.setattr(device_kernels, "require_nvrtc", absent)
    with pytest.raises(BackendError, match="NVRTC is not installed"):
        device_kernels.kernels_here()
