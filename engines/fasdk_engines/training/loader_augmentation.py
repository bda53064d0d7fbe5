"""Augmentation of the benchmark's public loaders, in 8-bit levels.

The loaders of DADM (which holds a copy of MMDG), MMDA and Flex-Modal-FAS resize each modality's
image and hand it, before it is normalized, to imgaug: Add(-40..40) with an offset for each channel,
then GammaContrast(0.5..1.5) (`Load_multi_domain_multi_modal.py`, `seq`). Every image has draws of
its own: RGB, depth, infrared, and HOG and PLGF where infrared is joined by them. MMDA's puts
AdditiveGaussianNoise(0..51) and AddToBrightness(-30..30) before them. What the dependency does is
written out here: offsets are whole levels, sums are clipped, noise is rounded and common to the
three channels, contrast cuts fractions off.

Different here: AddToBrightness picks one of six color spaces at random and adds to its brightness;
here every channel gets the offset, which is what YCrCb and YUV do where nothing is clipped, and
what all do on grey images but for rounding and Lab's and Luv's scale. Flex-Modal-FAS also cuts a
square out of all modalities, which none of the four systems' loaders does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fasdk.preprocess import IrComposite, PreprocessSpec

OFFSET = 40  # levels
GAMMA = (0.5, 1.5)
NOISE = 0.2 * 255.0  # largest standard deviation, in levels
BRIGHTNESS = 30  # levels


def as_loaders(
    images: Tensor, spec: PreprocessSpec, generator: torch.Generator, *, noisy: bool
) -> Tensor:
    """Return images changed at random as the loaders do.

    Args:
        images: float32 [B, 3, H, W], normalized, on the CPU.
        spec: Preprocessing of their modality.
        generator: Random number generator.
        noisy: Whether noise and a change of brightness come first, as in MMDA's loader.
    """
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (spec.mean, spec.std))
    levels = (images * std + mean).round().clamp(0.0, 255.0)
    # A composite's planes are images of their own.
    own = 3 if spec.ir_composite is IrComposite.IR_HOG_PLGF else 1
    if noisy:
        levels = _with_noise(levels, own, generator)
    offsets = _whole(OFFSET, (len(images), 3), generator)
    levels = (levels + offsets[:, :, None, None]).clamp(0.0, 255.0)
    return (_with_contrast(levels, own, generator) - mean) / std


def _with_noise(levels: Tensor, own: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = levels.shape
    deviation = NOISE * torch.rand(count, own, 1, 1, generator=generator)
    noise = deviation * torch.randn(count, own, height, width, generator=generator)
    levels = (levels + noise.round()).clamp(0.0, 255.0)
    offsets = _whole(BRIGHTNESS, (count, own), generator)
    return (levels + offsets[:, :, None, None]).clamp(0.0, 255.0)


def _with_contrast(levels: Tensor, own: int, generator: torch.Generator) -> Tensor:
    low, high = GAMMA
    count = len(levels)
    gamma = low + (high - low) * torch.rand(count, own, 1, generator=generator)
    table = (255.0 * torch.linspace(0.0, 1.0, 256) ** gamma).floor().expand(count, 3, 256)
    return table.gather(2, levels.flatten(2).long()).reshape(levels.shape)


def _whole(largest: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return whole numbers from -largest to largest."""
    return torch.randint(-largest, largest + 1, shape, generator=generator).float()
