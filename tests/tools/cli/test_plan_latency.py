"""Verb plan-latency: what it prints, and wrong input."""

from __future__ import annotations

import json

import pytest

from fasdk_tools.profiling.gpus import GPUS
from fasdk_tools.profiling.plan_latency import LABEL

from support import tiny_bundle


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("plan") / "tiny.fasb")


def test_the_document_labels_every_range_an_estimate_and_names_its_sources(fasdk, path):
    ran = fasdk("plan-latency", path, "--unsigned", "--json")
    assert ran.status == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["kind"] == LABEL
    assert [each["device"] for each in found["devices"]] == [gpu.name for gpu in GPUS]
    for device in found["devices"]:
        assert device["kind"] == LABEL
        assert device["sources"]
        assert [each["precision"] for each in device["ranges"]] == [
            *("as built", "fp32", "fp16", "int8")
        ]
        assert all(0 < each["fastest_ms"] < each["slowest_ms"] for each in device["ranges"])
    assert all(each["source"] and each["in_range"] for each in found["published"])
    assert found["graph"]["operations"] == 2 * 9 * 2 + 2 * 9 * 3


def test_the_table_labels_the_estimate_and_says_which_devices_nothing_checks(fasdk, path):
    shown = fasdk("plan-latency", path, "--unsigned", "--device", "thor").stdout
    assert shown.startswith(LABEL.capitalize())
    assert f"({LABEL})" in shown
    assert "No published measurement checks thor." in " ".join(shown.split())
    assert "orin-nano" not in shown


def test_a_larger_batch_takes_more_operations(fasdk, path):
    document = json.loads(
        fasdk("plan-latency", path, "--unsigned", "--batch", "3", "--json").stdout
    )
    assert document["graph"]["operations"] == 3 * 90


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--device", "orin-mini"], "orin-mini"),
        (["--batch", "0"], "--batch is 0, expected 1 to 4"),
        (["--batch", "5"], "--batch is 5, expected 1 to 4"),
    ],
)
def test_wrong_input_is_one_line(fasdk, path, options, named):
    ran = fasdk("plan-latency", path, "--unsigned", *options)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert named in line
