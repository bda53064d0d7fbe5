"""Conversion of OpenAI's CLIP archives (TorchScript) to safetensors, without running their code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fasdk.atomic import atomic_write
from fasdk.errors import CheckpointError
from fasdk_engines.checkpoints.tensors import prefixes
from fasdk_engines.models.checkpoint import load_checkpoint
from fasdk_engines.training.initial import CLIP_MARK, CLIP_TEXT

# Numbers that OpenAI's archives hold beside the weights; the shapes of the weights say the same.
_SETTINGS = frozenset({"input_resolution", "context_length", "vocab_size"})
_BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.")
_NEEDED = (
    "visual.class_embedding",
    "visual.positional_embedding",
    "visual.proj",
    "visual.ln_pre.weight",
    "visual.ln_post.weight",
    "token_embedding.weight",
    "positional_embedding",
    "ln_final.weight",
    "text_projection",
)


@dataclass(frozen=True)
class ConvertedClip:
    """Result of a conversion.

    Attributes:
        out: File that was written.
        source_sha256: SHA-256 of the archive, in hexadecimal.
        tensors: Number of tensors.
        parameters: Number of weights in them.
        width: Channels of the visual tower.
        blocks: Blocks of the visual tower.
        patch_px: Side of a patch, in pixels.
        image_px: Side of the input, in pixels.
        dropped: Names of what was left out: no weights of CLIP.
    """

    out: Path
    source_sha256: str
    tensors: int
    parameters: int
    width: int
    blocks: int
    patch_px: int
    image_px: int
    dropped: tuple[str, ...]


def convert_clip(source: Path, out: Path) -> ConvertedClip:
    """Write the weights of a CLIP archive as safetensors, for `train --init-from`.

    Names and types of the tensors stay as OpenAI has them.

    Args:
        source: OpenAI's archive, such as ViT-B-16.pt, or a state dict of such a model.
        out: File to write, or to replace.

    Raises:
        CheckpointError: The archive is truncated or of another kind, or holds no CLIP with a vision
            transformer and its text tower.
        FasdkError: The file cannot be written.
    """
    import safetensors.torch

    checkpoint = load_checkpoint(source)
    found = list(prefixes(checkpoint.tensors, {CLIP_MARK}))
    if len(found) != 1:
        raise CheckpointError(
            f"{source} holds {len(found) or 'no'} visual towers of OpenAI's CLIP, expected one: "
            "give the file that OpenAI publishes, such as ViT-B-16.pt"
        )
    named = {
        name[len(found[0]) :]: value
        for name, value in checkpoint.tensors.items()
        if name.startswith(found[0])
    }
    kept = {n: v for n, v in named.items() if n.startswith("visual.") or CLIP_TEXT.fullmatch(n)}
    absent = [name for name in _NEEDED if name not in kept]
    if absent:
        kind = "CLIP with a ResNet" if "visual.layer1.0.conv1.weight" in kept else "part of a CLIP"
        raise CheckpointError(
            f"{source} holds a {kind}, without {absent[0]}: give ViT-B-16.pt, whose weights the "
            "models start from"
        )
    tensors = {name: value.detach().contiguous().clone() for name, value in kept.items()}
    data = safetensors.torch.save(tensors, {"source_sha256": checkpoint.sha256})
    with atomic_write(out) as file:
        file.write(data)
    return _described(out, checkpoint.sha256, tensors, set(named) - set(kept) - _SETTINGS)


def _described(
    out: Path, digest: str, tensors: dict[str, Tensor], dropped: set[str]
) -> ConvertedClip:
    patches = tensors[CLIP_MARK]
    places = len(tensors["visual.positional_embedding"]) - 1
    return ConvertedClip(
        out=out,
        source_sha256=digest,
        tensors=len(tensors),
        parameters=sum(value.numel() for value in tensors.values()),
        width=patches.shape[0],
        blocks=len({match[1] for name in tensors if (match := _BLOCK.match(name))}),
        patch_px=patches.shape[-1],
        image_px=round(places**0.5) * patches.shape[-1],
        dropped=tuple(sorted(dropped)),
    )
