"""Layer-by-layer comparison of two graphs of one model; plans are never loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fasdk.errors import FasdkError, ParityError, UsageError
from fasdk.preprocess import PRESENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fasdk.bundle.trust import TrustPolicy

_T = TypeVar("_T")
_SEED = 7
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 0.05


def compare(
    source: Path,
    against: Path | None,
    model: str | None,
    config: str | None,
    tolerance: float | None,
    on_phase: Callable[[str], None],
    weights: str | None = None,
    trust: TrustPolicy | None = None,
) -> dict[str, Any]:
    """Compare two graphs layer by layer on seeded inputs.

    Args:
        source: A bundle, an ONNX file, or a checkpoint.
        against: The other one; None compares an FP32 source with its own FP16 form, rounded.
        model: Model name where a checkpoint is given.
        config: Settings of the model.
        tolerance: Largest difference, relative to a tensor's own largest magnitude; None takes
            1e-3, or 0.05 against the half-precision form.
        on_phase: Callback with the name of each phase as it begins.
        weights: Which of several sets of weights of a checkpoint to load; see `load_checkpoint`.
        trust: Signatures a bundle must carry; None for the keys of the machine's trust store.

    Returns:
        `diverges`, the names compared, and `divergence` (tensor, operator, node, differences).

    Raises:
        UsageError: A source cannot be read as a graph, or nothing is left to compare.
        ParityError: The graphs share no inputs, so they are not of one model.
        ExportError: An ONNX file is none, or ends or outgrows the process that runs it.
    """
    from fasdk_engines.graph.divergence import first_divergence

    brought = [path for path in (source, against) if path is not None and path.suffix == ".onnx"]
    on_phase(f"graph of {source.name}")
    first = _graph_of(source, model, config, weights, trust)
    if against is None:
        from fasdk.bundle.manifest import Precision
        from fasdk_engines.graph.fp16 import convert
        from fasdk_engines.graph.islands import islands_matching

        on_phase("half-precision form")
        patterns = _float32_islands(source, model, trust)
        second = _run_on(
            brought,
            lambda: convert(first, Precision.FP16, islands_matching(first, patterns)),
            len(first),
        )
        second_name = f"{source} in fp16"
    else:
        on_phase(f"graph of {against.name}")
        second, second_name = _graph_of(against, model, config, weights, trust), str(against)
    if tolerance is None:
        tolerance = _HALF_TOLERANCE if against is None else _TOLERANCE
    on_phase("layer by layer")
    divergence = _run_on(
        brought,
        lambda: first_divergence(first, second, _seeded_inputs(first, second), tolerance=tolerance),
        len(first) + len(second),
    )
    return {
        "first": str(source),
        "second": second_name,
        "tolerance": tolerance,
        "diverges": divergence is not None,
        "divergence": None if divergence is None else asdict(divergence),
    }


def _run_on(brought: Sequence[Path], work: Callable[[], _T], graph_bytes: int) -> _T:
    """Return what work on graphs returns, in a child process where ONNX files brought them."""
    if not brought:
        return work()
    from fasdk_engines.onnx_import.guard import run_guarded

    names = " and ".join(map(str, brought))
    try:
        return run_guarded(work, names, graph_bytes)
    except FasdkError as error:
        if str(error).startswith(names):
            raise
        raise ParityError(f"{names}: {error}") from error


def _graph_of(
    path: Path,
    model: str | None,
    config: str | None,
    weights: str | None,
    trust: TrustPolicy | None,
) -> bytes:
    if path.suffix == ".plan":
        raise UsageError(f"{path} is a TensorRT plan, which is never loaded here: give its bundle")
    if path.suffix == ".fasb":
        from fasdk.bundle.bundle import open_bundle

        return bytes(open_bundle(path, trust).graph)
    if path.suffix == ".onnx":
        from fasdk_engines.onnx_import.onnx_file import read_onnx_file

        return bytes(read_onnx_file(path).model.SerializeToString())
    if model is None:
        raise UsageError(f"{path} is read as a checkpoint, which needs --model NAME")
    from fasdk_engines.graph.export import export_graph
    from fasdk_engines.models.checkpoint import load_checkpoint, load_into, resolve_config
    from fasdk_engines.models.registry import get_family

    family = get_family(model)
    checkpoint = load_checkpoint(path, weights)
    settings = resolve_config(family, checkpoint, config)
    module = family.build(settings).eval()
    load_into(module, checkpoint, family)
    return export_graph(module.deployed().eval(), family.configured(settings), settings)


def _float32_islands(path: Path, model: str | None, trust: TrustPolicy | None) -> tuple[str, ...]:
    """Return what the source's family keeps in float32; nothing where there is no family."""
    from fasdk_engines.models.registry import family_names, get_family

    if path.suffix == ".fasb":
        from fasdk.bundle.bundle import open_bundle

        model = open_bundle(path, trust).manifest.model.family
    return get_family(model).float32_islands if model in family_names() else ()


def _seeded_inputs(first: bytes, second: bytes) -> dict[str, NDArray[np.float32]]:
    """Return one float32 batch of two per graph input, the same for both graphs."""
    shapes = _input_shapes(first)
    if shapes != _input_shapes(second):
        raise ParityError(
            f"the graphs take different inputs ({shapes} and {_input_shapes(second)}): "
            "they are not of one model"
        )
    rng = np.random.default_rng(_SEED)
    inputs = {
        name: np.tanh(rng.standard_normal((2, *shape))).astype(np.float32)
        for name, shape in shapes.items()
    }
    if PRESENCE in inputs:
        inputs[PRESENCE][:] = 1.0
    return inputs


def _input_shapes(graph: bytes) -> dict[str, tuple[int, ...]]:
    from fasdk_engines.graph.types import parse_graph

    inputs = parse_graph(graph).graph.input
    return {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim[1:])
        for value in inputs
    }
