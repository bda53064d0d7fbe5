"""Joining of several bundles' evaluations: worked by hand, and what does not belong together."""

from __future__ import annotations

import copy
import json

import pytest

from fasdk.errors import UsageError
from fasdk_tools.evaluation.joining import join_family
from fasdk_tools.evaluation.record import DOCUMENT, DOCUMENT_VERSION, ProtocolFamily


def at(kind, hter):
    rate = {"rate": 0.25}
    overall = {"hter": {"value": hter}, "worst_apcer": rate, "worst_species": "print"}
    return {"kind": kind, "overall": overall | {"bpcer": rate}}


def case(listed, missing, hter, auc, development=None):
    separation = {
        "auc": {"value": auc},
        "hter_at_eer": {"value": hter},
        "tpr_at_fpr": [{"target": 0.01, "tpr": 0.5}],
    }
    thresholds = [at("operating point", 0.9), at("fixed", 0.4)]
    thresholds += [] if development is None else [at("development set", development)]
    figures = {"separation": separation, "thresholds": thresholds, "bona_fide": 3, "attacks": 4}
    return {"list": listed, "missing": missing, "figures": figures}


def document(bundle, cases, unit="row", model="mmdg"):
    return {
        "document": DOCUMENT,
        "version": DOCUMENT_VERSION,
        "bundle": {"id": bundle, "model": model},
        "source": "C, P and S",
        "unit": unit,
        "cases": cases,
    }


@pytest.fixture
def write(tmp_path):
    def write_all(*documents):
        paths = []
        for number, each in enumerate(documents):
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(json.dumps(each))
        return paths

    return write_all


W = document("cps", [case("W-test", "none", 0.1, 0.9, 0.2), case("W-test", "depth", 0.3, 0.8)])
S = document("cpw", [case("S-test", "none", 0.3, 0.7, 0.4), case("S-test", "depth", 0.5, 0.6)])


def test_the_figure_is_the_mean_over_the_bundles(write):
    joined = join_family(ProtocolFamily.P1, write(W, S))
    assert (joined.hter_at_eer, joined.hter_at_development) == pytest.approx((0.2, 0.3))
    assert (joined.auc, joined.unit, len(joined.tests)) == (pytest.approx(0.8), "row", 2)
    assert [(t.test, t.missing, t.counted, t.hter_at_fixed) for t in joined.tests] == [
        ("W-test", "none", 7, 0.4),
        ("S-test", "none", 7, 0.4),
    ]


def test_lists_that_are_tested_together_count_together(write):
    both = [
        case("P", "none", 0.9, 0.1),
        case("S", "none", 0.9, 0.1),
        case("P + S", "none", 0.2, 0.9),
    ]
    other = document("ps", [case("C + W", "none", 0.4, 0.7)])
    joined = join_family(ProtocolFamily.P3, write(document("cw", both), other))
    assert joined.hter_at_eer == pytest.approx(0.3)
    assert joined.hter_at_development is None


def changed(original, **changes):
    return copy.deepcopy(original) | changes


@pytest.mark.parametrize(
    ("family", "documents", "message"),
    [
        ("P1", [W], "give two or more"),
        ("P1", [W, W | {"unit": "presentation"}], "differ in unit, row and presentation"),
        ("P1", [W, changed(S, bundle={"id": "x", "model": "mmda"})], "differ in model, mmdg and"),
        ("P1", [W, changed(S, bundle=W["bundle"])], "are of one bundle: in P1 every test has"),
        ("P1", [W, changed(W, bundle={"id": "x", "model": "mmdg"})], "are of one test list"),
        ("P2", [W, S], "has no figures without ir, which P2 asks for"),
        ("P1", [W, {"document": "profile"}], "is no evaluation: give what `fasdk evaluate --json`"),
        ("P1", [W, S | {"version": 1}], "an evaluation of layout 1, expected 2: run"),
        ("P1", [W, changed(S, cases=[{"list": "S-test"}])], "is no whole evaluation: KeyError"),
        ("P1", [W, changed(S, cases=2 * S["cases"])], "hold different modalities without depth"),
    ],
)
def test_what_makes_no_protocol_is_refused(write, family, documents, message):
    with pytest.raises(UsageError, match=message):
        join_family(ProtocolFamily(family), write(*documents))


def test_one_document_given_twice_is_refused(write):
    (path,) = write(W)
    with pytest.raises(UsageError, match="is given twice"):
        join_family(ProtocolFamily.P1, [path, path])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{0}", "{1}"), "with --family P1, P2 or P3 the JSON documents of several"),
        (("{0}", "x.fasb", "--family", "P1"), "x.fasb is no .json file"),
        (("{0}", "none.json", "--family", "P1"), "cannot read none.json: No such file"),
        (("{0}", "{1}", "--family", "P1", "--protocol", "l.csv"), "--protocol goes with a bundle"),
    ],
)
def test_the_verb_joins_json_documents_alone(fasdk, write, words, message):
    paths = write(W, S)
    ran = fasdk("evaluate", *(word.format(*paths) for word in words))
    assert ran.status == 2 and len(ran.error_lines) == 1
    assert message in ran.error_lines[0]


def test_the_verb_prints_every_test(fasdk, write):
    ran = fasdk("evaluate", *write(W, S), "--family", "P1")
    assert ran.status == 0
    assert "HTER 20.00 % at the EER of each test" in " ".join(ran.stdout.split())
    assert "W-test" in ran.stdout and "C, P and S" in ran.stdout
