"""GPUs that a planning estimate knows, with the public source of every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fasdk.errors import UsageError
from fasdk_tools.profiling.graph_cost import Number

# What is no document of the vendor begins so; figures of such a source alone may be wrong. The
# vendor's data sheets and guide were read in copies and in quotations that name their page.
SECONDARY: Final = "secondary source: "

_ORIN_L2 = (
    f"{SECONDARY}output of deviceQuery on users' devices (L2 cache of AGX Orin 4 MiB; of Orin NX "
    "2 MiB, gist.github.com/atinfinity/8cede915acda05d0ff427c09604735dd: 4 MB lowers an estimate)"
)
_ORIN_RATE = (
    "NVIDIA Jetson AGX Orin Series Modules data sheet DS-10662-001 v1.8, page 7 (170 sparse INT8 "
    "TOPS of 16 multiprocessors at 1.3 GHz, of which dense FP16 is a quarter)"
)
_AGX_ORIN_SHEET = (
    "NVIDIA Jetson AGX Orin Series Modules data sheet DS-10662-001 v1.8, pages 7 and 12 (64 GB: "
    "2048 CUDA cores, 1.3 GHz, 170 sparse INT8 TOPS, 204.8 GB/s)"
)
_ORIN_NANO_SHEET = (
    "NVIDIA Jetson Orin Nano Series data sheet DS-11105-001 v1.1, page 1 (8 GB: 1024 CUDA cores, "
    "625 MHz, 40 sparse INT8 TOPS, 128-bit LPDDR5)"
)
_ORIN_NANO_BANDWIDTH = (
    f"{SECONDARY}github.com/hokwangchoi/jetson-orin-nano-benchmarks, README (68 GB/s)"
)
_ORIN_NX_SHEET = (
    "NVIDIA Jetson Orin NX Series data sheet DS-10712-001 v1.7, pages 1, 2 and 9 (16 GB: 1024 CUDA "
    "cores, 918 MHz in MAXN, 128-bit LPDDR5 at 3200 MHz, which are 102.4 GB/s; 100 sparse INT8 "
    "TOPS, 40 of them of its two deep-learning accelerators)"
)
_SUPER_GUIDE = (
    "NVIDIA Jetson Orin Nano Developer Kit User Guide, introduction (67 INT8 TOPS, up to 102 GB/s "
    "with the software of MAXN SUPER)"
)
_SUPER_CLOCK = (
    f"{SECONDARY}brojogopalsapui.com, Jetson Orin Nano Super (1.02 GHz; with it the rate above "
    "comes out)"
)
_THOR_DEVICE = (
    f"{SECONDARY}NVIDIA developer forum, topic 356355 (a user's device: 20 multiprocessors, 32 MiB "
    "L2)"
)
_THOR_RATE = (
    f"{SECONDARY}torring.dev, 'RTX Spark and how every Nvidia GPU product line is throttled' (1570 "
    "MHz, 65,536 sparse FP4 operations a clock and multiprocessor); learnaivisually.com (2070 FP4 "
    "TFLOPS)"
)
_THOR_BANDWIDTH = f"{SECONDARY}several public notes on the Jetson AGX Thor (273 GB/s)"
_GA102_PAPER = (
    f"{SECONDARY}public notes on NVIDIA's Ampere GA102 GPU Architecture white paper v2.1 (RTX "
    "3090: 82 multiprocessors, 142 dense FP16 tensor TFLOPS, 936 GB/s, 6 MB L2; 1.70 GHz boost, "
    "elsewhere 1695 MHz); the white paper itself was not read"
)


@dataclass(frozen=True)
class StatedPeak:
    """A peak rate that the vendor states for a GPU.

    Attributes:
        what: What the rate is of.
        tera: Rate in 10^12 operations a second.
        of_dense_fp16: The rate over the dense FP16 rate of the tensor cores.
    """

    what: str
    tera: float
    of_dense_fp16: float


@dataclass(frozen=True)
class Gpu:
    """A GPU in one power mode, at its highest clock in that mode.

    Attributes:
        name: Name on the command line.
        title: Name in reports.
        multiprocessors: Streaming multiprocessors.
        clock_mhz: Highest clock of the GPU, in MHz.
        fp16_per_clock: Dense FP16 operations of the tensor cores of one multiprocessor in a clock.
        bandwidth_gb_per_s: Peak memory bandwidth, in 10^9 bytes a second.
        cache_mb: L2 cache, in 10^6 bytes; that of the largest GPU of the family where the vendor
            states no other, which can only lower an estimate.
        stated: Peak rate of the vendor that the figures above are checked against.
        sources: Public sources of the figures; one that begins with `SECONDARY` is not of the
            vendor.
    """

    name: str
    title: str
    multiprocessors: int
    clock_mhz: float
    fp16_per_clock: int
    bandwidth_gb_per_s: float
    cache_mb: float
    stated: StatedPeak
    sources: tuple[str, ...]

    def peak_per_s(self, number: Number) -> float:
        """Return the dense peak rate of products in a number format, in operations a second.

        INT8 runs at twice the rate of FP16. FP32 is TF32, half the rate of FP16: TensorRT's
        builder allows it by default.
        """
        fp16 = self.multiprocessors * self.clock_mhz * 1e6 * self.fp16_per_clock
        return fp16 * {Number.FP32: 0.5, Number.FP16: 1.0, Number.INT8: 2.0}[number]


_SPARSE_INT8 = 4.0  # twice dense INT8, which is twice dense FP16

GPUS: tuple[Gpu, ...] = (
    Gpu(
        name="orin-nano",
        title="Jetson Orin Nano 8 GB, 15 W",
        multiprocessors=8,
        clock_mhz=625.0,
        fp16_per_clock=2048,
        bandwidth_gb_per_s=68.0,
        cache_mb=4.0,
        stated=StatedPeak("sparse INT8", 40.0, _SPARSE_INT8),
        sources=(_ORIN_NANO_SHEET, _ORIN_NANO_BANDWIDTH, _ORIN_RATE, _ORIN_L2),
    ),
    Gpu(
        name="orin-nano-super",
        title="Jetson Orin Nano 8 GB, MAXN SUPER",
        multiprocessors=8,
        clock_mhz=1020.0,
        fp16_per_clock=2048,
        bandwidth_gb_per_s=102.0,
        cache_mb=4.0,
        stated=StatedPeak("sparse INT8", 67.0, _SPARSE_INT8),
        sources=(_SUPER_GUIDE, _SUPER_CLOCK, _ORIN_NANO_SHEET, _ORIN_RATE, _ORIN_L2),
    ),
    Gpu(
        name="orin-nx",
        title="Jetson Orin NX 16 GB, MAXN",
        multiprocessors=8,
        clock_mhz=918.0,
        fp16_per_clock=2048,
        bandwidth_gb_per_s=102.4,
        cache_mb=4.0,
        # 100 TOPS of the module less 40 of its two deep-learning accelerators.
        stated=StatedPeak("sparse INT8", 60.0, _SPARSE_INT8),
        sources=(_ORIN_NX_SHEET, _ORIN_RATE, _ORIN_L2),
    ),
    Gpu(
        name="agx-orin",
        title="Jetson AGX Orin 64 GB, MAXN",
        multiprocessors=16,
        clock_mhz=1300.0,
        fp16_per_clock=2048,
        bandwidth_gb_per_s=204.8,
        cache_mb=4.0,
        stated=StatedPeak("sparse INT8", 170.0, _SPARSE_INT8),
        sources=(_AGX_ORIN_SHEET, _ORIN_L2),
    ),
    Gpu(
        name="thor",
        title="Jetson AGX Thor (T5000), MAXN",
        multiprocessors=20,
        clock_mhz=1570.0,
        fp16_per_clock=8192,
        bandwidth_gb_per_s=273.0,
        cache_mb=32.0,
        # FP8 is twice FP16, FP4 twice FP8, sparse twice dense.
        stated=StatedPeak("sparse FP4", 2070.0, 8.0),
        sources=(_THOR_DEVICE, _THOR_RATE, _THOR_BANDWIDTH),
    ),
    Gpu(
        name="rtx-3090",
        title="GeForce RTX 3090",
        multiprocessors=82,
        clock_mhz=1695.0,
        fp16_per_clock=1024,
        bandwidth_gb_per_s=936.0,
        cache_mb=6.0,
        stated=StatedPeak("dense FP16 with FP16 accumulate", 142.0, 1.0),
        sources=(_GA102_PAPER,),
    ),
)


def gpu_of(name: str) -> Gpu:
    """Return the GPU of a name.

    Raises:
        UsageError: None has it.
    """
    for gpu in GPUS:
        if gpu.name == name:
            return gpu
    known = ", ".join(gpu.name for gpu in GPUS)
    raise UsageError(f"--device {name!r}: no figures of such a device: choose among {known}")
