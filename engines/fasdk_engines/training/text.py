"""Tokenizers and text towers for methods that train against texts.

There are two kinds of tower. With given weights it is OpenAI's, and needs their byte-pair merges;
the other is small, knows only the words of the method's texts and is trained too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from fasdk.bounded_file import Compression, FileKind, read_bounded
from fasdk.errors import TrainingError
from fasdk_engines.models.clip import ClipText

PLACEHOLDER = "X"  # word whose token embedding is replaced by a learned prompt vector
_MERGES = 49152 - 256 - 2  # of the published file, which holds more lines
_SMALL_WIDTH, _SMALL_DEPTH, _SMALL_HEADS = 64, 2, 4


class Tokenizer(Protocol):
    """Converter of texts to token ids."""

    @property
    def size(self) -> int:
        """Number of ids."""
        ...

    @property
    def start(self) -> int:
        """Id that begins a text."""
        ...

    @property
    def end(self) -> int:
        """Id that ends a text."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without start and end."""
        ...


class WordTokenizer:
    """Tokenizer with one id per word of a fixed vocabulary.

    Args:
        texts: Texts whose words make the vocabulary; the same words give the same ids.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        words = sorted({word for text in texts for word in text.lower().split()})
        self._ids = {word: index for index, word in enumerate(words, start=2)}

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self._ids) + 2

    @property
    def start(self) -> int:
        """Id that begins a text."""
        return 0

    @property
    def end(self) -> int:
        """Id that ends a text."""
        return 1

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without start and end.

        Raises:
            TrainingError: A word is not of the vocabulary.
        """
        words = text.lower().split()
        unknown = [word for word in words if word not in self._ids]
        if unknown:
            raise TrainingError(f"the word {unknown[0]!r} is not in the small vocabulary")
        return [self._ids[word] for word in words]


