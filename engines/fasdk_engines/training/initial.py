"""Initialization from pretrained weights of torchvision's ViT-B/16 or OpenAI's CLIP ViT-B/16.

Position embeddings are handled as each paper does: MMDG and BIG-MoE begin with their own, MMDG++
copies CLIP's for each modality, MMDA keeps CLIP's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from fasdk.errors import CheckpointError, TrainingError
from fasdk_engines.checkpoints.tensors import prefixes
from fasdk_engines.models.base import Family, PublishedModule
from fasdk_engines.models.checkpoint import Checkpoint, load_checkpoint
from fasdk_engines.models.layers import TORCHVISION_OLDER_NAMES

_log = logging.getLogger(__name__)

Targets = Callable[[str, int], tuple[str, ...]]  # of a name, in a source of so many blocks


@dataclass(frozen=True)
class InitialWeights:
    """Pretrained weights to start from.

    Attributes:
        checkpoint: Weights of a ViT or of CLIP.
        vocabulary: OpenAI's `bpe_simple_vocab_16e6.txt.gz`, which CLIP's text tower needs.
    """

    checkpoint: Checkpoint
    vocabulary: Path | None = None

    @classmethod
    def load(cls, path: Path | str, vocabulary: Path | str | None = None) -> InitialWeights:
        """Read pretrained weights; see `load_checkpoint`."""
        return cls(load_checkpoint(path), None if vocabulary is None else Path(vocabulary))

    @property
    def digest(self) -> str:
        """SHA-256 of the file they were read from."""
        return self.checkpoint.sha256


@dataclass(frozen=True)
class Initialized:
    """Result of an initialization from pretrained weights.

    Attributes:
        loaded: Names of the model's tensors that were set.
        unused: Names of pretrained tensors that no tensor of the model matches.
        fresh: Names of the model's tensors that keep their random values.
        text: CLIP's text tower under OpenAI's names; empty where there is none.
    """

    loaded: tuple[str, ...]
    unused: tuple[str, ...]
    fresh: tuple[str, ...]
    text: Mapping[str, Tensor] = field(default_factory=dict, repr=False)


def initialize(module: PublishedModule, family: Family, initial: InitialWeights) -> Initialized:
    """Set a fresh module's weights from pretrained ones; what is unmatched is reported and logged.

    Raises:
        TrainingError: The family has no pretrained start, or CLIP's text tower lacks its
            vocabulary.
        CheckpointError: The file holds other weights than the family starts from, lacks some of
            them, or they do not fit the module's settings.
    """
    path = initial.checkpoint.path
    if family.name not in _STARTS:
        raise TrainingError(
            f"{family.name!r} has no pretrained weights to start from: leave out --init-from"
        )
    source, targets, needed = _STARTS[family.name]
    found, tensors = _pretrained(initial.checkpoint)
    if found != source:
        raise CheckpointError(
            f"{path} holds {found or 'neither torchvision nor CLIP weights'}: "
            f"{family.name} starts from {source}"
        )
    own = module.state_dict()
    loaded: dict[str, Tensor] = {}
    unused = []
    blocks = len({match[1] for name in tensors if (match := _BLOCK.match(name))})
    for name, value in tensors.items():
        matched = [target for target in targets(name, blocks) if target in own]
        for target in matched:
            if value.shape != own[target].shape:
                raise CheckpointError(
                    f"{path}: {name} is {list(value.shape)}, but {target} is "
                    f"{list(own[target].shape)}: give the settings these weights are of"
                )
            loaded[target] = value.to(own[target].dtype)
        if not matched:
            unused.append(name)
    absent = [n for n in own if re.fullmatch(needed, n) and n not in loaded]
    if absent:
        raise CheckpointError(
            f"{path} lacks what {len(absent)} of this {family.name}'s pretrained weights are set "
            f"from, first {absent[0]}: give whole {source} weights and their settings"
        )
    module.load_state_dict(loaded, strict=False)
    text = {}
    if source == _CLIP:
        text = {n: v.float() for n, v in tensors.items() if CLIP_TEXT.fullmatch(n)}
        unused = [name for name in unused if name not in text]
    fresh = tuple(name for name in own if name not in loaded)
    _log.info("%s: %d tensors set, unused: %s", path, len(loaded), ", ".join(unused) or "none")
    return Initialized(tuple(loaded), tuple(unused), fresh, text)


def _pretrained(checkpoint: Checkpoint) -> tuple[str | None, dict[str, Tensor]]:
    """Return whose weights a checkpoint holds, and its tensors without the prefix of their names.

    Raises:
        CheckpointError: It holds such weights several times.
    """
    for source, mark in _MARKS.items():
        found = list(prefixes(checkpoint.tensors, {mark}))
        if len(found) > 1:
            raise CheckpointError(
                f"{checkpoint.path} holds {source} weights {len(found)} times, under "
                f"{', '.join(repr(prefix) for prefix in found)}: give a file with one of them"
            )
        for prefix in found:
            names = (name for name in checkpoint.tensors if name.startswith(prefix))
            return source, {name[len(prefix) :]: checkpoint.tensors[name] for name in names}
    return None, {}


def _mmdg(name: str, blocks: int) -> tuple[str, ...]:
    name = _modern(name)
    if name == "class_token" or name.startswith("conv_proj."):
        head, dot, tail = name.partition(".")
        return tuple(f"{head}{index}{dot}{tail}" for index in (1, 2, 3))
    if name.startswith("encoder.ln."):
        return (name.replace("encoder.ln", f"ViT_Encoder.{blocks + 1}"),)
    return _encoder(name, first=1)


def _bigmoe(name: str, _: int) -> tuple[str, ...]:
    name = _modern(name)
    # The class token starts at zero and the final norm is not used.
    return (name,) if name.startswith("conv_proj.") else _encoder(name, first=0)


def _encoder(name: str, first: int) -> tuple[str, ...]:
    block = _BLOCK.match(name)
    return (f"ViT_Encoder.{int(block[1]) + first}.{name[block.end() :]}",) if block else ()


def _modern(name: str) -> str:
    """Return torchvision's present spelling of a name."""
    for pattern, replacement in TORCHVISION_OLDER_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _mmdgpp(name: str, blocks: int) -> tuple[str, ...]:
    copies = {
        "visual.class_embedding": "class_token_",
        "visual.positional_embedding": "pos_",
        "visual.proj": "visual_proj_",
    }
    if name in copies:
        return (f"model.{name}", *(f"{copies[name]}{index}" for index in (1, 2, 3)))
    return _mmda(name, blocks)


