"""People are looked up by name in the records that travel with every bundle.

Whoever has a bundle reads evaluation.json and calibration.json. They hold pseudonyms by a key that
stays with the account that built them, so a list of likely names finds nobody; that account still
learns whether a person was seen before, and another one learns that it cannot tell.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import stat

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import CaptureRecord, Label
from fasdk_calibration.datasets.pseudonyms import PSEUDONYMS, Pseudonyms, key_file, seen_before
from fasdk_engines.build.thresholds import choose_provisional_points
from fasdk_engines.graph.captures import DevelopmentSet

from support import tiny_bundle

PEOPLE = ["ann", "ben", "cem", "dana"]


@pytest.fixture
def account(tmp_path, monkeypatch):
    """Makes this process one of a fresh account, by name."""

    def become(name):
        monkeypatch.setenv("FASDK_HOME", str(tmp_path / name))

    become("vendor")
    return become


def record():
    """The record of a build on captures of PEOPLE."""
    records = tuple(
        CaptureRecord(
            id=f"{name}-{live}",
            rgb=f"{name}.png",
            label=Label.BONA_FIDE if live else Label.ATTACK,
            species="bona fide" if live else "print",
            subject=name,
            presentation=f"{name}-{live}",
            domain="door",
        )
        for name in PEOPLE
        for live in (True, False)
    )
    captures = tuple(tiny_bundle.capture(modalities=(Modality.RGB,)) for _ in records)
    logits = np.float32([[0.0, 2.0] if r.is_bona_fide else [2.0, 0.0] for r in records])
    _, _, document = choose_provisional_points(
        DevelopmentSet("people.jsonl", records, captures), logits, 1, (Modality.RGB,), "0" * 64
    )
    return document


def test_a_record_holds_no_name(account):
    text = json.dumps(record())
    assert not [name for name in PEOPLE if name in text]


def test_likely_names_are_not_found_without_the_accounts_key(account):
    document = record()
    salt = bytes.fromhex(document[PSEUDONYMS]["salt"])
    for name in PEOPLE:
        word = name.encode()
        tried = {hashlib.sha256(salt + word).hexdigest()[:32]}
        tried |= {hmac.new(salt, word, hashlib.sha256).hexdigest()[:32]}
        tried |= {Pseudonyms(bytes(32), salt.hex()).of(name)}
        assert not tried & set(document["subjects"])


def test_the_account_that_built_it_learns_who_was_seen_before(account):
    assert seen_before(record(), ["ben", "eve", "ann"], "x") == ("ann", "ben")
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600


def test_another_account_learns_that_it_cannot_tell(account):
    document = record()
    account("customer")
    assert seen_before(document, PEOPLE, "x") is None


def test_records_of_two_lists_cannot_be_joined(account):
    one, other = Pseudonyms.of_record("tuned", "one"), Pseudonyms.of_record("tuned", "other")
    assert one.of("ann") != other.of("ann")
    assert one.of("ann") == Pseudonyms.of_record("tuned", "one").of("ann")


@pytest.mark.parametrize("rule", [3, [], {}, {"salt": "no", "key_id": ""}, {"salt": "00"}])
def test_a_malformed_rule_is_refused(account, rule):
    with pytest.raises(DatasetError, match="build it again"):
        seen_before({"subjects": ["x"], PSEUDONYMS: rule}, ["ann"], "x.fasb: evaluation.json")
