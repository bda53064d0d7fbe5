"""Tokenizers and text towers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from fasdk.capture import Modality
from fasdk.errors import TrainingError
from fasdk_engines.models.clip import ClipText
from fasdk_engines.training.domain_prompts import PROMPTS, templates
from fasdk_engines.training.text import (
    BytePairTokenizer,
    TextEncoder,
    WordTokenizer,
    tokenize,
)

# Byte ids: printable ASCII from "!" counts from 0; 256 more stand for ends of words.
MERGES = ("f a", "c e</w>", "fa ce</w>", "m a", "s k</w>")
FA, CE, FACE, MA, SK = (512 + rank for rank in range(len(MERGES)))


def letter(character: str, *, ends: bool = False) -> int:
    return ord(character) - ord("!") + (256 if ends else 0)


@pytest.fixture
def vocabulary(tmp_path) -> Path:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(gzip.compress("\n".join(["# a comment", *MERGES, ""]).encode()))
    return path


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("face", [FACE]),
        ("FACE", [FACE]),
        ("fa", [letter("f"), letter("a", ends=True)]),  # "f a" is not "f a</w>"
        ("mask", [MA, SK]),
        ("faces", [FA, letter("c"), letter("e"), letter("s", ends=True)]),
        ("a x7!", [letter(character, ends=True) for character in "ax7!"]),
        ("", []),
    ],
)
def test_byte_pairs_merge_the_best_ranked_first(text, ids, vocabulary):
    tokenizer = BytePairTokenizer(vocabulary)
    assert tokenizer.encode(text) == ids
    assert (tokenizer.start, tokenizer.end, tokenizer.size) == (517, 518, 519)


def test_a_vocabulary_that_is_none_is_refused(tmp_path, vocabulary):
    with pytest.raises(TrainingError, match="no such vocabulary"):
        BytePairTokenizer(tmp_path / "absent.gz")
    for content in (b"plain text", gzip.compress(b"#\nnot a merge\n"), gzip.compress(b"#\n")):
        (tmp_path / "wrong.gz").write_bytes(content)
        with pytest.raises(TrainingError, match=r"give CLIP's|is not CLIP's"):
            BytePairTokenizer(tmp_path / "wrong.gz")
    with pytest.raises(TrainingError, match="not ASCII"):
        BytePairTokenizer(vocabulary).encode("café")


def test_a_placeholder_is_found_by_token_and_not_by_word(vocabulary):
    tokenizer = BytePairTokenizer(vocabulary)
    tokens = tokenize(["mask face X X", "face X X", "box X X"], tokenizer)
    # start, ma, sk, face, X, X: by words the first X would be at 3.
    assert tokens.prompt.tolist() == [[4, 5], [2, 3], [4, 5]]
    assert tokens.last.tolist() == [6, 4, 6]
    x = letter("x", ends=True)
    assert torch.equal(tokens.ids.gather(1, tokens.prompt), torch.full((3, 2), x))
    assert tokens.ids[1].tolist() == [517, FACE, x, x, 518, 518, 518]


def test_words_have_the_same_ids_in_whatever_order_texts_come():
    first, second = WordTokenizer(["b a", "c"]), WordTokenizer(["C", "a", "B"])
    assert first.encode("a b c") == second.encode("a b c") == [2, 3, 4]
    assert first.size == 5
    with pytest.raises(TrainingError, match="'d' is not in"):
        first.encode("a d")


def test_every_template_ends_in_as_many_placeholders_as_there_are_prompts():
    for modality in Modality:
        said = templates(modality)
        texts = [*said.live, *said.attack]
        assert len(said.live) == len(said.attack) == 9  # as many as published
        assert len(set(texts)) == len(texts)
        tokens = tokenize(texts, WordTokenizer(texts))
        assert tokens.prompt.shape == (len(texts), PROMPTS)
        assert torch.equal(tokens.prompt[:, -1] + 1, tokens.last)


def test_a_prompt_steers_its_own_text_and_nothing_behind_the_end():
    torch.manual_seed(0)
    texts = ["a X X", "a b c X X"]
    encoder = TextEncoder(texts, 8, {}, None).eval()
    tokens = tokenize(texts, encoder.tokenizer)
    prompts = torch.randn(2, 2, encoder.width, requires_grad=True)
    features = encoder(tokens, prompts)
    assert features.shape == (2, 8)
    features[0].sum().backward()
    assert prompts.grad is not None
    assert float(prompts.grad[0].abs().min(dim=1).values.max()) > 0.0
    assert float(prompts.grad[1].abs().max()) == 0.0
    alone = encoder(tokenize(texts[:1], encoder.tokenizer), prompts[:1])
    torch.testing.assert_close(alone[0], features[0])  # the shorter text's padding does not count
    assert not torch.allclose(encoder(tokens, torch.randn(2, 2, encoder.width)), features)


def clip_text(vocabulary: int = 519, feature_width: int = 16) -> dict[str, torch.Tensor]:
    tower = ClipText(vocabulary, 77, 64, 2, 1, feature_width)
    return {name: value.clone() for name, value in tower.state_dict().items()}


def test_a_supplied_tower_is_read_with_its_own_merges(vocabulary):
    torch.manual_seed(0)
    weights = clip_text()
    encoder = TextEncoder(["face X"], 16, weights, vocabulary).eval()
    assert all(torch.equal(v, weights[n]) for n, v in encoder.tower.state_dict().items())
    tokens = tokenize(["face X"], encoder.tokenizer)
    prompts = torch.randn(1, 1, 64)
    embedded = weights["token_embedding.weight"][torch.tensor([[517, FACE, 0, 518]])]
    embedded[0, 2] = prompts[0, 0]
    expected = encoder.tower(embedded, torch.tensor([3]))
    torch.testing.assert_close(encoder(tokens, prompts), expected)


@pytest.mark.parametrize(
    ("weights", "with_vocabulary", "fix"),
    [
        ({}, True, "give --init-from"),
        ("clip", False, "give --clip-vocabulary"),
        ("other vocabulary", True, "knows 600 tokens, the vocabulary has 519"),
        ("other width", True, "features are 32 wide, the model's 16"),
        ("headless", True, "no whole CLIP text tower"),
        ("a block short", True, r"lack the text tower's transformer\.resblocks\.1"),
    ],
)
def test_a_tower_and_a_vocabulary_that_do_not_fit_are_refused(
    weights, with_vocabulary, fix, vocabulary
):
    made = {
        "clip": clip_text(),
        "other vocabulary": clip_text(600),
        "other width": clip_text(feature_width=32),
        "headless": {n: v for n, v in clip_text().items() if n != "text_projection"},
        "a block short": {n: v for n, v in clip_text().items() if "resblocks.1.mlp" not in n},
    }
    found = made[weights] if weights else {}
    with pytest.raises(TrainingError, match=fix):
        TextEncoder(["face"], 16, found, vocabulary if with_vocabulary else None)
