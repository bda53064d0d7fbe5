"""Faces of the people a model was tuned on are read from a bundle or a report.

Whoever has a device has the bundle, and whoever has an account on the workstation sees the reports
in a shared folder. Golden captures are synthetic unless a list is named for them, `inspect` says
what they are, and a report is its owner's alone and shows frames only when asked to.
"""

from __future__ import annotations

import json
import stat
from types import SimpleNamespace

import numpy as np
import pytest

from fasdk.bundle.manifest import Precision
from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import DatasetSource, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.build.captures import read_captures
from fasdk_tools import cli

from support.report_page import make_report

PEOPLE = 6


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    """Captures of people, as a list; that they are synthetic too plays no part."""
    folder = tmp_path_factory.mktemp("people")
    people = generate_many(PEOPLE, 5, split=Split.DEVELOPMENT, settings=SceneSettings())
    return write_captures(people, folder, "people")


def build_with(listing, golden, required=(Modality.RGB,)):
    family = SimpleNamespace(modalities=tuple(Modality))
    model = SimpleNamespace(family=family, required=required, depth=None)
    return SimpleNamespace(
        development=DatasetSource.of(listing),
        golden=None if golden is None else DatasetSource.of(golden),
        int8=None,
        precision=Precision.FP32,
        model=model,
    )


def shown_people(captures):
    """How many golden captures are frames of the list."""
    frames = [each.rgb.tobytes() for each in captures.development.captures]
    return sum(each.rgb.tobytes() in frames for each in captures.golden)


def test_a_bundle_holds_nobody_unless_a_list_is_named(listing):
    captures = read_captures(build_with(listing, None))
    assert len(captures.golden) == 4
    assert shown_people(captures) == 0
    assert captures.golden_note == "golden captures are synthetic"
    assert all(np.ptp(each.rgb) > 50 for each in captures.golden)


def test_a_bundle_says_whose_frames_it_holds(listing):
    captures = read_captures(build_with(listing, listing))
    assert shown_people(captures) == 4
    assert captures.golden_note == f"golden captures are frames of {listing.name}"


def test_a_list_without_usable_golden_captures_is_refused(listing):
    rows = [json.loads(line) for line in listing.read_text().splitlines()]
    for row in rows:
        del row["ir"]
    listing = listing.with_name("without-ir.jsonl")
    listing.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DatasetError, match="no capture holds ir, which the model requires"):
        read_captures(build_with(listing, listing, required=(Modality.IR,)))


def test_a_report_is_its_owners_alone_and_shows_no_frame(tmp_path):
    report = make_report(tmp_path, options=())
    assert stat.S_IMODE(report.path.stat().st_mode) == 0o600
    assert report.document["worst"]
    assert not report.page.find("img")
    assert "data:image" not in report.text


def test_frames_need_a_report(tmp_path, capsys):
    words = ["evaluate", "x.fasb", "--protocol", "list.jsonl", "--with-faces"]
    assert cli.main(words) == 2
    assert "--report OUT.html" in capsys.readouterr().err
