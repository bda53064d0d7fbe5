"""Features of one sensor's picture, from the tensor that the model is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk.capture import Modality

if TYPE_CHECKING:
    from fasdk.preprocess import PreprocessSpec

LEAST_SIDE = 8
"""Shortest side of a picture that has features, in pixels."""
LEVELS = 255.0
_CELLS = 8  # of the thumbnail along one side
_DETAIL_CELLS = 4
_SCALES = 3
_STEPS = 16  # of the histogram
_LEAST_DETAIL = 4e-3  # about one of 255 levels


class PictureFeatures(nn.Module):
    """Features of pictures of one modality: thumbnail, detail by place and scale, histogram.

    Infrared composites and depth have their own picture in the first plane; color has all three.

    Args:
        modality: Modality of the pictures.
        spec: Preprocessing of the modality; `LEAST_SIDE` pixels to each side at least.
    """

    def __init__(self, modality: Modality, spec: PreprocessSpec) -> None:
        super().__init__()
        self._is_color = modality is Modality.RGB
        self._side = min(spec.height, spec.width)
        gain, offset = torch.tensor(spec.std) / LEVELS, torch.tensor(spec.mean) / LEVELS
        self.register_buffer("gain", gain[:, None, None], persistent=False)
        self.register_buffer("offset", offset[:, None, None], persistent=False)
        steps = torch.arange(_STEPS + 1.0) - 0.5
        self.register_buffer("steps", steps[:, None, None], persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Return float32 [B, F] for pictures float32 [B, 3, H, W], normalized as `spec` says."""
        return self.of_levels(picture * self.get_buffer("gain") + self.get_buffer("offset"))

    def of_levels(self, levels: Tensor) -> Tensor:
        """Return the same for pictures of levels from 0 to 1."""
        gray = levels.mean(dim=1, keepdim=True) if self._is_color else levels[:, :1]
        found = [_pooled(gray, _CELLS).flatten(1), *self._details(gray), *self._histograms(gray)]
        if self._is_color:
            chroma = torch.cat([levels[:, :1] - gray, levels[:, 2:] - gray], dim=1)
            detail = _log_mean(_changes(chroma), 1)
            found += [_pooled(chroma, 2).flatten(1), detail.flatten(1)]
        return torch.cat(found, dim=1)

    def _details(self, gray: Tensor) -> list[Tensor]:
        """Return the logarithm of mean gradients and curvature, by place, at falling sizes."""
        found = []
        for scale in range(_SCALES):
            if self._side >> scale < LEAST_SIDE:
                break
            if scale:
                gray = functional.avg_pool2d(gray, 2)
            detail = _log_mean(_changes(gray), _DETAIL_CELLS)
            # Noise shows in the smoothest cell, blur in the most detailed one.
            found += [detail.flatten(1), detail.amin(dim=(2, 3)), detail.amax(dim=(2, 3))]
        return found

    def _histograms(self, gray: Tensor) -> list[Tensor]:
        """Return the share of the picture, and of its middle, above each of several levels."""
        if self._side >= 2 * LEAST_SIDE:
            gray = functional.avg_pool2d(gray, 2)  # a quarter of the time, and nothing is lost
        height, width = map(int, gray.shape[2:])  # plain numbers, so that a trace has them
        middle = gray[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4]
        steps = self.get_buffer("steps")
        return [(part * _STEPS - steps).clamp(0.0, 1.0).mean(dim=(2, 3)) for part in (gray, middle)]


def _changes(planes: Tensor) -> Tensor:
    """Return the magnitudes of both central differences and of the Laplacian, the rim left out.

    They follow each other in the second axis: few large operators are quicker than many small ones.
    """
    inner = planes[:, :, 1:-1, 1:-1]
    left, right = planes[:, :, 1:-1, :-2], planes[:, :, 1:-1, 2:]
    above, below = planes[:, :, :-2, 1:-1], planes[:, :, 2:, 1:-1]
    curved = 4.0 * inner - left - right - above - below
    return torch.cat([right - left, below - above, curved], dim=1).abs()


def _log_mean(planes: Tensor, cells: int) -> Tensor:
    return (_pooled(planes, cells) + _LEAST_DETAIL).log()


def _pooled(planes: Tensor, cells: int) -> Tensor:
    """Return the means of at least `cells` by `cells` equal cells, a rim left out."""
    height, width = (max(1, int(side) // cells) for side in planes.shape[2:])
    return functional.avg_pool2d(planes, (height, width))
