"""Hard choices inside a model: recorded from one form, forced on another.

A model that picks experts by their rank is not continuous: where two experts score almost the same,
another order of summation picks the other one, and the logits jump. Two forms of such a model are
the same function if they agree when they use the same experts, and pick differently only where the
scores are as good as tied. This file holds what makes that testable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

# Of an exported graph's nodes, the one that writes what a place named `choice` chose.
CHOOSING_NODE = "/choice/GatherElements"


class ExpertChoice(nn.Module):
    """Pick experts by product keys (Lample et al., NeurIPS 2019): the best sums of two half scores.

    Args:
        keys: Number of keys in each half; expert i * keys + j has the scores i of the first half
            and j of the second.
        heads: Independent picks for each query.
        count: Experts of each pick.
    """

    def __init__(self, keys: int, heads: int, count: int) -> None:
        super().__init__()
        self.keys = keys
        self.heads = heads
        self.count = count
        self.record = False
        self.made: Tensor | None = None
        self.forced: Tensor | None = None
        self.concession = 0.0

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Pick experts; indices and scores [Q, heads, count] of half scores [Q, heads, keys]."""
        best_first, index_first = first.topk(self.count, dim=-1)
        best_second, index_second = second.topk(self.count, dim=-1)
        square = (-1, self.heads, self.count**2)
        sums = (best_first[..., None] + best_second[..., None, :]).reshape(square)
        indices = (index_first[..., None] * self.keys + index_second[..., None, :]).reshape(square)
        scores, places = sums.topk(self.count, dim=-1)
        chosen = indices.gather(-1, places)
        if self.record:
            self.made = chosen
        if self.forced is None:
            return chosen, scores
        forced = self.forced.reshape(chosen.shape)
        of_forced = first.gather(-1, forced // self.keys) + second.gather(-1, forced % self.keys)
        worse = (scores - of_forced.sort(dim=-1, descending=True).values).max()
        # In units of how much the scores vary: their scale is the weights' to choose.
        self.concession = float(worse / (first.std() + second.std()))
        return forced, of_forced


def expert_choices(module: nn.Module) -> list[ExpertChoice]:
    """Return a model's places of choice, in the order in which they are reached."""
    return [part for part in module.modules() if isinstance(part, ExpertChoice)]


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[ExpertChoice]]:
    """Within it, each place keeps what it chose last in `made`."""
    places = expert_choices(module)
    for place in places:
        place.record = True
    try:
        yield places
    finally:
        for place in places:
            place.record, place.made = False, None


@contextmanager
def forced(module: nn.Module, choices: Sequence[Tensor]) -> Iterator[list[ExpertChoice]]:
    """Within it, each place takes the given experts and notes in `concession` what that costs.

    Args:
        module: The model.
        choices: int64, one a place in order; more than the model has places are left over.
    """
    places = expert_choices(module)
    for place, chosen in zip(places, choices, strict=False):
        place.forced = chosen
    try:
        yield places
    finally:
        for place in places:
            place.forced = None


def differing(first: Tensor, second: Tensor) -> int:
    """Return how many choices of `first` [..., count] are not among `second`'s of the same pick."""
    found = first[..., :, None] == second.reshape(first.shape)[..., None, :]
    return int((~found.any(dim=-1)).sum())


def made_by(places: Sequence[ExpertChoice]) -> list[Tensor]:
    """Return what each recorded place chose in the last forward, int64 [Q, heads, count]."""
    return [place.made for place in places if place.made is not None]
