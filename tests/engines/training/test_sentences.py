"""Sentences of the methods that train against texts, and files of others."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from fasdk.capture import Modality
from fasdk.errors import TrainingError
from fasdk_engines.models.base import Family
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import SentenceFile, get_method, method_names, require_sentences_read
from fasdk_engines.training.alignment import ATTACK_TEXTS, LIVE_TEXTS, Alignment
from fasdk_engines.training.domain_prompts import PROMPTS, DomainPrompts, templates
from fasdk_engines.training.text import TextEncoder

from support.training_batch import DOMAINS, task_of

BOTH = {"live": ["a face", "skin is seen"], "attack": ["a mask"]}
BY_MODALITY = {"rgb": BOTH, "depth": BOTH, "ir": {"live": ["warm skin"], "attack": ["ink", "foil"]}}


def written(tmp_path, content, name="texts.toml") -> SentenceFile:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return SentenceFile.load(path)


def test_mmda_has_as_many_sentences_as_published_and_none_twice():
    assert (len(ATTACK_TEXTS), len(LIVE_TEXTS)) == (24, 23)
    assert len({*ATTACK_TEXTS, *LIVE_TEXTS}) == 47


def test_toml_and_json_are_told_apart_by_content(tmp_path):
    toml = written(tmp_path, 'live = ["a face", "skin is seen"]\nattack = ["a mask"]\n')
    assert toml.common == written(tmp_path, BOTH, "texts.json").common
    assert toml.of(Modality.IR) == toml.shared("mmda") == toml.common
    own = written(tmp_path, BY_MODALITY)
    assert own.of(Modality.IR).attack == ("ink", "foil")
    assert own.of(Modality.RGB).live == ("a face", "skin is seen")
    assert own.digest != toml.digest
    with pytest.raises(TrainingError, match="give live and attack without tables"):
        own.shared("mmda")


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        ({"live": ["a face"]}, r"attack is missing: add a list of sentences, attack = \[...\]"),
        ({"attack": ["a mask"]}, "live is missing"),
        ({}, "live is missing"),
        (BOTH | {"attack": []}, "attack is no list of sentences: give at least one"),
        (BOTH | {"attack": "a mask"}, "attack is no list of sentences"),
        (BOTH | {"live": ["a face", " "]}, "live, entry 2 is no sentence: ' '"),
        (BOTH | {"live": [7]}, "live, entry 1 is no sentence: 7"),
        (BOTH | {"live": ["a face at X"]}, "entry 1 holds the word X"),
        (BOTH | {"spoof": ["a mask"]}, "unknown field 'spoof': give live and attack"),
        (BOTH | {"ir": BOTH}, "live beside the table ir: give either"),
        (BY_MODALITY | {"ir": {"live": ["skin"]}}, r"ir\.attack is missing"),
        (BY_MODALITY | {"ir": ["skin"]}, "ir is no table"),
        (BY_MODALITY | {"ir": {"spoof": ["ink"]}}, r"unknown field ir\.'spoof'"),
        ("live = [", "neither TOML nor JSON"),
        ("{", "neither TOML nor JSON"),
        ("{" + '"live":[' * 100_000, "neither TOML nor JSON"),
    ],
)
def test_a_file_that_is_wrong_names_its_field_in_one_line(content, fix, tmp_path):
    with pytest.raises(TrainingError, match=fix) as refused:
        written(tmp_path, content)
    assert "\n" not in str(refused.value)
    assert str(refused.value).count("texts.toml") == 1


def test_a_file_that_is_not_there_or_lacks_a_modality_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"cannot read .*none\.toml: No such file"):
        SentenceFile.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes("live = ['é']".encode("latin-1"))
    with pytest.raises(TrainingError, match="neither TOML nor JSON"):
        SentenceFile.load(tmp_path / "latin.toml")
    two = written(tmp_path, {"rgb": BOTH, "depth": BOTH})
    with pytest.raises(TrainingError, match=r"ir has no sentences: add ir\.live and ir\.attack"):
        templates(Modality.IR, two)


def configured(name: str, sentences: SentenceFile | None):
    family: Family = get_family(name)
    config = family.configs["tiny"]
    torch.manual_seed(0)
    task = task_of(family, config, family.build(config))
    return replace(task, sentences=sentences)


def test_a_methods_texts_are_those_of_the_file(tmp_path):
    prompts = DomainPrompts(configured("mmdgpp", written(tmp_path, BY_MODALITY)))
    # a, face, skin, is, seen, mask, warm, ink, foil, recorded, at, place, with and X
    assert prompts.encoder.tokenizer.size == 14 + 2
    given = [torch.randn(1 + len(DOMAINS), PROMPTS, prompts.encoder.width) for _ in range(3)]
    assert prompts.class_features(given).shape == (3, 1 + len(DOMAINS), 32)
    aligned = Alignment(configured("mmda", written(tmp_path, BOTH)))
    assert [len(tokens.ids) for tokens in aligned.texts] == [1, 2]
    assert [len(tokens.ids) for tokens in Alignment(configured("mmda", None)).texts] == [24, 23]


def test_a_method_without_texts_refuses_a_file(tmp_path):
    found = written(tmp_path, BOTH)
    reading = {
        name
        for name in method_names()
        if get_method(
            name, get_family({"plain": "mmdg", "mmdg-ssp": "mmdg"}.get(name, name))
        ).reads_sentences
    }
    assert reading == {"mmdgpp", "mmda"}
    require_sentences_read(Alignment, found)
    with pytest.raises(
        TrainingError, match=r"'plain' reads no sentences: leave out --texts .*toml"
    ):
        require_sentences_read(get_method("plain", get_family("mmda")), found)


def test_a_sentence_that_is_longer_than_the_tower_reads_is_refused():
    encoder = TextEncoder(["a b c"], 8, {}, None)
    assert encoder.tokens(["c b"]).ids.shape == (1, 4)
    with pytest.raises(TrainingError, match="'a b c a' has 6 tokens, this text tower reads 5"):
        encoder.tokens(["a", "a b c a"])