def _mmda(name: str, _: int) -> tuple[str, ...]:
    return (f"model.{name}",) if name.startswith("visual.") else ()


_BLOCK = re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.")
_TORCHVISION, _CLIP = "torchvision's ViT", "OpenAI's CLIP"
CLIP_MARK = "visual.conv1.weight"
"""Name of a tensor that every CLIP of OpenAI has."""

_MARKS = {_TORCHVISION: "encoder.ln.weight", _CLIP: CLIP_MARK}
CLIP_TEXT = re.compile(
    r"(?:transformer|token_embedding|ln_final)\..*|positional_embedding|text_projection|logit_scale"
)
"""Names of the tensors of CLIP's text tower."""

# Family: what it starts from, where each tensor goes, and which of its own must have been set.
_STARTS: dict[str, tuple[str, Targets, str]] = {
    "mmdg": (_TORCHVISION, _mmdg, r"(?:conv_proj|class_token|ViT_Encoder).*"),
    "bigmoe": (_TORCHVISION, _bigmoe, r"(?:conv_proj|ViT_Encoder).*"),
    "mmdgpp": (_CLIP, _mmdgpp, r"model\..*|(?:class_token|pos|visual_proj)_.*"),
    "mmda": (_CLIP, _mmda, r"model\..*"),
}
