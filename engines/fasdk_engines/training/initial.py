"""Initialization from torchvision's ViT-B/16, OpenAI's CLIP ViT-B/16 or a checkpoint of the model.

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
from fasdk_engines.checkpoints.weight_sets import (
    NamedWeights,
    WeightSet,
    distinct,
    is_wrapped,
    naming_notes,
    requested_sets,
    spellings,
    the_one,
)
from fasdk_engines.models.base import Family, PublishedModule
from fasdk_engines.models.checkpoint import Checkpoint, load_checkpoint, load_into
from fasdk_engines.models.layers import TORCHVISION_OLDER_NAMES
from fasdk_engines.models.weight_choice import choose_weights

_log = logging.getLogger(__name__)

Targets = Callable[[str, int], tuple[str, ...]]  # of a name, in a source of so many blocks


@dataclass(frozen=True)
class InitialWeights:
    """Pretrained weights to start from.

    Attributes:
        checkpoint: Weights of a ViT, of CLIP, or of the model that is trained.
        vocabulary: OpenAI's `bpe_simple_vocab_16e6.txt.gz`, which CLIP's text tower needs.
    """

    checkpoint: Checkpoint
    vocabulary: Path | None = None

    @classmethod
    def load(
        cls, path: Path | str, vocabulary: Path | str | None = None, weights: str | None = None
    ) -> InitialWeights:
        """Read weights to start from; see `load_checkpoint`."""
        checkpoint = load_checkpoint(path, weights)
        return cls(checkpoint, None if vocabulary is None else Path(vocabulary))

    @property
    def digest(self) -> str:
        """What tells them from others: the file's SHA-256, and which of its weights."""
        chosen = self.checkpoint.weights
        return self.checkpoint.sha256 + (f":{chosen}" if chosen else "")


@dataclass(frozen=True)
class Initialized:
    """Result of an initialization from pretrained weights.

    Attributes:
        loaded: Names of the model's tensors that were set.
        unused: Names of pretrained tensors that no tensor of the model matches.
        fresh: Names of the model's tensors that keep their random values.
        text: CLIP's text tower under OpenAI's names; empty where there is none.
        notes: Which weights of the file were taken, a sentence each.
    """

    loaded: tuple[str, ...]
    unused: tuple[str, ...]
    fresh: tuple[str, ...]
    text: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def initialize(module: PublishedModule, family: Family, initial: InitialWeights) -> Initialized:
    """Set a fresh module's weights from others; what is unmatched is reported and logged.

    A checkpoint that fits the module sets all of it. Of another, the tower is taken that the
    paper starts from.

    Raises:
        TrainingError: The file holds another model's weights and the family has no pretrained
            start.
        CheckpointError: The file holds other weights than the family starts from, lacks some of
            them, they do not fit the module's settings, or several sets of them differ.
    """
    checkpoint = initial.checkpoint
    given = NamedWeights(
        checkpoint.path, checkpoint.tensors, checkpoint.owners, checkpoint.metadata
    )
    fit = choose_weights(given, module.state_dict(), family, checkpoint.weights).fit
    if fit.is_exact:
        notes = (*load_into(module, checkpoint, family), _WHOLE)
        _log.info("%s: %s", checkpoint.path, _WHOLE)
        inner = {name.removeprefix(_OWN_TOWER): v for name, v in fit.research_only.items()}
        # A tower without the vocabulary of its words is of no use.
        text = _text_of(inner) if initial.vocabulary else {}
        unused = tuple(n for n in fit.research_only if n.removeprefix(_OWN_TOWER) not in text)
        return Initialized(tuple(fit.tensors), unused, (), text, notes)
    return _from_pretrained(module, family, given, checkpoint.weights)


def _from_pretrained(
    module: PublishedModule, family: Family, given: NamedWeights, requested: str | None
) -> Initialized:
    path = given.path
    if family.name not in _STARTS:
        raise TrainingError(
            f"{path} does not fit {family.name!r}, which has no pretrained weights to start from: "
            "give a checkpoint of that model, or leave out --init-from"
        )
    wanted, targets, needed = _STARTS[family.name]
    source, pretrained, notes = _pretrained(given, requested)
    if pretrained is None or source != wanted:
        raise CheckpointError(
            f"{path} holds {source or 'neither torchvision nor CLIP weights'}: "
            f"{family.name} starts from {wanted}, or from a checkpoint that fits its settings"
        )
    tensors = pretrained.tensors
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
    text = _text_of(tensors) if source == _CLIP else {}
    unused = [name for name in unused if name not in text]
    fresh = tuple(name for name in own if name not in loaded)
    for note in notes:
        _log.info("%s: %s", path, note)
    _log.info("%s: %d tensors set, unused: %s", path, len(loaded), ", ".join(unused) or "none")
    return Initialized(tuple(loaded), tuple(unused), fresh, text, notes)


def _text_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of CLIP's text tower, by OpenAI's names."""
    return {n: v.float() for n, v in tensors.items() if CLIP_TEXT.fullmatch(n)}


def _pretrained(
    given: NamedWeights, requested: str | None
) -> tuple[str | None, WeightSet | None, tuple[str, ...]]:
    """Return whose weights a checkpoint holds, the weights, and how they were found.

    Raises:
        CheckpointError: It holds several that differ, or not those that are asked for.
    """
    for parts, named in spellings(given, ()):
        for source, mark in _MARKS.items():
            sets = _sets(named, mark)
            if not sets or any(is_wrapped(name) for each in sets for name in each.tensors):
                continue
            if requested is not None:
                sets = requested_sets([sets], requested, source, given.path)
            chosen = the_one(distinct(sets), source, given.path)
            return source, chosen, naming_notes(chosen, given, parts)
    return None, None, ()


def _sets(given: NamedWeights, mark: str) -> list[WeightSet]:
    """Return the tensors under every prefix that a marking name stands under."""
    found = list(prefixes(given.tensors, {mark}))
    sets = []
    for prefix in found:
        # At the top of a file, names of the weights in it begin with the same nothing.
        within = tuple(p for p in found if p != prefix and p.startswith(prefix))
        tensors = {
            name[len(prefix) :]: value
            for name, value in given.tensors.items()
            if name.startswith(prefix) and not (within and name.startswith(within))
        }
        sets.append(WeightSet(prefix, tensors))
    return sets


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


_WHOLE = "all initial values are this checkpoint's, in place of the published ones"
_OWN_TOWER = "model."  # what MMDG++ and MMDA put before the names of CLIP's tensors
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
