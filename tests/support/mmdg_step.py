"""MMDG's published training step in float64, written from its description alone.

Lin et al., CVPR 2024: forward pass with U-Adapters, cross-entropy, SSP, and ReGrad with the class
token's certainty. Gradients are PyTorch's; no module of the project takes part. Two things are
left out: the dropout of adapters, and the sampling of certainty, which is its expectation.

The step at the published size on seeded weights is kept as a `Sketch`: run
`PYTHONPATH=tests python -m support.mmdg_step --write` to make it again; without `--write` the
project's step in float64 (`--float32`: in float32, with its rounding) is compared with what is
kept, and the largest relative errors are printed as a JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fasdk_engines.models.mmdg.config import MmdgConfig
from fasdk_engines.models.registry import get_family
from fasdk_engines.models.seeded import seeded_inputs, seeded_state_dict
from fasdk_engines.training.data import Batch
from fasdk_engines.training.prototypes import PrototypesRebalanced

from support.training_batch import DOMAINS, batch_of, task_of

KEPT = Path(__file__).parents[1] / "data" / "golden" / "mmdg.step.npz"
SHAPES = KEPT.with_name("mmdg.keys.json")
NAMES = ("rgb", "depth", "ir")
SEED = 23
PROJECTIONS = 8
SSP_SHARE = 0.3
# Modality that receives, modality that is asked, and the adapter's name.
_ADAPTERS = ((0, 1, "1_2"), (0, 2, "1_3"), (1, 0, "2_1"), (2, 0, "3_1"))


@dataclass(frozen=True)
class Case:
    """Weights and captures of one training step.

    Attributes:
        config: Sizes and constants of the model.
        weights: State dict under the published names, float32.
        images: float32 [B, 3, H, W] for RGB, depth and IR.
        live: bool [B], whether a capture is bona fide.
        domains: int64 [B], domain of each capture.
        prototypes: float32 [3, 1 + domains, width]: live, then the attacks of each domain.
    """

    config: MmdgConfig
    weights: Mapping[str, NDArray[np.float32]]
    images: Sequence[NDArray[np.float32]]
    live: NDArray[np.bool_]
    domains: NDArray[np.int64]
    prototypes: NDArray[np.float32]

    @classmethod
    def seeded(cls, config: MmdgConfig, shapes: Mapping[str, Sequence[int]], seed: int) -> Case:
        """Return a live capture of one domain and an attack of another, drawn from a seed."""
        random = np.random.default_rng(seed)
        prototypes = random.standard_normal((3, 1 + len(DOMAINS), config.width))
        return cls(
            config,
            seeded_state_dict(shapes, seed),
            list(seeded_inputs(2, config.image_size, seed).values()),
            np.array([True, False]),
            np.array([0, 3]),
            prototypes.astype(np.float32),
        )


@dataclass(frozen=True)
class Step:
    """Result of one training step.

    Attributes:
        losses: `classification` and one SSP loss a modality, in nats.
        certainty: Mean certainty of each modality's class token.
        gradients: Gradient of each trained parameter, by its published name.
    """

    losses: dict[str, float]
    certainty: list[float]
    gradients: dict[str, Tensor]


def described_step(case: Case) -> Step:
    """Return the step as published, in float64."""
    weights = {n: torch.from_numpy(v).double() for n, v in case.weights.items()}
    depth = 1 + max(int(n.split(".")[1]) for n in weights if n.startswith("adapter_1_2_2."))
    frozen = re.compile(r"conv_proj|ViT_Encoder\.(\d+)\.")
    trained = {}
    for name, value in weights.items():
        match = frozen.match(name)
        if match is None or (match[1] is not None and int(match[1]) >= depth):
            trained[name] = value.requires_grad_()
    images = [torch.from_numpy(image).double() for image in case.images]
    logits, features, certainty = _forward(case.config, weights, images, depth)
    live = torch.from_numpy(case.live)
    losses = [_cross_entropy(logits, live.long())]
    kinds = torch.where(live, 0, 1 + torch.from_numpy(case.domains))
    for feature, centers in zip(features, torch.from_numpy(case.prototypes).double(), strict=True):
        away = (feature[:, None] - centers).square().sum(-1).sqrt()
        losses.append(SSP_SHARE * _cross_entropy(-away, kinds))
    own, *found = (
        torch.autograd.grad(
            loss,
            list(trained.values()),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        for loss in losses
    )
    values = [float(loss.detach()) for loss in losses]
    fast = min(range(3), key=lambda index: values[1 + index])
    gradients = {}
    for index, (name, classified) in enumerate(zip(trained, own, strict=True)):
        number = re.search(r"\d", name.split(".")[0])
        total = classified
        if number is not None:
            branches = [each[index] for each in found]
            total = total + _rebalanced(int(number[0]) - 1, branches, fast, certainty)
        gradients[name] = total.detach()
    return Step(dict(zip(("classification", *NAMES), values, strict=True)), certainty, gradients)


def _rebalanced(own: int, branches: list[Tensor], fast: int, certainty: list[float]) -> Tensor:
    if own == fast:
        others = sum((g for i, g in enumerate(branches) if i != own), torch.zeros_like(branches[0]))
        return certainty[own] * _along(others, branches[own]) + others
    result = branches[own]
    for index, gradient in enumerate(branches):
        if index != own:
            result = result + certainty[index] * _along(branches[own], gradient)
    return result


def _along(base: Tensor, gradient: Tensor) -> Tensor:
    """Return the projection where both agree, and what is left without it where they conflict."""
    dot, square = float((base * gradient).sum()), float((base * base).sum())
    if square == 0.0:
        return gradient
    projection = base * (dot / square)
    return projection if dot > 0.0 else gradient - projection


def _forward(
    config: MmdgConfig, weights: Mapping[str, Tensor], images: Sequence[Tensor], depth: int
) -> tuple[Tensor, list[Tensor], list[float]]:
    """Return logits [B, 2], three class tokens [B, width] and their mean certainties."""
    streams = [_embedded(config, weights, i + 1, image) for i, image in enumerate(images)]
    certainty: list[Tensor] = []
    for block in range(1, depth + 1):
        name = f"ViT_Encoder.{block}"
        certainty, hidden = [], []
        for tokens in streams:
            normed = _layer_norm(weights, f"{name}.ln_1", tokens, 1e-6)
            attended = _self_attention(weights, f"{name}.self_attention", normed, config.heads)
            certainty.append(_certainty(config, attended.detach()).mean(-1))
            hidden.append(tokens + attended)
        normed_streams = [_layer_norm(weights, f"{name}.ln_2", h, 1e-6) for h in hidden]
        streams = []
        for h, normed in zip(hidden, normed_streams, strict=True):
            inner = functional.gelu(_linear(weights, f"{name}.mlp.0", normed))
            streams.append(h + _linear(weights, f"{name}.mlp.3", inner))
        for to, asked, pair in _ADAPTERS:
            streams[to] = streams[to] + _adapter(
                config,
                weights,
                f"adapter_{pair}_2.{block - 1}",
                (normed_streams[to], normed_streams[asked], certainty[asked]),
            )
    final = f"ViT_Encoder.{depth + 1}"
    features = [_layer_norm(weights, final, tokens[:, 0], 1e-6) for tokens in streams]
    logits = _linear(weights, "fc_all.0", torch.cat(features, dim=1))
    return logits, features, [float(c[:, 0].mean()) for c in certainty]


def _embedded(
    config: MmdgConfig, weights: Mapping[str, Tensor], number: int, image: Tensor
) -> Tensor:
    side, grid = config.patch_size, config.image_size // config.patch_size
    squares = image.reshape(len(image), 3, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
    kernel = weights[f"conv_proj{number}.weight"].flatten(1)
    patches = squares.reshape(len(image), grid * grid, -1) @ kernel.T
    patches = patches + weights[f"conv_proj{number}.bias"]
    first = weights[f"class_token{number}"].expand(len(image), 1, -1)
    return torch.cat([first, patches], dim=1) + weights[f"pos_embedding{number}"]


def _self_attention(weights: Mapping[str, Tensor], name: str, x: Tensor, heads: int) -> Tensor:
    projected = x @ weights[f"{name}.in_proj_weight"].T + weights[f"{name}.in_proj_bias"]
    query, key, value = (_split(part, heads) for part in projected.chunk(3, dim=-1))
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
    return _linear(weights, f"{name}.out_proj", _joined(scores.softmax(-1) @ value))


def _certainty(config: MmdgConfig, x: Tensor) -> Tensor:
    """Return the expectation of exp(-rate * std) over draws of dropout, element by element."""
    count, keep = config.num_sample, 1.0 - config.dropout_ratio
    expected = torch.zeros_like(x)
    for kept in range(count + 1):
        chance = math.comb(count, kept) * keep**kept * config.dropout_ratio ** (count - kept)
        spread = math.sqrt(kept * (count - kept) / (count * (count - 1))) / keep
        expected += chance * torch.exp(-config.exp_rate * spread * x.abs())
    return expected


def _adapter(
    config: MmdgConfig,
    weights: Mapping[str, Tensor],
    name: str,
    streams: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Return what one modality receives; `streams` are own, other and the other's certainty."""
    own, other, certainty = streams
    keys = _quick_gelu(_linear(weights, f"{name}.adapter_down_1", own))
    asked = _quick_gelu(_linear(weights, f"{name}.adapter_down_2", other))
    attention, heads = f"{name}.cross_attention", config.adapter_heads
    query = _split(asked @ weights[f"{attention}.q_linear.weight"].T, heads)
    key = _split(keys @ weights[f"{attention}.k_linear.weight"].T, heads)
    value = _split(keys @ weights[f"{attention}.v_linear.weight"].T, heads)
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
    mixed = (scores * certainty[:, None, :, None]).softmax(-1) @ value
    found = _linear(weights, f"{attention}.proj", _joined(mixed)) + keys
    normed = _layer_norm(weights, f"{name}.ln_before", found, 1e-5)
    kernel = weights[f"{name}.adapter_conv.conv.weight"]
    convolved = _central_difference(normed, kernel, config.adapter_theta)
    return _linear(weights, f"{name}.adapter_up", _quick_gelu(convolved))


