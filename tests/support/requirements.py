"""Requirements of tests beyond the Python environment, and the commands that install them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import NoReturn

import pytest

ON_CI = os.environ.get("CI", "").lower() == "true"


@dataclass(frozen=True)
class _Need:
    """One thing tests may need.

    Attributes:
        name: Short name of the group of tests that need it.
        enable: The one command, or step, that provides it.
        on_ci: Whether CI must have it: there its absence fails a test instead of skipping it.
    """

    name: str
    enable: str
    on_ci: bool = False


class Requirement(Enum):
    """Things that tests may need; a test that lacks one is skipped and named at the end."""

    LIBUSB = _Need("RealSense cameras (libusb)", "make setup-system")
    CHROMIUM = _Need("evaluation report in a browser (Chromium)", "make setup-system")
    AXE = _Need("accessibility of the pages (axe-core)", "make axe")
    NATIVE = _Need("native preprocessing", "make setup-system clean install")
    GSTREAMER = _Need(
        "GStreamer pipelines (OpenCV with GStreamer)",
        "use an OpenCV built with WITH_GSTREAMER=ON in place of pip's",
    )
    PYGOBJECT = _Need("GStreamer cameras (PyGObject)", "make setup-system", on_ci=True)
    BUILD_TOOLS = _Need("native code by itself (cmake, c++)", "make setup-system", on_ci=True)
    ARM_TOOLS = _Need("native code for aarch64 (cross compiler, qemu)", "make setup-system", True)
    SYSTEMD = _Need("systemd unit (systemd-analyze)", "make setup-system")
    SOFTHSM = _Need("keys in a hardware token (SoftHSM)", "make setup-system install")
    NVCC = _Need("CUDA kernel (nvcc)", "install the CUDA 13 toolkit, then make clean install")
    TENSORRT_RTX = _Need("TensorRT-RTX compiler", "make install")
    BINDINGS = _Need("TensorRT bindings of two releases", "make bindings", on_ci=True)
    PUBLISHED_FILES = _Need(
        "published weights, photographs and lists",
        "fetch the files of tests/README.md, then FASDK_REFERENCE=FOLDER make test",
    )

    def skip(self, found: str, *, whole_module: bool = False) -> NoReturn:
        """Skip the test that needs this, or fail it where CI must have it.

        Args:
            found: Short description of what is missing.
            whole_module: Whether every test of the module needs it.
        """
        reason = f"{self.value.name}: {found}; {self.value.enable}"
        if self.value.on_ci and ON_CI:
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=whole_module)

    def mark(self, found: str, *, lacking: bool) -> pytest.MarkDecorator:
        """Return a mark that skips a test where this is lacking."""
        reason = f"{self.value.name}: {found}; {self.value.enable}"
        return pytest.mark.skipif(lacking, reason=reason)

    def programs(self, *names: str) -> None:
        """Skip unless every program is on the path."""
        absent = [name for name in names if shutil.which(name) is None]
        if absent:
            self.skip(f"{', '.join(absent)} not found")

    def module(self, name: str, *, whole_module: bool = False) -> ModuleType:
        """Return a Python module, or skip where it cannot be imported."""
        try:
            return import_module(name)
        except ImportError as error:
            self.skip(f"{name} cannot be imported ({error})", whole_module=whole_module)


def summary(reasons: list[str]) -> list[str]:
    """Return one line for each group of skipped tests: how many, why, and how to enable them.

    Args:
        reasons: The reason of every skipped test.
    """
    counts: dict[str, int] = {}
    for reason in reasons:
        text = reason.removeprefix("Skipped: ")
        group = next((r for r in Requirement if text.startswith(f"{r.value.name}: ")), None)
        line = f"{text}: nothing to enable" if group is None else _line(group)
        counts[line] = counts.get(line, 0) + 1
    return [f"{count:5} skipped  {line}" for line, count in sorted(counts.items())]


def _line(requirement: Requirement) -> str:
    return f"{requirement.value.name}: {requirement.value.enable}"
