"""Settings given as members of enums, as their values or as paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import fasdk
from fasdk.batching.policy_file import PolicyFile
from fasdk.cameras.replay import ReplayCamera
from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk.session.session import Liveness
from fasdk.settings import as_choice, as_choices, as_path, by_choice, take_choices

from support.scripted_engine import FakeEngine, live


@pytest.fixture
def session(bundle):
    with Liveness(bundle, FakeEngine(live)) as opened:
        yield opened


@dataclass(frozen=True)
class Record:
    one: Modality | None = None
    several: tuple[Modality, ...] = ()

    def __post_init__(self):
        take_choices(self, one=Modality, several=(Modality,))


def test_a_value_becomes_its_member_and_a_member_stays():
    assert as_choice("modality", "ir", Modality) is Modality.IR
    assert as_choice("modality", Modality.IR, Modality) is Modality.IR
    assert as_choices("modalities", ["ir", Modality.RGB], Modality) == (Modality.IR, Modality.RGB)
    made = Record(one="depth", several=["rgb", "ir"])
    assert made.one is Modality.DEPTH and made.several[1] is Modality.IR


def test_a_mapping_by_members_is_kept_and_one_by_values_is_made_anew():
    members = {Modality.RGB: 1}
    assert by_choice("specs", members, Modality) is members
    (key,) = by_choice("specs", {"rgb": 1}, Modality)
    assert key is Modality.RGB


@pytest.mark.parametrize("wrong", ["lidar", "IR", 3, None, ("ir",)])
def test_another_value_names_the_setting_and_the_known_ones(wrong):
    with pytest.raises(UsageError, match=r"sensor is .*, expected rgb, depth or ir"):
        as_choice("sensor", wrong, Modality)


def test_one_text_for_several_is_refused_with_the_form_to_write():
    with pytest.raises(UsageError, match=r"required is 'ir', expected several: \('ir',\)"):
        as_choices("required", "ir", Modality)
    with pytest.raises(UsageError, match=r"several is 'ir', expected several"):
        Record(several="ir")
    assert as_choices("required", ("ir",), Modality) == (Modality.IR,)


@pytest.mark.parametrize("wrong", [None, 5, b"lobby.fasb", ["lobby.fasb"]])
def test_what_is_no_path_is_refused_with_what_is_expected(wrong, session):
    expected = f"is a {type(wrong).__name__}, expected the path of a file"
    for ask in (
        session.swap,
        fasdk.open,
        fasdk.open_bundle,
        fasdk.TrustPolicy.from_files,
        fasdk.FaceFinder,
        fasdk.Rig.load,
        PolicyFile.load,
        ReplayCamera,
    ):
        with pytest.raises(UsageError, match=expected):
            ask(wrong)
    assert as_path("bundle", "lobby.fasb") == Path("lobby.fasb")
