"""FP32 graph of a build, checked for parity with the checkpoint or the ONNX file it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.phases import Phases
    from fasdk_engines.build.resolved import ResolvedModel
    from fasdk_engines.build.source import DescribedOnnxFile
    from fasdk_engines.graph.parity import Parity
    from fasdk_engines.models.checkpoint import Checkpoint

_FOLD_BUDGET = 5e-6  # of any class score, between a graph and its folded form


@dataclass(frozen=True, eq=False)
class DeployedModel:
    """A checkpoint's model in its deployed form.

    Attributes:
        module: The deployed form.
        source_sha256: SHA-256 of the checkpoint.
        torch_parity: Largest differences, published form against deployed form.
        notes: What was chosen, converted or dropped of the checkpoint, a sentence each.
    """

    module: nn.Module
    source_sha256: str
    torch_parity: Parity
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A float32 graph and the parity measured on the way to it.

    Attributes:
        graph: Serialized ONNX model, float32.
        model: Model of the build; an import may have added float32 islands to its family.
        parameters: Number of weights in the graph.
        source_sha256: SHA-256 of the checkpoint or ONNX file.
        torch_parity: Largest logit difference, published form against deployed form in torch;
            None for an imported ONNX file.
        graph_parity: Largest logit difference, deployed form against its FP32 graph; for an
            imported file the largest score difference, file as given against the FP32 graph.
        score_parity: Largest softmax difference of both comparisons; for an imported file that of
            `graph_parity`.
        logit_spread: Largest difference between two logits of one capture, at least 1, by which the
            budgets of logits are multiplied; None for an imported file.
        notes: Plain lines, each on one thing of the source that was converted, read or assumed.
        max_batch: Largest batch the graph takes; None for any.
        reliability: Whether the graph has the output `reliability`.
    """

    graph: bytes
    model: ResolvedModel
    parameters: int
    source_sha256: str
    torch_parity: float | None
    graph_parity: float
    score_parity: float
    logit_spread: float | None = None
    notes: tuple[str, ...] = ()
    max_batch: int | None = None
    reliability: bool = False

    def largest_batch(self, wanted: int) -> int:
        """Return the largest batch of a plan's profile and of the manifest, at most `wanted`."""
        return wanted if self.max_batch is None else min(wanted, self.max_batch)


def import_onnx_file(source: DescribedOnnxFile, model: ResolvedModel, phases: Phases) -> FloatGraph:
    """Import an ONNX file as an FP32 graph with fasdk's input and output names.

    Raises:
        ExportError: The graph is not as described.
        ParityError: Its scores depend on the batch or on absent pixels, or the import changed them.
    """
    from fasdk_engines.onnx_import.import_graph import import_graph

    phases.start("ONNX import")
    imported = import_graph(source.file, source.description)
    return FloatGraph(
        graph=imported.graph,
        model=replace(model, family=imported.family),
        parameters=imported.parameters,
        source_sha256=source.file.sha256,
        torch_parity=None,
        graph_parity=imported.parity,
        score_parity=imported.parity,
        notes=imported.notes,
        max_batch=imported.interpretation.max_batch,
    )


def deploy_checkpoint(
    checkpoint: Checkpoint, model: ResolvedModel, phases: Phases
) -> DeployedModel:
    """Load a checkpoint into the published form and derive the deployed form from it.

    Raises:
        CheckpointError: The weights do not fit the model.
        ParityError: The two forms disagree.
    """
    from fasdk_engines.graph.parity import torch_parity
    from fasdk_engines.models.checkpoint import load_into

    family, config = model.family, model.config
    phases.start("checkpoint")
    published = family.build(config).eval()
    notes = load_into(published, checkpoint, family)
    phases.start("torch parity")
    deployed = published.deployed().eval()
    inputs = [tensor[:2] for tensor in _parity_inputs(model)]
    parity = torch_parity(published, deployed, inputs)
    return DeployedModel(deployed, checkpoint.sha256, parity, notes)


