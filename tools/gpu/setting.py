"""Sizes of a proof, and the GPU that it runs on: this machine's, or the simulated one."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claims import Claim

from fasdk.backends.cuda import PyCudaDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch_streams import TorchStreams

    from fasdk.backends.cuda_api import CudaDriver

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("mmdg", "mmda", "mmdgpp", "bigmoe")
BATCHES = (1, 3, 8)


@dataclass(frozen=True)
class Sizes:
    """How much a proof does.

    Attributes:
        config: Name of the models' settings.
        captures: Captures that are run on lanes, each way.
        kernel_cases: Random cases of the preprocessing kernel.
        calls: Calls that a latency is taken from.
        point_s: Time after which a latency is taken from the calls so far, in seconds.
        half_captures: Captures on which half precision is compared.
    """

    config: str
    captures: int
    kernel_cases: int
    calls: int
    point_s: float
    half_captures: int


FULL = Sizes("full", 20_000, 10_000, calls=300, point_s=1.5, half_captures=8)
SMALL = Sizes("tiny", 64, 40, calls=3, point_s=1.5, half_captures=2)


@dataclass(frozen=True)
class Setting:
    """A proof as it was asked for.

    Attributes:
        dry_run: Whether it runs on the simulated driver, with little of everything.
        work: Folder of prepared models and cached plans.
        models: Names of the models.
    """

    dry_run: bool
    work: Path
    models: tuple[str, ...] = MODELS

    @property
    def sizes(self) -> Sizes:
        """How much the proof does."""
        return SMALL if self.dry_run else FULL


@dataclass(frozen=True)
class Gpu:
    """The GPU of a proof.

    Attributes:
        driver: CUDA driver of the SDK, on pycuda.
        simulator: The simulated driver under it; None on a real GPU.
    """

    driver: CudaDriver
    simulator: Any = None

    def torch_streams(self) -> TorchStreams:
        """Return PyTorch's way into the GPU's streams.

        Raises:
            SkippedError: There is no PyTorch here that can use the GPU.
        """
        import torch_streams

        try:
            import torch
        except ImportError as error:
            raise SkippedError(f"PyTorch is not installed ({error})") from error
        if self.simulator is not None:
            torch.set_num_threads(1)
            return torch_streams.SimulatedStreams(self.simulator)
        if not torch.cuda.is_available():
            raise SkippedError(f"PyTorch {torch.__version__} here finds no CUDA device")
        return torch_streams.GpuStreams()

    def sharing(self, *, is_mapped: bool) -> CudaDriver:
        """Return a driver of the GPU whose lanes work in mapped memory, or copy, as asked.

        A discrete GPU can do both; the SDK takes mapped memory on an integrated one alone.
        """
        driver: CudaDriver = PyCudaDriver()
        driver.device = replace(driver.device, is_integrated=is_mapped)
        return driver

    def misuse(self) -> Iterator[Claim]:
        """Claim that the simulated driver saw nothing wrong and nothing left behind."""
        if self.simulator is None:
            return
        report = self.simulator.report()
        violations = "; ".join(each.text for each in report.violations)[:400]
        yield Claim("driver: violations", len(report.violations), "==", 0, violations)
        left = ", ".join(report.live.memory)[:400]
        yield Claim("driver: objects left behind", report.live.objects, "==", 0, left)


class SkippedError(Exception):
    """A claim cannot be tried on this machine; the message says why."""


def open_gpu(setting: Setting) -> Gpu:
    """Open the GPU; a simulated driver is reset and runs without delay.

    Raises:
        BackendError: pycuda is not installed, or there is no GPU.
        FileNotFoundError: The simulated driver was not built.
    """
    if not setting.dry_run:
        return Gpu(PyCudaDriver())
    simulator = import_module("support.cuda_sim.simulated_cuda").load()
    simulator.reset()
    simulator.run_freely()
    return Gpu(PyCudaDriver(), simulator)


def stand_in_for_tensorrt(gpu: Gpu, module: str) -> None:
    """On a simulated GPU, put the tests' stand-in for TensorRT in a module's place."""
    if gpu.simulator is None:
        return
    make = import_module("support.tensorrt_standin.module").stand_in
    behavior = import_module("support.tensorrt_standin.settings").Behavior
    sys.modules[module] = make(gpu.simulator, behavior())
