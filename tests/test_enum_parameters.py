"""Enums or their values, alike, in every public function, class and method."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from unittest import mock

import pytest
from pydantic import ValidationError

from fasdk.errors import FasdkError

from support.public_enums import EnumParameter, enum_parameters

PARAMETERS = list(enum_parameters())
WRONG = "no-such-choice"


def call(parameter: EnumParameter, value: object):
    """Call what has the parameter with a value for it, and stand-ins where others are required."""
    others = {each.name: each for each in PARAMETERS if each.function == parameter.function}
    positional, named = [], {}
    for each in inspect.signature(parameter.function).parameters.values():
        is_asked = each.name == parameter.name
        if each.default is not each.empty and not is_asked:
            continue
        given = value if is_asked else mock.MagicMock(name=each.name)
        if each.name in others and not is_asked:
            given = valid(others[each.name])
        if each.kind in {each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD} and each.name != "self":
            named[each.name] = given
        elif is_asked or each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}:
            positional.append(given)
    found = parameter.function(*positional, **named)
    return next(found) if isinstance(found, Iterator) else found


def valid(parameter):
    return value_of(parameter, next(iter(parameter.choices)))


def value_of(parameter, member):
    is_one = parameter.kind is inspect.Parameter.VAR_POSITIONAL
    return member if is_one else parameter.holding(member)


def outcome(parameter, value):
    """Return what a call gives or raises, without what differs from call to call."""
    try:
        found = call(parameter, value)
    except Exception as error:  # noqa: BLE001 - stand-ins fail in any way
        return type(error), re.sub(r"\d{6,}|0x[0-9a-f]+", "", str(error))
    if isinstance(found, mock.MagicMock):
        return mock.MagicMock, None
    held = getattr(found, parameter.name, None)
    return type(found), list(held) if isinstance(held, Mapping) else held


@pytest.mark.parametrize("parameter", PARAMETERS, ids=map(str, PARAMETERS))
def test_a_wrong_value_is_refused_with_the_values_known(parameter):
    with pytest.raises((FasdkError, ValidationError)) as refused:
        call(parameter, value_of(parameter, WRONG))
    message = str(refused.value)
    assert WRONG in message
    assert [m.value for m in parameter.choices if str(m.value) not in message] == []


@pytest.mark.parametrize("parameter", PARAMETERS, ids=map(str, PARAMETERS))
def test_a_members_value_does_what_the_member_does(parameter):
    for member in parameter.choices:
        by_value = outcome(parameter, value_of(parameter, member.value))
        by_member = outcome(parameter, value_of(parameter, member))
        assert by_value == by_member
        assert WRONG not in str(by_value)


def test_the_walk_finds_what_people_call():
    found = {str(parameter) for parameter in PARAMETERS}
    assert {
        "fasdk.open(backend)",
        "fasdk.open(missing)",
        "fasdk.Liveness(missing)",
        "fasdk.Capture.frame(modality)",
        "fasdk_engines.build.BuildRequest(precision)",
        "fasdk_engines.build.BuildRequest(backend)",
        "fasdk_tools.evaluation.EvaluationRequest(missing)",
        "fasdk_tools.tuning.TuneRequest(missing)",
        "fasdk.preprocess.PreprocessSpec(crop)",
    } <= found
