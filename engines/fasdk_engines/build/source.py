"""Source of a build: a checkpoint, or an ONNX file with its description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk_engines.models.base import Family
from fasdk_engines.models.checkpoint import Checkpoint, load_checkpoint
from fasdk_engines.models.registry import ONNX_IMPORT, get_family
from fasdk_engines.onnx_import.description import ImportDescription, read_description
from fasdk_engines.onnx_import.onnx_file import OnnxFile, read_onnx_file

if TYPE_CHECKING:
    from fasdk_engines.build.request import BuildRequest


@dataclass(frozen=True)
class TrainedWeights:
    """A checkpoint of a registered model.

    Attributes:
        family: Model that the request names.
        checkpoint: Weights and metadata of the checkpoint file.
    """

    family: Family
    checkpoint: Checkpoint


@dataclass(frozen=True)
class DescribedOnnxFile:
    """An ONNX file to import.

    Attributes:
        file: The file, with all its weights.
        description: Inputs, outputs and preprocessing of the file, as the user's TOML file states
            them.
    """

    file: OnnxFile
    description: ImportDescription


Source = TrainedWeights | DescribedOnnxFile


def read_source(request: BuildRequest) -> Source:
    """Read the checkpoint, or the ONNX file and its description, that a request names.

    Raises:
        UsageError: Source, model and description do not go together.
        CheckpointError: The checkpoint cannot be read.
        ModelError: There is no such model, or the description cannot be read.
        ExportError: The ONNX file cannot be read, or its inputs are not as described.
    """
    is_onnx = request.source.suffix.lower() == ".onnx"
    if request.model != ONNX_IMPORT:
        if request.preprocess is not None:
            raise UsageError(
                f"--preprocess goes with --model {ONNX_IMPORT}: {request.model} has its own"
            )
        if is_onnx:
            raise UsageError(
                f"{request.source} is an ONNX file, which needs --model {ONNX_IMPORT} and "
                "--preprocess FILE.toml; other models are built from a checkpoint"
            )
        return TrainedWeights(
            get_family(request.model), load_checkpoint(request.source, request.weights)
        )
    if request.preprocess is None or request.config is not None:
        raise UsageError(
            f"--model {ONNX_IMPORT} takes --preprocess FILE.toml, which describes inputs and "
            "output, and no --config"
        )
    if not is_onnx:
        raise UsageError(f"{request.source} is not called like an ONNX file: expected .onnx")
    from fasdk_engines.onnx_import.import_graph import with_sizes

    description = read_description(request.preprocess)
    file = read_onnx_file(request.source)
    return DescribedOnnxFile(file, with_sizes(file, description))
