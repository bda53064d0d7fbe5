"""Kernels through the driver's C API, on a library that stands for it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest

from fasdk.backends import cuda_library
from fasdk.backends.cuda_api import CudaDevice
from fasdk.backends.cuda_kernels import DriverModule, launch
from fasdk.errors import BackendError

ORIN = CudaDevice("Orin", "8.7", "12.6")


class Library:
    """Answers calls of the driver, and keeps what they were given."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.launches: list[tuple[Any, ...]] = []
        self.images: list[bytes] = []
        self.unloaded: list[int] = []

    def result(self, name: str, *arguments: Any) -> int:
        code = self.codes.get(name, 0)
        if name == "cuGetErrorName":
            arguments[1]._obj.value = {719: b"CUDA_ERROR_LAUNCH_FAILED"}.get(arguments[0])
            return 0
        if code:
            return code
        if name == "cuModuleLoadData":
            arguments[0]._obj.value = 11
            self.images.append(arguments[1])
        elif name == "cuModuleGetFunction":
            arguments[0]._obj.value = 22
        elif name == "cuModuleUnload":
            self.unloaded.append(arguments[0])
        elif name == "cuLaunchKernel":
            extra = arguments[-1]
            size = ctypes.c_size_t.from_address(extra[3]).value
            names = extra[0], extra[2], extra[4]
            given = ctypes.string_at(extra[1], size)
            self.launches.append((*arguments[:-1], names, given))
        return 0


class Stream:
    handle = 77

    def synchronize(self) -> None: ...

    def free(self) -> None: ...


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    made = Library()
    monkeypatch.setattr(cuda_library, "result", made.result)
    monkeypatch.setattr("fasdk.backends.cuda_kernels.result", made.result)
    return made


def test_a_kernel_is_launched_with_its_packed_arguments(library: Library) -> None:
    module = DriverModule(b"image", ORIN)
    kernel = module.function("row")
    assert kernel.name == "row"
    arguments = b"a\0b" * 40
    launch(kernel, (1, 2, 3), (4, 5, 6), arguments, Stream())
    assert library.images == [b"image\0"]
    assert library.launches == [(22, 1, 2, 3, 4, 5, 6, 0, 77, None, (1, 2, None), arguments)]


def test_what_was_freed_is_launched_no_more(library: Library) -> None:
    module = DriverModule(b"image", ORIN)
    kernel = module.function("row")
    module.free()
    module.free()
    assert library.unloaded == [11]
    with pytest.raises(BackendError, match="row was released with its module"):
        launch(kernel, (1, 1, 1), (1, 1, 1), b"", Stream())
    with pytest.raises(BackendError, match="these kernels were released"):
        module.function("row")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("cuModuleLoadData", 209, r"no code for Orin \(compute capability 8.7\)"),
        ("cuModuleLoadData", 719, "cannot be loaded: CUDA_ERROR_LAUNCH_FAILED"),
        ("cuModuleGetFunction", 500, "there is no kernel row"),
        ("cuModuleGetFunction", 719, "row cannot be had: CUDA_ERROR_LAUNCH_FAILED"),
        ("cuLaunchKernel", 719, "row was not launched: CUDA_ERROR_LAUNCH_FAILED"),
        ("cuLaunchKernel", 4321, "row was not launched: CUresult 4321"),
    ],
)
def test_every_refusal_is_told_in_words(library: Library, name: str, code: int, words: str) -> None:
    library.codes[name] = code
    with pytest.raises(BackendError, match=words):
        kernel = DriverModule(b"image", ORIN).function("row")
        launch(kernel, (1, 1, 1), (1, 1, 1), b"", Stream())


def test_another_drivers_kernel_is_refused(library: Library) -> None:
    class Stranger:
        name = "row"

    with pytest.raises(BackendError, match="Stranger is not a kernel of this driver"):
        launch(Stranger(), (1, 1, 1), (1, 1, 1), b"", Stream())
