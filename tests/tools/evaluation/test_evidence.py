"""Evidence sheets: counts, limits and what is short, against counts by hand."""

from __future__ import annotations

import json
import re

import pytest

from fasdk.errors import UsageError
from fasdk_calibration.error_rates import ThresholdKind
from fasdk_calibration.thresholds.sample_size import attempts_needed
from fasdk_tools.evaluation.evidence import evidence_sheet, presentations_short
from fasdk_tools.evaluation.schemes import RULES, Certainty, Scheme, parse_scheme

from support.bright_captures import mixed, tiny_bundle, write_list
from support.counted_evaluation import evaluation

SIX = {f"species {number}": (0, 150) for number in range(6)}


# Each n by hand: 0.99**299 = 0.0495, 0.99**298 = 0.0500; 0.85**19 = 0.0456, 0.85**18 = 0.0536;
# with one error, 93 and 473 are the tables' sizes for 95 % confidence.
@pytest.mark.parametrize(
    ("errors", "limit", "needed"),
    [(0, 0.01, 299), (0, 0.05, 59), (0, 0.15, 19), (1, 0.05, 93), (2, 0.05, 124), (1, 0.01, 473)],
)
def test_how_many_presentations_show_a_rate(errors, limit, needed):
    assert attempts_needed(errors, limit) == needed


def rates(sheet):
    return {row.of: row for row in sheet.rates}


def test_whole_counts_without_an_error_lack_nothing_but_a_bound_of_zero():
    sheet = evidence_sheet(evaluation(SIX, (2, 50)), Scheme.IBETA_L1)
    assert [(row.asked, row.held, row.short) for row in sheet.counts] == [
        (6, 6, 0),
        (6, 6, 0),
        (50, 50, 0),
    ]
    one = rates(sheet)["species 0"]
    # 1 - 0.05 ** (1 / 150): no attack accepted among 150 still allows 1.98 %.
    assert one.one_sided_upper == pytest.approx(1 - 0.05 ** (1 / 150), abs=1e-9)
    assert (one.short, one.limit, one.is_within, one.is_shown) == (0, 0.0, True, False)
    assert one.more is None  # no number of presentations shows 0 %
    live = rates(sheet)["bona fide"]
    assert (live.rate, live.limit, live.is_within) == (0.04, 0.15, True)
    assert [(row.limit, row.is_within, row.is_shown) for row in sheet.limits] == [
        (0.0, True, False),
        (0.15, True, True),
    ]
    (said,) = sheet.short
    assert said.startswith("A limit of 0 % can be met by counting")


def test_species_and_presentations_that_are_missing_are_counted():
    attacks = {"print": (0, 150), "replay": (0, 100), "mask": (1, 63)}
    sheet = evidence_sheet(evaluation(attacks, (10, 40)), Scheme.IBETA_L1)
    assert [(row.asked, row.held, row.short) for row in sheet.counts] == [
        (6, 3, 3),
        (6, 1, 5),
        (50, 40, 10),
    ]
    assert {of: row.short for of, row in rates(sheet).items()} == {
        "print": 0,
        "replay": 50,
        "mask": 87,
        "bona fide": 10,
    }
    # 50 + 87 of the species there are, and three new ones of 150.
    assert (
        presentations_short(RULES[Scheme.IBETA_L1], {"print": 150, "replay": 100, "mask": 63})
        == 50 + 87 + 3 * 150
    )
    text = " ".join(sheet.short)
    assert "PAI species: 3 of 6, 3 short." in text
    assert "At least 587 further attack presentations" in text
    assert "APCER of mask: 1.59 % is above the limit of 0.00 %" in text
    assert "BPCER: 25.00 % is above the limit of 15.00 %" in text
    assert rates(sheet)["mask"].is_within is False


def test_more_species_than_asked_need_only_the_best_tried():
    attacks = {f"s{number}": 63 for number in range(9)} | {"print": 150}
    assert presentations_short(RULES[Scheme.IBETA_L2], attacks) == 4 * 87