def _central_difference(tokens: Tensor, kernel: Tensor, theta: float) -> Tensor:
    """Convolve patches as a map and the class token as a map of its own, 3 x 3, zeros around."""
    grid = math.isqrt(tokens.shape[1] - 1)
    summed = kernel.sum((2, 3))
    first = tokens[:, :1] @ (kernel[:, :, 1, 1] - theta * summed).T
    patches = tokens[:, 1:].reshape(len(tokens), grid, grid, -1)
    padded = functional.pad(patches, (0, 0, 1, 1, 1, 1))
    result = -theta * patches @ summed.T
    for row in range(3):
        for column in range(3):
            shifted = padded[:, row : row + grid, column : column + grid]
            result = result + shifted @ kernel[:, :, row, column].T
    return torch.cat([first, result.flatten(1, 2)], dim=1)


def _linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _layer_norm(weights: Mapping[str, Tensor], name: str, x: Tensor, eps: float) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    normed = centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt()
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.logsumexp(1) - logits.gather(1, targets[:, None])[:, 0]).mean()


class _Observed(PrototypesRebalanced):
    """MMDG's method, which keeps the certainty that it was given."""

    seen: Tensor

    def observe(self, certainty: Tensor, batch: Batch) -> None:
        self.seen = certainty.mean(dim=0)
        super().observe(certainty, batch)


