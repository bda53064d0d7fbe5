"""Report of bundles: one page and one Markdown file of what they and their records hold."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from fasdk.backends import registry
from fasdk_tools.model_card.document import digest_of

from support import recorded_bundle, tiny_bundle
from support.report_page import embedded, fetches_nothing, parse, resolve, says_what_it_is

NAMES = [
    *("Identity", "Provenance", "Precision map", "Operating points", "Tuning", "Evaluation"),
    *("Calibration", "Profile", "Commissioning", "Verification"),
]


@pytest.fixture(scope="module")
def lobby(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lobby")
    bundle = recorded_bundle.write(folder)
    return bundle, *recorded_bundle.records(folder, bundle)


@pytest.fixture
def made(fasdk, lobby, tmp_path):
    """A report with all records: its page, its Markdown, its document."""
    bundle, evaluation, profile = lobby
    page, card = tmp_path / "lobby.html", tmp_path / "lobby.md"
    words = ("report", bundle, "--record", evaluation, "--record", profile)
    ran = fasdk(*words, "-o", page, "--markdown", card, "--json")
    assert ran.status == 0, ran.stderr
    return page.read_text("utf-8"), card.read_text("utf-8"), json.loads(ran.stdout)


def test_the_page_holds_the_document_and_nothing_else(made):
    text, _, document = made
    page = parse(text)
    assert embedded(page, "report") == document
    shown = page.find("data")
    assert len(shown) > 100
    for element in shown:
        value = resolve(document, element.attributes["data-path"])
        assert element.attributes["value"] == str(value)
    fetches_nothing(page, text)
    says_what_it_is(page, drawings=0)
    assert [h.text for h in page.find("h3")][: len(NAMES)] == NAMES


def test_page_and_card_say_the_same(made):
    text, card, _ = made
    assert re.findall(r"(?m)^### (.*)$", card)[: len(NAMES)] == NAMES
    plain = re.sub(r"\\(.)", r"\1", card)
    page = parse(text).find("main")[0]
    shown = [e.text.strip() for tag in ("td", "th", "dt", "dd", "li") for e in page.find(tag)]
    assert len(shown) > 300
    assert [each for each in shown if each not in plain] == []
    for said in ("90.59 %", "/adapters/Conv", "golden captures are reproduced", "Axon Labs"):
        assert said in plain


def test_the_digest_to_sign_is_of_the_document_in_canonical_form(made):
    text, card, document = made
    signed = {key: value for key, value in document.items() if key != "sha256"}
    form = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert document["sha256"] == hashlib.sha256(form.encode()).hexdigest()
    sign = parse(text).find("section", "sign")[0]
    assert document["sha256"] in sign.text
    assert [h.text for h in sign.find("table")[-1].find("th")] == [
        "Name",
        "Role",
        "Date",
        "Signature",
    ]
    assert "| Signature |" in card


def test_every_record_is_named_by_its_digest(made, lobby):
    _, card, document = made
    held = {each["kind"]: each["sha256"] for each in document["bundles"][0]["records"]}
    assert held == {
        "evaluation": hashlib.sha256(lobby[1].read_bytes()).hexdigest(),
        "profile": hashlib.sha256(lobby[2].read_bytes()).hexdigest(),
    }
    assert all(digest in card for digest in held.values())


def test_nobody_is_named_in_a_report(made):
    text, card, document = made
    assert document["bundles"][0]["calibration"]["subjects"] == 2
    for said in (text, card, json.dumps(document)):
        assert "4567" not in re.sub(r"[0-9a-f]{64}", "", said)
        assert "pseudonyms" not in said


def test_what_is_absent_says_so_and_how_to_get_it(fasdk, tmp_path):
    bundle = tiny_bundle.write(tmp_path / "bare.fasb", operating_points=())
    page, card = tmp_path / "bare.html", tmp_path / "bare.md"
    ran = fasdk("report", bundle, "-o", page, "--markdown", card)
    assert ran.status == 0, ran.stderr
    assert ran.stdout.startswith("Report on bare.fasb: 6 of 10 sections absent")
    text = parse(page.read_text("utf-8"))
    by_name = {s.find("h3")[0].text: s.text for s in text.find("section") if not s.find("h2")}
    for name, said in {
        "Operating points": "every answer of a device is ERROR",
        "Tuning": "run `fasdk tune`",
        "Evaluation": "fasdk evaluate BUNDLE --json",
        "Profile": "fasdk profile BUNDLE --json",
        "Commissioning": "No record of a commissioning",
        "Precision map": "There is no map by layer",
        "Provenance": "What the model was trained on is not recorded",
    }.items():
        assert "Absent." in by_name[name]
        assert said in by_name[name], name
    assert card.read_text().count("*Absent.*") >= 7


def test_names_cannot_become_markup(made):
    text, card, _ = made
    assert "<i>" not in text
    assert r"mask \| \<i\>" in card
    rows = [line for line in card.splitlines() if line.startswith("| APCER, mask")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows[:1])


def test_several_bundles_make_one_report(fasdk, lobby, tmp_path):
    other = tiny_bundle.write(tmp_path / "garage.fasb", revision=2)
    page = tmp_path / "both.html"
    ran = fasdk("report", lobby[0], other, "--record", lobby[1], "-o", page, "--json")
    assert ran.status == 0, ran.stderr
    first, second = json.loads(ran.stdout)["bundles"]
    assert (len(first["evaluations"]), len(second["evaluations"])) == (1, 0)
    says_what_it_is(parse(page.read_text("utf-8")), drawings=0)
    again = fasdk("report", lobby[0], lobby[0])
    assert again.status == 2
    assert "is given twice" in again.error_lines[0]


def test_golden_captures_that_are_not_reproduced_are_said_and_end_in_1(fasdk, tmp_path):
    bundle = recorded_bundle.write(tmp_path, drifted=True)
    page = tmp_path / "drifted.html"
    ran = fasdk("report", bundle, "-o", page)
    assert ran.status == 1
    assert "NOT reproduced" in ran.stdout
    assert "Verification failed" in page.read_text("utf-8")


@pytest.mark.parametrize(
    "tuned",
    [
        {"kind": "tuned"},
        recorded_bundle.tuning() | {"subsets": [{"levels": 3}]},
        recorded_bundle.tuning() | {"captures": ["<b>"]},
        recorded_bundle.tuning() | {"method": 7},
    ],
)
def test_a_record_in_a_bundle_that_is_not_whole_is_not_shown(fasdk, tmp_path, tuned):
    bundle = recorded_bundle.write(tmp_path, tuned=tuned)
    page, card = tmp_path / "odd.html", tmp_path / "odd.md"
    ran = fasdk("report", bundle, "-o", page, "--markdown", card)
    assert ran.status == 0, ran.stderr
    assert "not as this release writes it" in card.read_text()
    assert "<b>" not in page.read_text("utf-8").split("<script")[0]


def test_a_digest_is_of_what_a_reader_of_the_json_has(fasdk, lobby, tmp_path):
    odd = tmp_path / "odd.json"
    odd.write_text(
        re.sub(r'"auc": \{"value": [0-9.]+', '"auc": {"value": NaN', lobby[1].read_text())
    )
    document = json.loads(fasdk("report", lobby[0], "--record", odd, "--json").stdout)
    assert (
        document["bundles"][0]["evaluations"][0]["cases"][0]["figures"]["separation"]["auc"][
            "value"
        ]
        is None
    )
    assert document["sha256"] == digest_of(document)


def test_without_onnx_runtime_nothing_is_said_for_or_against(fasdk, monkeypatch, lobby, tmp_path):
    monkeypatch.setattr(registry, "installed_backends", lambda: ())
    card = tmp_path / "lobby.md"
    ran = fasdk("report", lobby[0], "--markdown", card)
    assert ran.status == 0, ran.stderr
    assert "The golden captures were not replayed: backend onnxruntime" in card.read_text()


def test_an_unsigned_bundle_is_said_to_be_unchecked(fasdk, lobby, tmp_path):
    page = tmp_path / "unsigned.html"
    assert fasdk("report", lobby[0], "--unsigned", "-o", page).status == 0
    assert "The signature was not checked" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", "is no JSON document"),
        ("[]", "holds a JSON list, expected the object"),
        ('{"document": "x"}', "is neither an evaluation nor a profile"),
        ('{"document": "fasdk evaluation", "version": 1}', "has layout 1, expected 2"),
        ('{"document": "fasdk evaluation", "version": 2}', "bundle: Field required"),
    ],
)
def test_a_file_that_is_no_record_is_refused_in_one_line(fasdk, lobby, tmp_path, content, said):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(content)
    ran = fasdk("report", lobby[0], "--record", wrong)
    assert (ran.status, len(ran.error_lines)) == (2, 1)
    assert said in ran.error_lines[0]


def test_a_record_of_another_bundle_or_given_twice_is_refused(fasdk, lobby, tmp_path):
    other = tiny_bundle.write(tmp_path / "garage.fasb")
    ran = fasdk("report", other, "--record", lobby[1])
    assert (ran.status, len(ran.error_lines)) == (2, 1)
    assert "the evaluation is of bundle" in ran.error_lines[0]
    ran = fasdk("report", lobby[0], "--record", lobby[2], "--record", lobby[2])
    assert (ran.status, len(ran.error_lines)) == (2, 1)
    assert "is given twice" in ran.error_lines[0]


def test_a_report_replaces_no_bundle_and_no_record(fasdk, lobby):
    ran = fasdk("report", lobby[0], "-o", lobby[0])
    assert (ran.status, len(ran.error_lines)) == (2, 1)