def test_level_two_needs_presentations_beyond_the_schemes_count_for_its_own_limit():
    attacks = {f"species {number}": (0, 150) for number in range(4)} | {"mask": (1, 150)}
    sheet = evidence_sheet(evaluation(attacks, (20, 250)), Scheme.IBETA_L2)
    assert all(row.short == 0 for row in sheet.counts)
    clean, mask = rates(sheet)["species 0"], rates(sheet)["mask"]
    assert (clean.is_within, clean.is_shown, clean.more) == (True, False, 299 - 150)
    assert (mask.is_within, mask.is_shown, mask.more) == (True, False, 473 - 150)
    live = rates(sheet)["bona fide"]
    assert (live.is_within, live.is_shown, live.more) == (True, True, 0)


@pytest.mark.parametrize("scheme", [Scheme.ISO_30107_3, Scheme.FIDO])
def test_a_scheme_without_confirmed_numbers_holds_none_against_the_figures(scheme):
    sheet = evidence_sheet(evaluation({"print": (0, 40)}, (0, 30), claimed=0.05), scheme)
    assert (sheet.counts, sheet.limits) == ((), ())
    assert any("could not be confirmed" in line for line in sheet.left_out)
    one = rates(sheet)["print"]
    # The threshold's own claim is what the species is held to: 59 presentations show 5 %.
    assert (one.limit, one.short, one.is_shown, one.more) == (0.05, None, False, 19)
    assert rates(sheet)["bona fide"].limit is None


@pytest.mark.parametrize("scheme", Scheme)
def test_every_sheet_says_first_that_it_certifies_nothing(scheme):
    sheet = evidence_sheet(evaluation(SIX, (0, 50)), scheme)
    assert sheet.statement.startswith("Self-assessment")
    assert "not a certification" in sheet.statement
    assert re.search("laboratory|iBeta", sheet.statement)
    for row in (*sheet.counts, *sheet.limits):
        assert row.source
        assert row.certainty in [each.value for each in Certainty]
    assert not re.search(r"(?i)\b(is|are) certified|passes\b", json.dumps(sheet.short))


def test_without_a_threshold_there_is_no_rate():
    sheet = evidence_sheet(evaluation(SIX, (0, 50), kind=None), Scheme.IBETA_L1)
    assert (sheet.threshold, sheet.rates, sheet.counts) == (None, (), ())
    assert sheet.limits[0].is_within is None
    assert "no threshold" in sheet.short[0]


def test_a_threshold_no_device_decides_by_is_named():
    record = evaluation(SIX, (0, 50), kind=ThresholdKind.FIXED, claimed=None)
    sheet = evidence_sheet(record, Scheme.ISO_30107_3)
    assert any("no operating point of the bundle" in note for note in sheet.notes)


def test_an_unknown_scheme_is_refused_by_name():
    with pytest.raises(UsageError, match="'ibeta': choose one of iso30107-3, ibeta-l1, ibeta-l2"):
        parse_scheme("ibeta")


@pytest.fixture(scope="module")
def lobby(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lobby")
    bundle = tiny_bundle.write(folder / "lobby.fasb")
    return ("evaluate", bundle, "--protocol", write_list(folder, mixed()), "--threads", 1)


def test_the_verb_shows_the_sheet_in_terminal_json_and_page(fasdk, lobby, tmp_path):
    page = tmp_path / "sheet.html"
    ran = fasdk(*lobby, "--scheme", "ibeta-l1", "--report", page, "--json")
    assert ran.status == 0, ran.stderr
    sheet = json.loads(ran.stdout)["evidence"]
    assert (sheet["scheme"], sheet["title"]) == ("ibeta-l1", "iBeta PAD Level 1")
    text = page.read_text(encoding="utf-8")
    section = text[text.index('<h2 id="evidence">') :]
    assert section.index(sheet["statement"]) < section.index("<table>")
    assert "/evidence/rates/0/one_sided_upper" in text
    shown = fasdk(*lobby, "--scheme", "ibeta-l1").stdout
    after = shown[shown.index("Evidence sheet: iBeta PAD Level 1") :].splitlines()
    assert after[1].startswith("Self-assessment by whoever ran fasdk, not a certification")


def test_a_scheme_counts_presentations_alone(fasdk, lobby):
    ran = fasdk(*lobby, "--scheme", "fido", "--by", "rows")
    assert (ran.status, len(ran.error_lines)) == (2, 1)
    assert "--scheme fido counts presentations" in ran.error_lines[0]
