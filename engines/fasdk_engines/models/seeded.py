"""Seeded weights and inputs, reproducible bit for bit from names and shapes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_INPUT_ORDER = ("rgb", "depth", "ir")
_CELLS = 8  # coarse cells along each side of a seeded image
# MMDA's router keeps its thresholds (training, evaluation) as buffers beside the weights.
_ROUTER_BUFFERS = ("threshold_train", "threshold_eval")
_ROUTER_THRESHOLDS = (1e-9, 0.2)
_GAINS = (".weight", ".gamma", ".mult_bias")


def seeded_tensor(name: str, shape: Sequence[int], seed: int) -> NDArray[Any]:
    """Return one parameter or buffer drawn from a generator seeded with its own name.

    Matrices keep the variance of what they multiply, gains lie around 1 and biases around 0, so
    that a deep network's activations neither vanish nor overflow.

    Args:
        name: State-dict key.
        shape: Shape of the tensor.
        seed: Seed shared by all tensors of one state dict.

    Returns:
        float32 of that shape; int64 zeros for the batch counters of normalization layers; the
        float32 pair of thresholds for the buffers of MMDA's router.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith(_ROUTER_BUFFERS):
        return np.array(_ROUTER_THRESHOLDS, np.float32)
    normal = np.random.default_rng([zlib.crc32(name.encode()), seed]).standard_normal(shape)
    if name.endswith("running_mean"):
        values = 0.1 * normal
    elif name.endswith("running_var"):
        values = 1.0 + 0.1 * np.abs(normal)
    elif len(shape) > 1:
        values = normal / np.sqrt(np.prod(shape[1:]))
    elif name.endswith(_GAINS):
        values = 1.0 + 0.1 * normal
    else:
        values = 0.02 * normal
    return np.asarray(values, np.float32)


def seeded_state_dict(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, NDArray[Any]]:
    """Return a whole state dict from its keys and shapes; see `seeded_tensor`."""
    return {name: seeded_tensor(name, shape, seed) for name, shape in shapes.items()}


def seeded_inputs(batch: int, size: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return smooth random images with fine noise, as a model's graph takes them.

    Args:
        batch: Number of captures.
        size: Side of an image in pixels, a multiple of 8.
        seed: Seed of all images.

    Returns:
        float32 [batch, 3, size, size] in [-1, 1] for "rgb", "depth" and "ir".
    """
    images = {}
    for index, modality in enumerate(_INPUT_ORDER):
        random = np.random.default_rng([seed, index])
        coarse = random.standard_normal((batch, 3, _CELLS, _CELLS))
        smooth = np.kron(coarse, np.ones((size // _CELLS, size // _CELLS)))
        noise = 0.25 * random.standard_normal((batch, 3, size, size))
        images[modality] = np.tanh(smooth + noise).astype(np.float32)
    return images