def export_deployed(deployed: DeployedModel, model: ResolvedModel, phases: Phases) -> FloatGraph:
    """Export a deployed form as an FP32 graph and compare the two.

    Raises:
        ExportError: The module cannot be exported.
        ParityError: Graph and module disagree, or a score depends on the batch.
        BackendError: ONNX Runtime refuses the graph.
    """
    from fasdk_engines.graph.export import export_graph
    from fasdk_engines.graph.parity import graph_parity

    family, config = model.family, model.config
    phases.start("export")
    graph = export_graph(deployed.module, family, config)
    phases.start("graph parity")
    parity = graph_parity(graph, deployed.module, _parity_inputs(model))
    return FloatGraph(
        graph=graph,
        model=model,
        parameters=sum(p.numel() for p in deployed.module.parameters()),
        source_sha256=deployed.source_sha256,
        torch_parity=deployed.torch_parity.logits,
        graph_parity=parity.logits,
        score_parity=max(deployed.torch_parity.scores, parity.scores),
        logit_spread=max(deployed.torch_parity.spread, parity.spread),
        notes=deployed.notes,
    )


def fold_graph(source: FloatGraph, captures: BuildCaptures) -> FloatGraph:
    """Fold the batch norm of an FP32 graph, held against the unfolded graph in ONNX Runtime.

    It is left as it is where folding would move a score, which the notes say.

    Raises:
        ExportError: The graph's types do not fit together.
        BackendError: ONNX Runtime refuses or fails to run a graph.
    """
    from fasdk_engines.graph.batch_norm import fold_batch_norm
    from fasdk_engines.graph.emulation import largest_score_drift
    from fasdk_engines.graph.runner import GraphRunner
    from fasdk_engines.graph.types import parse_graph

    model = parse_graph(source.graph)
    count = fold_batch_norm(model)
    if not count:
        return source
    folded = bytes(model.SerializeToString(deterministic=True))
    specs, order = source.model.specs, source.model.family.presence_order
    before, after = (
        GraphRunner(graph, specs, order).logits(captures.emulation)
        for graph in (source.graph, folded)
    )
    drift = largest_score_drift(after, before)
    if not drift <= _FOLD_BUDGET:
        note = f"batch norm was not folded: a score would move by {drift:.3g}"
        return replace(source, notes=(*source.notes, note))
    what = "1 batch norm was" if count == 1 else f"{count} batch norms were"
    note = f"{what} folded into the layers beside"
    return replace(source, graph=folded, notes=(*source.notes, note))


def with_reliability(source: FloatGraph, captures: BuildCaptures) -> FloatGraph:
    """Add the output `reliability` to an FP32 graph, fitted on the development captures.

    Without them, or where they are too few, the graph is left as it is and the notes say so.

    Raises:
        ExportError: The output cannot be added.
        ParityError: The graph gives other ranks than those that were fitted, or other logits.
        BackendError: ONNX Runtime refuses or fails to run the graph.
    """
    from fasdk_engines.reliability.fit import fit_reliability
    from fasdk_engines.reliability.graph import ISLAND, add_reliability, require_same_ranks

    if captures.development is None:
        return source
    model = source.model
    specs = {modality: model.specs[modality] for modality in model.family.modalities}
    presence = model.family.presence_order
    fit = fit_reliability(captures.development, specs, with_presence=presence is not None)
    notes = (*source.notes, fit.note)
    if fit.reliability is None:
        return replace(source, notes=notes)
    graph = add_reliability(source.graph, fit.reliability, specs)
    require_same_ranks(source.graph, graph, fit.reliability, captures.emulation, specs, presence)
    family = replace(model.family, float32_islands=(*model.family.float32_islands, ISLAND))
    return replace(
        source, graph=graph, model=replace(model, family=family), notes=notes, reliability=True
    )


def _parity_inputs(model: ResolvedModel) -> tuple[Tensor, ...]:
    return model.family.example_inputs(model.config, batch=3, seed=1)