def project_step(case: Case, dtype: torch.dtype) -> Step:
    """Return the same step by the project's model and method, its dropout off."""
    family = get_family("mmdg")
    module = family.build(case.config)
    module.load_state_dict({n: torch.from_numpy(v) for n, v in case.weights.items()})
    module = module.to(dtype).eval()
    method = _Observed(task_of(family, case.config, module))
    method.restore({"prototypes": torch.from_numpy(case.prototypes).to(dtype)})
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not any(re.fullmatch(p, name) for p in method.frozen()))
    batch = batch_of(case.images, case.live, case.domains, dtype)
    losses = method.losses(batch)
    method.backward(losses, lambda loss: loss)
    method.end_step()
    gradients = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    return Step(values, method.seen.tolist(), gradients)


@dataclass(frozen=True)
class Sketch:
    """Digest of a step from which another step's distance can be estimated.

    The mean square of a difference's products with standard normal vectors is the square of its
    length, so few numbers a parameter tell how far two gradients are apart.

    Attributes:
        losses: float64 [4], as `Step.losses`.
        certainty: float64 [3].
        names: Names of the trained parameters.
        norms: float64 [parameters], length of each gradient.
        products: float64 [parameters, `PROJECTIONS`].
    """

    losses: NDArray[np.float64]
    certainty: NDArray[np.float64]
    names: NDArray[np.str_]
    norms: NDArray[np.float64]
    products: NDArray[np.float64]

    @classmethod
    def of(cls, step: Step) -> Sketch:
        """Return a step's digest."""
        names = sorted(step.gradients)
        norms, products = [], []
        for name in names:
            gradient = step.gradients[name].double().flatten().numpy()
            random = np.random.default_rng([zlib.crc32(name.encode()), SEED])
            norms.append(np.linalg.norm(gradient))
            products.append(
                [random.standard_normal(len(gradient)) @ gradient for _ in range(PROJECTIONS)]
            )
        return cls(
            np.array([step.losses[name] for name in ("classification", *NAMES)]),
            np.array(step.certainty),
            np.array(names),
            np.array(norms),
            np.array(products),
        )

    @classmethod
    def load(cls) -> Sketch:
        """Return the step that is kept."""
        with np.load(KEPT, allow_pickle=False) as archive:
            return cls(**archive)

    def save(self) -> None:
        """Keep it."""
        np.savez_compressed(KEPT, **vars(self))

    def errors(self, other: Sketch) -> dict[str, float]:
        """Return the largest relative errors of another step against this one."""
        if list(self.names) != list(other.names):
            raise ValueError(f"other parameters: {set(self.names) ^ set(other.names)}")
        apart = np.sqrt(((other.products - self.products) ** 2).mean(axis=1)) / self.norms
        worst = int(apart.argmax())
        return {
            "losses": float(np.abs(other.losses / self.losses - 1.0).max()),
            "certainty": float(np.abs(other.certainty / self.certainty - 1.0).max()),
            "gradients": float(apart[worst]),
            "worst": str(self.names[worst]),
            "parameters": len(self.names),
        }


def published_case() -> Case:
    """Return the step at the published size."""
    return Case.seeded(MmdgConfig(), json.loads(SHAPES.read_text()), SEED)


def main() -> None:
    """Make the kept step again, or print how far the project's is from it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--float32", action="store_true")
    asked = parser.parse_args()
    if asked.write:
        Sketch.of(described_step(published_case())).save()
    else:
        dtype = torch.float32 if asked.float32 else torch.float64
        found = Sketch.of(project_step(published_case(), dtype))
        print(json.dumps(Sketch.load().errors(found)))


if __name__ == "__main__":
    main()
