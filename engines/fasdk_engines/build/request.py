"""Request for a build, as the command line or a program states it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.atomic import require_writable
from fasdk.backends.engine import Backend
from fasdk.bundle.manifest import MAX_BATCH, PRODUCT_PATTERN, Precision
from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk.settings import take_choices

if TYPE_CHECKING:
    from fasdk.bundle.signer import Signer
    from fasdk_calibration.datasets import DatasetSource
    from fasdk_engines.quantization.mixed_precision.request import Int8Request

INT8_PRECISIONS = (Precision.INT8, Precision.INT8_FP32)


@dataclass(frozen=True)
class BuildRequest:
    """Options of one build.

    Attributes:
        source: Checkpoint, or ONNX file to import.
        out: Bundle to write.
        model: Registered model name; `ONNX_IMPORT` for an ONNX file.
        config: Name of a config, or path of a JSON file; None takes the one stored in the
            checkpoint, else the published one.
        weights: Which of several sets of weights in a checkpoint to load: a key in the file, "ema",
            "raw", or None to find the one that fits.
        precision: Numeric types of the graph.
        backend: Backend whose plan goes into the bundle; one that builds no plans gives a bundle
            without, None builds a plan where a TensorRT flavor is installed.
        max_batch: Largest batch of the plan's optimization profile.
        compute_capabilities: GPU generations of a TensorRT-RTX plan, such as "8.6"; empty takes
            `DEFAULT_COMPUTE_CAPABILITIES`.
        development: Labeled captures to choose an operating point on, or None.
        golden: Captures that golden captures may come from, of people who agreed to have
            their frames in every copy of the bundle; None takes synthetic ones.
        signer: Key that signs the bundle; None for the account's build key.
        product: Name of what the bundle is for; None for the model's name.
        preprocess: TOML file that describes an ONNX file; None for a checkpoint.
        required: Modalities without which a capture is refused, besides the model's own.
        int8: Calibration and liveness budget of an INT8 precision; None for the others.
        accept_units: Whether a description's mean and std are taken although the network's
            weights speak against them.
    """

    source: Path
    out: Path
    model: str
    config: str | None = None
    weights: str | None = None
    precision: Precision = Precision.FP32
    backend: Backend | None = None
    max_batch: int = 8
    compute_capabilities: tuple[str, ...] = ()
    development: DatasetSource | None = None
    golden: DatasetSource | None = None
    signer: Signer | None = None
    product: str | None = None
    preprocess: Path | None = None
    required: tuple[Modality, ...] = ()
    int8: Int8Request | None = None
    accept_units: bool = False

    def __post_init__(self) -> None:
        """Take precision, backend and modalities as their members.

        Raises:
            UsageError: There is no such member.
        """
        take_choices(self, precision=Precision, backend=Backend, required=(Modality,))

    def require_consistent(self) -> None:
        """Check the options against each other.

        Raises:
            UsageError: An option is out of its range, missing, or belongs to another precision;
                or the folder of `out` does not exist.
        """
        if self.product is not None and re.fullmatch(PRODUCT_PATTERN, self.product) is None:
            raise UsageError(
                f"--product {self.product!r}: expected at most 64 lower-case letters, digits, "
                "dots, hyphens and underscores, such as lobby-door"
            )
        if not 1 <= self.max_batch <= MAX_BATCH:
            raise UsageError(f"--max-batch is {self.max_batch}: it must be 1 to {MAX_BATCH}")
        if self.precision not in INT8_PRECISIONS:
            if self.int8 is not None:
                raise UsageError(
                    f"--calibration goes with --precision int8, int8-fp32 or auto: "
                    f"{self.precision.value} needs none"
                )
        elif self.int8 is None:
            raise UsageError(
                f"--precision {self.precision.value} needs --calibration LIST: captures to "
                "measure ranges on, of people the model is not evaluated on"
            )
        elif self.int8.search and self.development is None:
            raise UsageError(
                "--precision auto needs --development LIST: labeled captures to hold the "
                "liveness budget on"
            )
        require_writable(self.out)
        if os.path.realpath(self.out) == os.path.realpath(self.source):
            raise UsageError(f"-o {self.out} is also what is built from: give it a file of its own")
