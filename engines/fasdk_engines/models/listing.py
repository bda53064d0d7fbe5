"""Listing of the registered models with their sizes and costs, for `fasdk models`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from fasdk.errors import ModelError
from fasdk_engines.models.base import Family
from fasdk_engines.models.registry import broken_families, family_names, get_family


@dataclass(frozen=True)
class ModelListing:
    """One model with one of its named settings.

    Attributes:
        model: Model name, as `--model` takes it.
        config: Config name, as `--config` takes it.
        parameters: Weights in the published state dict that the module keeps.
        deployed_parameters: Weights in the deployed form.
        gflops: Floating-point operations of one capture through the deployed form, in 10^9; a
            multiplication and an addition count as two. Matrix products and convolutions alone.
        inputs: Shape of each graph input without the batch, in order.
        labels: Class names in logit order.
        certainty: Whether the graph has a per-modality certainty output.
        published_in: Paper or project that defines it.
    """

    model: str
    config: str
    parameters: int
    deployed_parameters: int
    gflops: float
    inputs: dict[str, list[int]]
    labels: list[str]
    certainty: bool
    published_in: str


def list_models() -> tuple[list[ModelListing], list[str]]:
    """Return one entry a registered config, and a line on each model that cannot be listed."""
    broken = broken_families()
    listings: list[ModelListing] = []
    problems = list(broken.values())
    for name in family_names():
        found = _family_listings(name)
        if isinstance(found, ModelError):
            problems += [str(found)] if name not in broken else []
        else:
            listings += found
    return listings, problems


def _family_listings(name: str) -> list[ModelListing] | ModelError:
    try:
        family = get_family(name)
        return [_listing(family, label) for label in family.configs]
    except ModelError as error:
        return error


def _listing(family: Family, label: str) -> ModelListing:
    """Return one config's entry; no weight and no activation takes memory.

    Raises:
        ModelError: The model fails before any weight is loaded.
    """
    try:
        config = family.configs[label]
        shapes = family.input_shapes(config)
        with torch.no_grad(), torch.device("meta"), _WeightsReadAsZero():  # type: ignore[no-untyped-call]
            published = family.build(config).eval()
            deployed = published.deployed().eval()
            inputs = [torch.zeros(1, *shapes[value]) for value in family.input_names]
            with FlopCounterMode(display=False) as counter:
                deployed(*inputs)
    except Exception as error:  # another's model may fail in any way
        raise ModelError(
            f"model {family.name!r} with config {label!r} cannot be built: "
            f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        ) from error
    return ModelListing(
        model=family.name,
        config=label,
        parameters=_parameters(published),
        deployed_parameters=_parameters(deployed),
        gflops=counter.get_total_flops() / 1e9,
        inputs={value: list(shapes[value]) for value in family.input_names},
        labels=list(family.labels),
        certainty=family.has_certainty,
        published_in=family.published_in,
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class _WeightsReadAsZero(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which a weight on the meta device reads as 0; the cost does not depend on it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 0.0 if args[0].is_floating_point() else 0
        return func(*args, **(kwargs or {}))
