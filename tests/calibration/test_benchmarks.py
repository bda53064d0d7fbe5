"""Tables of the published benchmarks."""

from __future__ import annotations

import pytest

from fasdk.errors import UsageError
from fasdk_calibration.benchmarks import (
    TABLES,
    ListPart,
    PublishedThreshold,
    parse_tables,
    plan_trainings,
)
from fasdk_calibration.protocols import missing_name

P1, P2, P3, FLEX, SURF = TABLES


def test_the_tables_are_the_papers():
    assert [(t.name, t.letters) for t in TABLES] == [
        ("P1", ("W", "C", "P", "S")),
        ("P2", ("W", "C", "P", "S")),
        ("P3", ("W", "C", "P", "S")),
        ("FLEX", ("W", "C", "S")),
        ("SURF", ("S",)),
    ]
    ((flexible,), (own,)) = FLEX.trainings, SURF.trainings
    assert [(t.name, t.threshold) for t in flexible.targets] == [
        ("CS", PublishedThreshold.DEVELOPMENT_EER),
        ("W+", PublishedThreshold.FIXED),
    ]
    assert flexible.targets[1].parts == tuple(ListPart)  # its list holds all of WMCA
    assert [missing_name(m) for m in FLEX.missing] == ["depth+ir", "ir", "depth", "none"]
    assert (own.name, own.targets[0].name) == ("S", "S")
    assert all(
        target.threshold is PublishedThreshold.TEST_EER
        for table in (P1, P2, P3)
        for training in table.trainings
        for target in training.targets
    )


def test_tables_that_share_a_training_share_its_cell():
    planned = plan_trainings((P1, P2, P3, SURF))
    assert [p.name for p in planned] == ["CPS", "CPW", "CSW", "PSW", "CW", "PS", "S"]
    (test,) = planned[0].tests
    assert (test.target.name, [missing_name(m) for m in test.missing]) == (
        "W",
        ["none", "depth", "ir", "depth+ir"],
    )
    assert [missing_name(m) for m in planned[4].tests[0].missing] == ["none"]
    assert [t.target.name for t in planned[4].tests] == ["PS"]


def test_tables_are_named_on_the_command_line():
    assert parse_tables("p3, P1") == (P1, P3)
    with pytest.raises(UsageError, match=r"no table 'P4': choose of P1, P2, P3, FLEX, SURF"):
        parse_tables("P1,P4")
