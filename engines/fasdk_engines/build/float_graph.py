"""Checkpoint or ready graph in, FP32 graph out, each form held against the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.models.registry import ONNX_IMPORT

if TYPE_CHECKING:
    from fasdk_engines.build.request import BuildRequest, Phases
    from fasdk_engines.onnx_import.description import ImportDescription


@dataclass(frozen=True)
class FloatGraph:
    """An FP32 graph and what it came from, with the parity that was measured on the way.

    Attributes:
        graph: ONNX file, float32.
        family: Its model.
        config: The model's settings.
        parameters: Weights in the deployed form.
        source_sha256: Digest of the checkpoint or ready file.
        torch_parity: See `BuildReport`.
        graph_parity: See `BuildReport`.
    """

    graph: bytes
    family: Family
    config: ModelConfig
    parameters: int
    source_sha256: str
    torch_parity: float | None
    graph_parity: float


def read_description_of(request: BuildRequest) -> ImportDescription | None:
    """Return what describes a ready ONNX file, or None where a checkpoint is to be built.

    Raises:
        UsageError: Source, model and description do not go together.
        ModelError: The description is not as it should be.
    """
    if request.model != ONNX_IMPORT:
        if request.preprocess is not None:
            raise UsageError(
                f"--preprocess goes with --model {ONNX_IMPORT}: {request.model} has its own"
            )
        if request.source.suffix.lower() == ".onnx":
            raise UsageError(
                f"{request.source} is an ONNX file, which needs --model {ONNX_IMPORT} and --preprocess "
                "FILE.toml; other models are built from a checkpoint"
            )
        return None
    if request.preprocess is None or request.config is not None:
        raise UsageError(
            f"--model {ONNX_IMPORT} takes --preprocess FILE.toml, which describes inputs and output, and "
            "no --config"
        )
    if request.source.suffix.lower() != ".onnx":
        raise UsageError(f"{request.source} is not called like an ONNX file: expected .onnx")
    from fasdk_engines.onnx_import.description import read_description

    return read_description(request.preprocess)


def make_float_graph(
    request: BuildRequest, family: Family, description: ImportDescription | None, phases: Phases
) -> FloatGraph:
    """Return the FP32 graph of a checkpoint, or of a ready file where a description is given.

    Raises:
        FasdkError: A subclass names what was wrong with the source, or which two forms of the model
            disagree.
    """
    if description is None:
        return _graph_of_checkpoint(request, family, phases)
    return _graph_of_file(request, description, phases)


def _graph_of_file(
    request: BuildRequest, description: ImportDescription, phases: Phases
) -> FloatGraph:
    """Ready ONNX file → FP32 graph under our names, held against the file as it was given."""
    from fasdk_engines.onnx_import.import_graph import import_graph
    from fasdk_engines.onnx_import.onnx_file import read_onnx_file

    phases.start("ready graph")
    file = read_onnx_file(request.source)
    ready = import_graph(file, description)
    return FloatGraph(
        graph=ready.graph,
        family=ready.family,
        config=description,
        parameters=ready.parameters,
        source_sha256=file.sha256,
        torch_parity=None,
        graph_parity=ready.parity,
    )


def _graph_of_checkpoint(request: BuildRequest, family: Family, phases: Phases) -> FloatGraph:
    """Checkpoint → module → deployed module → FP32 graph, each held against the one before."""
    from fasdk_engines.graph.export import export_graph
    from fasdk_engines.models.checkpoint import load_checkpoint, load_into, resolve_config
    from fasdk_engines.models.parity import graph_parity, torch_parity

    phases.start("checkpoint")
    checkpoint = load_checkpoint(request.source)
    config = resolve_config(family, checkpoint, request.config)
    published = family.build(config).eval()
    load_into(published, checkpoint, family)
    phases.start("torch parity")
    deployed = published.deployed().eval()
    inputs = family.example_inputs(config, batch=3, seed=1)
    in_torch = torch_parity(published, deployed, [tensor[:2] for tensor in inputs])
    sha256 = checkpoint.sha256
    del checkpoint, published
    phases.start("export")
    graph = export_graph(deployed, family, config)
    phases.start("graph parity")
    in_graph = graph_parity(graph, deployed, inputs)
    parameters = sum(p.numel() for p in deployed.parameters())
    return FloatGraph(graph, family, config, parameters, sha256, in_torch, in_graph)
