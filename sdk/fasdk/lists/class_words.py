"""Words by which lists, labels and column names tell bona fide presentations from attacks."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache

_LIVE = frozenset(
    {"live", "liveness", "alive", "living", "real", "genuine", "bonafide", "authentic", "human"}
)
_ATTACK = frozenset(
    {"attack", "attacks", "spoof", "spoofs", "spoofed", "spoofing", "fake", "impostor", "imposter"}
    | {"nonlive", "pa", "forged", "forgery"}
)
_NEGATIONS = frozenset({"not", "non", "no"})
_FILLERS = frozenset({"presentation", "face", "image", "sample", "class", "is"})
# As Idiap's lists write the bona fide class; in a longer name it is a person.
_LIVE_ALONE = "client"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: `isLive`, `is_live` and `is live` are alike."""
    words = [word.lower() for word in _WORD.findall(text)]
    joined: list[str] = []
    for word in words:
        if word == "fide" and joined[-1:] == ["bona"]:
            joined[-1] = "bonafide"
        else:
            joined.append(word)
    return tuple(joined)


@lru_cache(maxsize=4096)
def says_bona_fide(text: str) -> bool | None:
    """Return whether a name speaks of bona fide presentations (True) or of attacks (False).

    `not live` is an attack. None where it says neither or both, as `live_or_spoof` does, or
    speaks of a detector, as `anti-spoofing` does.
    """
    words = split_words(text)
    live, attack = bool(_LIVE.intersection(words)), bool(_ATTACK.intersection(words))
    if live == attack or "anti" in words:
        return None
    return live is not bool(_NEGATIONS.intersection(words))


def means_bona_fide(text: str) -> bool | None:
    """Return what a name that is nothing but its class means; None for any other."""
    if text.strip().lower() == _LIVE_ALONE:
        return True
    return says_bona_fide(text) if names_only_its_class(text) else None


def names_only_its_class(text: str) -> bool:
    """Return whether a name holds class words alone, so that it names no kind of attack."""
    return set(split_words(text)) <= _LIVE | _ATTACK | _NEGATIONS | _FILLERS


def near_class_word(text: str) -> str | None:
    """Return the class word that a name is probably a misspelling of; None for any other name."""
    near = difflib.get_close_matches(text.lower(), sorted(_LIVE | _ATTACK), n=1, cutoff=0.75)
    return near[0] if near and near[0] != text.lower() else None
