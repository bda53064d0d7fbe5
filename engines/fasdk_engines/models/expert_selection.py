"""Product-key expert selection that can be recorded in one form of a model and forced on another.

A model that picks experts by their rank is not continuous: where two experts score almost the same,
another order of summation picks the other one, and the logits jump. Two forms of such a model are
the same function if they agree when they use the same experts, and pick differently only where the
scores are as good as tied. This module holds what makes that testable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

# End of the name of the exported node that writes what a layer named `selection` picked.
SELECTION_NODE = "/selection/GatherElements"


class ProductKeySelection(nn.Module):
    """Product-key selection (Lample et al., NeurIPS 2019): the best sums of two half scores.

    Args:
        keys: Number of keys in each half; expert i * keys + j has the scores i of the first half
            and j of the second.
        heads: Independent selections for each query.
        count: Experts of each selection.

    Attributes:
        recording: Whether `forward` keeps the experts it selects.
        selected: Experts of the last recorded `forward`, int64 [Q, heads, count], or None.
        forced: Experts to use in place of the best, int64 [Q, heads, count], or None.
        score_deficit: Largest amount by which the forced experts of the last `forward` scored below
            the best, in standard deviations of the scores.
    """

    def __init__(self, keys: int, heads: int, count: int) -> None:
        super().__init__()
        self.keys = keys
        self.heads = heads
        self.count = count
        self.recording = False
        self.selected: Tensor | None = None
        self.forced: Tensor | None = None
        self.score_deficit = 0.0

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Select experts.

        Args:
            first: float [Q, heads, keys], scores of the first half's keys.
            second: float [Q, heads, keys], scores of the second half's keys.

        Returns:
            Expert indices, int64, and their scores, both [Q, heads, count].
        """
        best_first, index_first = first.topk(self.count, dim=-1)
        best_second, index_second = second.topk(self.count, dim=-1)
        square = (-1, self.heads, self.count**2)
        sums = (best_first[..., None] + best_second[..., None, :]).reshape(square)
        indices = (index_first[..., None] * self.keys + index_second[..., None, :]).reshape(square)
        scores, places = sums.topk(self.count, dim=-1)
        chosen = indices.gather(-1, places)
        if self.recording:
            self.selected = chosen
        if self.forced is None:
            return chosen, scores
        forced = self.forced.reshape(chosen.shape)
        of_forced = first.gather(-1, forced // self.keys) + second.gather(-1, forced % self.keys)
        worse = (scores - of_forced.sort(dim=-1, descending=True).values).max()
        # In units of how much the scores vary: their scale is the weights' to choose.
        self.score_deficit = float(worse / (first.std() + second.std()))
        return forced, of_forced


def expert_selections(module: nn.Module) -> list[ProductKeySelection]:
    """Return a model's selection layers, in the order in which they run."""
    return [part for part in module.modules() if isinstance(part, ProductKeySelection)]


@contextmanager
def recording(module: nn.Module) -> Iterator[list[ProductKeySelection]]:
    """Keep the experts each layer selects, in `selected`, while the context is open."""
    layers = expert_selections(module)
    for layer in layers:
        layer.recording = True
    try:
        yield layers
    finally:
        for layer in layers:
            layer.recording, layer.selected = False, None


@contextmanager
def forced_experts(
    module: nn.Module, choices: Sequence[Tensor]
) -> Iterator[list[ProductKeySelection]]:
    """Make each layer use the given experts, and measure `score_deficit`, while it is open.

    Args:
        module: Model with selection layers.
        choices: int64 [Q, heads, count] for each layer in order; those beyond the last layer are
            not used.
    """
    layers = expert_selections(module)
    for layer, chosen in zip(layers, choices, strict=False):
        layer.forced = chosen
    try:
        yield layers
    finally:
        for layer in layers:
            layer.forced = None


def count_differing(first: Tensor, second: Tensor) -> int:
    """Count the experts of `first` [..., count] that `second` lacks in the same selection."""
    found = first[..., :, None] == second.reshape(first.shape)[..., None, :]
    return int((~found.any(dim=-1)).sum())


def recorded_experts(layers: Sequence[ProductKeySelection]) -> list[Tensor]:
    """Return what each recorded layer selected last, int64 [Q, heads, count]."""
    return [layer.selected for layer in layers if layer.selected is not None]
