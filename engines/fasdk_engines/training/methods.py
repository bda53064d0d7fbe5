"""Registry of training methods."""

from __future__ import annotations

from importlib import import_module

from fasdk.errors import TrainingError
from fasdk_engines.models.base import Family
from fasdk_engines.training.method import Method
from fasdk_engines.training.sentences import SentenceFile

PUBLISHED = "published"  # name for the method a family was published with

# Imported when asked for.
_METHODS = {
    "plain": ("method", "Method"),
    "mmdg-ssp": ("prototypes", "Prototypes"),
    "mmdg": ("prototypes", "PrototypesRebalanced"),
    "mmdgpp": ("domain_prompts", "DomainPrompts"),
    "mmda": ("alignment", "Alignment"),
    "bigmoe": ("modality_dropout", "ModalityDropout"),
}


def method_names() -> tuple[str, ...]:
    """Return the methods' names."""
    return tuple(_METHODS)


def get_method(name: str, family: Family) -> type[Method]:
    """Return a training method.

    Args:
        name: Name of the method, one of `method_names()`, or "published" for the one the family was
            published with.
        family: Model it is to train.

    Raises:
        TrainingError: There is no such method, or it does not fit the family.
    """
    if name == PUBLISHED:
        name = family.name
        if name not in _METHODS:
            raise TrainingError(
                f"{family.name!r} has no published training method here: choose --method plain"
            )
    if name not in _METHODS:
        raise TrainingError(
            f"unknown training method {name!r}: choose {PUBLISHED} or one of {', '.join(_METHODS)}"
        )
    module, attribute = _METHODS[name]
    method: type[Method] = getattr(import_module(f"fasdk_engines.training.{module}"), attribute)
    if method.families and family.name not in method.families:
        raise TrainingError(
            f"method {name!r} trains {', '.join(method.families)}, not {family.name!r}: "
            f"choose {PUBLISHED} or plain"
        )
    return method


def require_sentences_read(method: type[Method], sentences: SentenceFile | None) -> None:
    """Check that a method trains against sentences, where some are given.

    Raises:
        TrainingError: It reads none.
    """
    if sentences is not None and not method.reads_sentences:
        raise TrainingError(
            f"method {method.name!r} reads no sentences: leave out --texts {sentences.path}"
        )
