"""Whether MMDG's certainty helps where one sensor alone tells the class and sometimes fails.

RGB and depth say nothing about the class; infrared does, but in half of the captures it is quiet
noise of a low level. The tiny MMDG learns these captures by heart, once with its certainty and once
with a certainty of 1 for every token, from the same weights and draws. If the mechanism works at
this size, the training loss falls below that of the arm without. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fasdk_engines.models.mmdg.config import MmdgConfig
from fasdk_engines.models.mmdg.published import Mmdg
from fasdk_engines.models.registry import get_family

SIZE, PATCH = 32, 8
QUIET = 0.05  # amplitude of a failed sensor's noise; a working one's picture has about 1
CONSTANT = 1e-9  # a rate at which every certainty is 1 to float32's precision


@dataclass(frozen=True)
class Captures:
    """Captures whose class infrared alone tells, where it works.

    Attributes:
        images: float32 [N, 3, H, W] for RGB, depth and IR.
        targets: int64 [N].
        quiet: bool [N], whether infrared is noise.
    """

    images: tuple[Tensor, Tensor, Tensor]
    targets: Tensor
    quiet: Tensor


def draw_captures(count: int, seed: int) -> Captures:
    """Return captures of two classes in turn; infrared fails in every second pair."""
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(count, 3, SIZE, SIZE, generator=generator)

    targets = torch.arange(count) % 2
    quiet = torch.arange(count) // 2 % 2 == 1
    shapes = torch.randn(2, 3, SIZE // PATCH, SIZE // PATCH, generator=generator)
    pictures = functional.interpolate(shapes, size=SIZE)[targets] + 0.5 * noise()
    ir = torch.where(quiet[:, None, None, None], QUIET * noise(), pictures)
    return Captures((noise(), noise(), ir), targets, quiet)


@dataclass(frozen=True)
class Learned:
    """Result of one arm.

    Attributes:
        loss: Cross-entropy on the training captures at the end, in nats.
        quiet_loss: The same over captures whose infrared is noise.
        working_loss: The same over the others.
        logit_shift: Change of a capture's logit difference when every certainty becomes 1, root
            mean square, as a share of the standard deviation of the differences.
    """

    loss: float
    quiet_loss: float
    working_loss: float
    logit_shift: float


def learn(captures: Captures, exp_rate: float, steps: int, seed: int, rate: float) -> Learned:
    """Train the tiny MMDG on all captures at every step, and return what it learned."""
    tiny = get_family("mmdg").configs["tiny"]
    fields = {**tiny.model_dump(), "image_size": SIZE, "patch_size": PATCH, "exp_rate": exp_rate}
    torch.manual_seed(seed)
    model = Mmdg(MmdgConfig.model_validate(fields))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(*captures.images)[0]
        torch.autograd.backward(functional.cross_entropy(logits, captures.targets))
        optimizer.step()
    model.eval()
    constant = Mmdg(MmdgConfig.model_validate(fields | {"exp_rate": CONSTANT})).eval()
    constant.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = model(*captures.images)[0]
        without = constant(*captures.images)[0]
    each = functional.cross_entropy(logits, captures.targets, reduction="none")
    difference, moved = (x[:, 1] - x[:, 0] for x in (logits, without))
    return Learned(
        loss=float(each.mean()),
        quiet_loss=float(each[captures.quiet].mean()),
        working_loss=float(each[~captures.quiet].mean()),
        logit_shift=float((moved - difference).square().mean().sqrt() / difference.std()),
    )


def main() -> None:
    """Train both arms for every seed and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=64)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1e-3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    arms: dict[str, list[Learned]] = {"with": [], "without": []}
    for seed in range(asked.seeds):
        captures = draw_captures(asked.captures, seed)
        for arm, exp_rate in (("with", MmdgConfig().exp_rate), ("without", CONSTANT)):
            arms[arm].append(learn(captures, exp_rate, asked.steps, seed, asked.rate))
    pairs = list(zip(arms["with"], arms["without"], strict=True))
    line = {"captures": asked.captures, "steps": asked.steps, "seeds": asked.seeds}
    figures = {
        f"{name}_{arm}_certainty": [round(getattr(found, name), 5) for found in arms[arm]]
        for name in ("loss", "quiet_loss", "working_loss")
        for arm in arms
    }
    print(
        json.dumps(
            line
            | {"seeds_where_certainty_is_lower": sum(a.loss < b.loss for a, b in pairs)}
            | figures
            | {"logit_shift_in_sd": [round(found.logit_shift, 5) for found in arms["with"]]}
        )
    )


if __name__ == "__main__":
    main()
