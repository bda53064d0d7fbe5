"""The GPU, its driver, and the versions of what runs on it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from claims import Claim
from setting import open_gpu

import fasdk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from setting import Setting

_PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "pycuda",
    "pydantic",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
)


def device_claims(setting: Setting) -> Iterator[Claim]:
    """The SDK's driver opens the GPU and makes its context current."""
    gpu = open_gpu(setting)
    device = gpu.driver.device
    with gpu.driver.current():
        stream = gpu.driver.stream()
        stream.synchronize()
        stream.free()
    figures = vars(device) | {
        "machine": platform.machine(),
        "system": platform.release(),
        "python": platform.python_version(),
        "fasdk": fasdk.__version__,
        "packages": dict(_installed()),
    }
    figures.pop("uuid", None)  # tells one machine from another, which a result need not
    yield Claim(f"device: {device.name} opens", 1, "==", 1, figures=figures)
    yield from gpu.misuse()


def _installed() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
