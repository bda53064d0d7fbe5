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
_CHANGES = 3  # across, down and curved
_STEPS = 16  # of the histogram
_LEAST_DETAIL = 4e-3  # about one of 255 levels


class PictureFeatures(nn.Module):
    """Features of pictures of one modality: thumbnail, detail by place and scale, histogram.

    Infrared composites and depth have their own picture in the first plane; color has all three.

    Args:
        modality: Modality of the pictures.
        spec: Preprocessing of the modality; `LEAST_SIDE` pixels to each side at least.

    Attributes:
        size: Height and width of a picture, in pixels.
    """

    def __init__(self, modality: Modality, spec: PreprocessSpec) -> None:
        super().__init__()
        self._is_color = modality is Modality.RGB
        self.size = (spec.height, spec.width)
        gain, offset = torch.tensor(spec.std) / LEVELS, torch.tensor(spec.mean) / LEVELS
        self.register_buffer("gain", gain[:, None, None], persistent=False)
        self.register_buffer("offset", offset[:, None, None], persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Return float32 [B, F] for pictures float32 [B, 3, H, W], normalized as `spec` says."""
        return self._of_planes(*self.planes(picture))

    def of_levels(self, levels: Tensor) -> Tensor:
        """Return the same for pictures of levels from 0 to 1."""
        return self._of_planes(*self._planes_of(levels))

    def planes(self, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return a picture's gray plane [B, 1, H, W] and its two color differences, or None."""
        used = 3 if self._is_color else 1
        gain, offset = self.get_buffer("gain")[:used], self.get_buffer("offset")[:used]
        return self._planes_of(picture[:, :used] * gain + offset)

    def _planes_of(self, levels: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self._is_color:
            return levels[:, :1], None
        gray = levels.mean(dim=1, keepdim=True)
        return gray, torch.cat([levels[:, :1] - gray, levels[:, 2:] - gray], dim=1)

    def _of_planes(self, gray: Tensor, chroma: Tensor | None) -> Tensor:
        found = gray_features(gray).flatten(1)
        return found if chroma is None else torch.cat([found, color_features(chroma)], dim=1)


def gray_features(planes: Tensor) -> Tensor:
    """Return the features of each of several gray planes of one size.

    Args:
        planes: float32 [B, P, H, W], levels from 0 to 1; a plane a sensor, since few large
            operators are quicker than many small ones.

    Returns:
        float32 [B, P, F].
    """
    found = [_pooled(planes, _CELLS).flatten(2), *_details(planes), *_histograms(planes)]
    return torch.cat(found, dim=2)


def color_features(chroma: Tensor) -> Tensor:
    """Return float32 [B, C], the features of two color differences [B, 2, H, W]."""
    detail = _log_mean(_changes(chroma), 1)
    return torch.cat([_pooled(chroma, 2).flatten(1), detail.flatten(1)], dim=1)


def _details(planes: Tensor) -> list[Tensor]:
    """Return the logarithm of mean gradients and curvature, by place, at falling sizes."""
    found = []
    count, side = int(planes.shape[1]), min(map(int, planes.shape[2:]))
    for scale in range(_SCALES):
        if side >> scale < LEAST_SIDE:
            break
        if scale:
            planes = functional.avg_pool2d(planes, 2)
        detail = _log_mean(_changes(planes), _DETAIL_CELLS).flatten(2)
        # Noise shows in the smoothest cell, blur in the most detailed one.
        ends = [detail.amin(dim=2, keepdim=True), detail.amax(dim=2, keepdim=True)]
        by_change = torch.cat([detail, *ends], dim=2)  # [B, changes x planes, cells + 2]
        of_changes = by_change.reshape(-1, _CHANGES, count, int(by_change.shape[2]))
        found.append(of_changes.transpose(1, 2).flatten(2))
    return found


def _histograms(planes: Tensor) -> list[Tensor]:
    """Return the share of each plane, and of its middle, above each of several levels."""
    if min(map(int, planes.shape[2:])) >= 2 * LEAST_SIDE:
        planes = functional.avg_pool2d(planes, 2)  # a quarter of the time, and nothing is lost
    height, width = map(int, planes.shape[2:])  # plain numbers, so that a trace has them
    middle = planes[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4]
    steps = (torch.arange(_STEPS + 1.0) - 0.5)[:, None]
    return [
        (part.flatten(2)[:, :, None] * _STEPS - steps).clamp(0.0, 1.0).mean(dim=3)
        for part in (planes, middle)
    ]


def _changes(planes: Tensor) -> Tensor:
    """Return the magnitudes of both central differences and of the Laplacian, the rim left out.

    They follow each other in the second axis, all planes of the first change first.
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