class BytePairTokenizer:
    """OpenAI CLIP's byte-pair encoding, for English texts in ASCII.

    Ids in order: the 256 bytes, the 256 bytes as ends of words, one id a merge, start, end.

    Args:
        path: `bpe_simple_vocab_16e6.txt.gz`: a first line of comment, then one merge a line, of
            which the first 48,894 count.

    Raises:
        TrainingError: The file is missing or is no list of merges.
    """

    def __init__(self, path: Path) -> None:
        try:
            packed = read_bounded(path, FileKind.LIST)
            unpacked = Compression.GZIP.unpack(packed, FileKind.LIST.max_bytes)
            lines = unpacked.decode("utf-8").split("\n")
        except FileNotFoundError:
            raise TrainingError(f"{path}: no such vocabulary") from None
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{path} is not CLIP's bpe_simple_vocab_16e6.txt.gz: {error}"
            ) from error
        merges = [tuple(line.split()) for line in lines[1 : _MERGES + 1] if line.strip()]
        wrong = [merge for merge in merges if len(merge) != 2]
        if wrong or not merges:
            raise TrainingError(
                f"{path} is no list of merges, two parts a line: give CLIP's "
                "bpe_simple_vocab_16e6.txt.gz"
            )
        self._rank = {(merge[0], merge[1]): rank for rank, merge in enumerate(merges)}
        self._letters = _byte_letters()
        letters = list(self._letters.values())
        pieces = [*letters, *(letter + "</w>" for letter in letters)]
        pieces += ["".join(merge) for merge in merges]
        self._ids = {piece: index for index, piece in enumerate(pieces)}
        self._pieces = len(pieces)

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._pieces + 2

    @property
    def start(self) -> int:
        """Id that begins a text."""
        return self._pieces

    @property
    def end(self) -> int:
        """Id that ends a text."""
        return self._pieces + 1

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without start and end.

        Raises:
            TrainingError: The text is not ASCII, whose words are split by other rules.
        """
        if not text.isascii():
            raise TrainingError(f"{text!r} is not ASCII, the only text this tokenizer splits")
        words = re.findall(r"'(?:s|t|re|ve|m|ll|d)|[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())
        return [self._ids[piece] for word in words for piece in self._split(word)]

    def _split(self, word: str) -> list[str]:
        pieces = [self._letters[byte] for byte in word.encode()]
        pieces[-1] += "</w>"
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            best = min(pairs, key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            merged: list[str] = []
            while pieces:
                if tuple(pieces[:2]) == best:
                    merged.append("".join(best))
                    pieces = pieces[2:]
                else:
                    merged.append(pieces.pop(0))
            pieces = merged
        return pieces


def _byte_letters() -> dict[int, str]:
    """Return a printable letter for each byte: its own, or one from 256 on; in the ids' order."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in own}
    others = [byte for byte in range(256) if byte not in letters]
    return letters | {byte: chr(256 + index) for index, byte in enumerate(others)}


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids.

    Attributes:
        ids: int64 [T, L], padded with the end's id.
        last: int64 [T], position of each text's end.
        prompt: int64 [T, P], positions of the placeholders; P is 0 without any.
    """

    ids: Tensor
    last: Tensor
    prompt: Tensor


def tokenize(texts: Sequence[str], tokenizer: Tokenizer) -> Tokens:
    """Return texts as tokens.

    A placeholder's position is counted in tokens, not in words: the published code counts words,
    and since a word may be several tokens, its prompts land early.

    Args:
        texts: Texts with the same number of placeholders each.
        tokenizer: Tokenizer of their words.
    """
    rows: list[list[int]] = []
    places: list[list[int]] = []
    for text in texts:
        ids = [tokenizer.start]
        found = []
        for part in re.split(rf"\b({PLACEHOLDER})\b", text):
            encoded = tokenizer.encode(part)
            if part == PLACEHOLDER:
                found.append(len(ids))
                encoded = encoded[:1]
            ids += encoded
        rows.append([*ids, tokenizer.end])
        places.append(found)
    longest = max(map(len, rows))
    return Tokens(
        torch.tensor([row + [tokenizer.end] * (longest - len(row)) for row in rows]),
        torch.tensor([len(row) - 1 for row in rows]),
        torch.tensor(places, dtype=torch.int64).reshape(len(rows), -1),
    )


class TextEncoder(nn.Module):
    """A text tower with its tokenizer.

    Args:
        texts: Texts to be encoded, whose words make the small tower's vocabulary.
        feature_width: Width of an image's feature and of a text's.
        weights: Weights of a text tower under OpenAI's names; empty makes a small one.
        vocabulary: File of OpenAI's byte-pair merges, for those weights.

    Raises:
        TrainingError: Weights without vocabulary or the other way round, or they do not fit.
    """

    def __init__(
        self,
        texts: Sequence[str],
        feature_width: int,
        weights: Mapping[str, Tensor],
        vocabulary: Path | None,
    ) -> None:
        super().__init__()
        if weights and vocabulary is None:
            raise TrainingError(
                "CLIP's text tower reads its own byte-pair tokens: give "
                "--clip-vocabulary bpe_simple_vocab_16e6.txt.gz"
            )
        if vocabulary is not None and not weights:
            raise TrainingError(
                "a vocabulary without CLIP's text tower: give --init-from with CLIP weights"
            )
        tokenizer: Tokenizer
        if vocabulary is None:
            tokenizer = WordTokenizer(texts)
            context = tokenize(texts, tokenizer).ids.shape[1]
            self.tower = ClipText(
                tokenizer.size, context, _SMALL_WIDTH, _SMALL_DEPTH, _SMALL_HEADS, feature_width
            )
        else:
            tokenizer = BytePairTokenizer(vocabulary)
            self.tower = _tower_of(weights, tokenizer, feature_width)
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """Width of a token's embedding."""
        return self.tower.token_embedding.embedding_dim

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Return texts as tokens; see `tokenize`.

        Raises:
            TrainingError: A text is longer than the tower reads.
        """
        tokens = tokenize(texts, self.tokenizer)
        longest = len(self.tower.positional_embedding)
        if tokens.ids.shape[1] > longest:
            text = texts[int(tokens.last.argmax())]
            raise TrainingError(
                f"the sentence {text!r} has {tokens.ids.shape[1]} tokens, this text tower reads "
                f"{longest}: shorten it"
            )
        return tokens

    def forward(self, tokens: Tokens, prompts: Tensor | None = None) -> Tensor:
        """Return the feature of each text [T, feature_width], not normalized.

        Args:
            tokens: Token ids of T texts.
            prompts: [T, P, width], put in the placeholders' positions.
        """
        device = self.tower.token_embedding.weight.device
        embedded = self.tower.token_embedding(tokens.ids.to(device))
        if prompts is not None:
            places = tokens.prompt.to(device)[:, :, None].expand_as(prompts)
            embedded = embedded.scatter(1, places, prompts.to(embedded.dtype))
        feature: Tensor = self.tower(embedded, tokens.last.to(device))
        return feature


def _tower_of(weights: Mapping[str, Tensor], tokenizer: Tokenizer, feature_width: int) -> ClipText:
    try:
        vocabulary, width = weights["token_embedding.weight"].shape
        context = len(weights["positional_embedding"])
        found_width = weights["text_projection"].shape[1]
        depth = len({name.split(".")[2] for name in weights if name.startswith("transformer.")})
    except (KeyError, IndexError, ValueError):
        raise TrainingError("the weights hold no whole CLIP text tower") from None
    if vocabulary != tokenizer.size:
        raise TrainingError(
            f"the text tower knows {vocabulary} tokens, the vocabulary has {tokenizer.size}: "
            "give the vocabulary of these weights"
        )
    if found_width != feature_width:
        raise TrainingError(
            f"the text tower's features are {found_width} wide, the model's {feature_width}"
        )
    # OpenAI's towers have heads of 64 each.
    tower = ClipText(vocabulary, context, width, depth, max(1, width // 64), feature_width)
    found = tower.load_state_dict(dict(weights), strict=False)
    if found.missing_keys:
        raise TrainingError(f"the weights lack the text tower's {found.missing_keys[0]}")
    return tower
