"""Profile page: the document's figures, bounds or how many calls are missing, nothing else."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fasdk_tools.cli import main
from fasdk_tools.profiling.baseline import BaselineAnswer
from fasdk_tools.profiling.interleaved import Ratio
from fasdk_tools.report.charts import axes, latency
from fasdk_tools.report.charts.drawing import HEIGHT, LEFT, TOP, Stroke
from fasdk_tools.report.profile import LayerTime, LayerTimes, profile_page

from support import profile_pages
from support.bright_captures import tiny_bundle
from support.percentile_outputs import wrong
from support.report_page import (
    embedded,
    fetches_nothing,
    parse,
    resolve,
    says_what_it_is,
)

TURNED = "<b>gpj.\u202eevil\u2066x"


@pytest.fixture(scope="module")
def whole():
    runs = profile_pages.rates()
    document = profile_pages.document(
        *runs,
        trusted=False,
        energies=profile_pages.ENERGIES,
        reasons=("hot: 82 of 85 degrees",),
        not_read=("throttling: the kernel shows no counter",),
    )
    text = profile_page(
        document, runs, machine=profile_pages.machine(), layers=profile_pages.LAYERS
    )
    return parse(text), text, document.model_dump(mode="json")


def test_the_page_embeds_the_document_of_stdout(whole):
    page, _, document = whole
    assert embedded(page, "profile") == document


def test_every_figure_on_the_page_is_the_documents(whole):
    page, _, document = whole
    shown = page.find("data")
    assert len(shown) > 400
    for element in shown:
        value = resolve(document, element.attributes["data-path"])
        assert element.attributes["value"] == str(value)
        assert float(element.text.replace(",", "").removesuffix(" %")) == pytest.approx(
            100 * value if element.text.endswith(" %") else value, abs=0.051
        )


def test_every_percentile_of_the_document_is_on_the_page(whole):
    page, _, document = whole
    shown = {element.attributes["data-path"] for element in page.find("data")}
    for number, run in enumerate(document["runs"]):
        for base, figures in {
            f"/runs/{number}/end_to_end": run["end_to_end"],
            **{f"/runs/{number}/stages/{name}": stage for name, stage in run["stages"].items()},
        }.items():
            for name in ("p50", "p90", "p95", "p99", "p99_9"):
                if figures[name] is None:
                    assert f"{base}/missing_calls/{name}" in shown
                else:
                    assert {f"{base}/{name}/ms", f"{base}/{name}/upper_ms"} <= shown


@settings(max_examples=8, deadline=None)
@given(calls=st.integers(1, 700))
@example(298)
@example(299)
@example(2994)
@example(2995)
def test_no_percentile_is_in_any_output_without_a_bound(calls):
    with mock.patch.dict(os.environ, COLUMNS="200"):
        assert wrong(calls) == []


def test_the_page_fetches_nothing_and_says_what_it_is(whole):
    page, text, _ = whole
    fetches_nothing(page, text)
    says_what_it_is(page, drawings=1 + 1 + 2 * 5 + 4)


def test_a_verdict_is_shown_with_its_reasons(whole):
    page, _, _ = whole
    (warning,) = page.find("div", "warning")
    assert "NOT TRUSTED" in warning.text
    assert "hot: 82 of 85 degrees" in warning.text
    assert any("the kernel shows no counter" in item.text for item in page.find("li"))


@pytest.mark.parametrize(("trusted", "said"), [(True, "TRUSTED."), (None, "Not judged.")])
def test_a_machine_that_held_still_or_was_not_watched_is_told_apart(trusted, said):
    run = profile_pages.samples(30)
    page = parse(profile_page(profile_pages.document(run, trusted=trusted), [run]))
    assert page.find("strong")[0].text == said
    assert not page.find("div", "warning")


def test_load_of_other_processes_is_told_from_our_own(whole):
    page, _, _ = whole
    (said,) = [d.text for d in page.find("desc") if "other processes" in d.text]
    assert "this process 33.3" in said  # 2 of 6 processors
    assert "other processes 8.33" in said


@pytest.mark.parametrize(
    ("comparable", "slower", "said"),
    [(True, False, "Not slower"), (True, True, "Slower"), (False, None, "Not comparable")],
)
def test_a_baseline_is_answered_with_its_ratios(comparable, slower, said):
    answer = BaselineAnswer(
        baseline=TURNED,
        bundle_id="b" * 64,
        tolerance=0.1,
        compute_ratio=1.02,
        copy_ratio=0.99,
        tail_ratio=1.05,
        median=Ratio(p=50.0, ratio=1.2, lower=1.15, upper=1.25, missing_calls=0),
        p99=Ratio(p=99.0, ratio=None, lower=None, upper=None, missing_calls=31),
        comparable=comparable,
        slower=slower,
    )
    run = profile_pages.samples(30)
    document = profile_pages.document(run, baseline=answer)
    page = parse(profile_page(document, [run]))
    assert page.find("strong")[1].text == said
    shown = {each.attributes["data-path"]: each.text for each in page.find("data")}
    assert shown["/baseline/median/lower"] == "1.150"
    assert shown["/baseline/p99/missing_calls"] == "31"
    assert "/baseline/p99/ratio" not in shown


def test_the_highest_rate_held_is_told_with_its_confirmations():
    run = profile_pages.samples(400)
    document = profile_pages.document(run)
    held = document.runs[0].model_copy(update={"highest_held_per_s": 87.5, "confirmations": 5})
    page = parse(profile_page(document.model_copy(update={"runs": (held,)}), [run]))
    assert any("87.5 captures a second, confirmed by 5 runs" in p.text for p in page.find("p"))


def test_the_page_is_of_one_profile(capsys):
    words = ["profile", "a.fasb", "--against", "b.fasb", "--html", "out.html"]
    assert main(words) == 2
    assert "--html does not go together with --against" in capsys.readouterr().err


def test_what_was_not_measured_is_left_out_and_said():
    run = replace(profile_pages.samples(4), stages_ms={})
    text = profile_page(profile_pages.document(run), [run])
    page = parse(text)
    said_without = ("needs two", "timed by stage", "No layer", "No clock", "No energy")
    assert all(said in text for said in said_without)
    says_what_it_is(page, drawings=2)
    assert len([svg for svg in page.find("svg") if svg.attributes.get("role")]) == 2


def test_names_from_files_are_neither_markup_nor_controls():
    run = profile_pages.samples(30)
    layers = LayerTimes((LayerTime(TURNED, "FP16", 0.1),), whole_ms=0.2)
    document = profile_pages.document(run, bundle=f"a/{TURNED}.fasb", reasons=(TURNED,))
    text = profile_page(document, [run], layers=layers)
    page = parse(text)
    assert embedded(page, "profile")["bundle"] == f"a/{TURNED}.fasb"
    assert not page.find("b")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)
    assert any(r"gpj.\u202eevil\u2066x" in cell.text for cell in page.find("th"))


def test_the_end_of_the_warm_up_is_told_and_drawn():
    many = profile_pages.samples(3 * latency.MOST_POINTS, warmup=400)
    runs = [many, profile_pages.samples(30)]
    page = parse(profile_page(profile_pages.document(*runs), runs))
    assert any("400 calls in" in p.text and "the run is steady" in p.text for p in page.find("p"))
    assert any("end was not seen" in each.text for each in page.find("strong"))
    shown = latency.Calls(many.due_ms / 1e3, many.latency_ms, many.warmup)
    (label,) = [
        each
        for each in latency.over_time("k", "t", shown).shapes
        if getattr(each, "text", "") == "end of warm-up"
    ]
    assert LEFT < label.x < LEFT + 40.0  # 400 of 6,400 calls


def test_the_largest_latency_is_in_sight_however_many_calls_there_are():
    for calls in (10, 5 * latency.MOST_POINTS):
        run = profile_pages.samples(calls, spread=0.1, warmup=0)
        run.answered_ms[calls // 2] = run.due_ms[calls // 2] + 95.0
        shown = latency.Calls(run.due_ms / 1e3, run.latency_ms, 0)
        drawn = latency.over_time("k", "t", shown)
        (path, *_) = [s.d for s in drawn.shapes if isinstance(s, Stroke) and "call" in s.style]
        tops = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
        assert min(tops) == pytest.approx(TOP + 0.05 * (HEIGHT - TOP - 48), abs=0.2)
        assert "95.000 ms at most" in drawn.description


@pytest.mark.parametrize(("spread", "is_far"), [(0.1, False), (2.0, True)])
def test_a_histogram_is_logarithmic_where_latencies_reach_far(spread, is_far):
    run = profile_pages.samples(500, spread=spread, warmup=0)
    drawn = latency.latency_histogram("k", "t", run.latency_ms, [])
    said = [shape.text for shape in drawn.shapes if hasattr(shape, "text")]
    assert ("latency, ms, logarithmic" in said) is is_far


@pytest.mark.parametrize(
    ("scale", "places"),
    [
        (axes.linear(0.0, 9.2), {0.0: 0.0, 5.0: 0.5, 10.0: 1.0, 11.0: 1.0}),
        (axes.linear(3.0, 3.0), {3.0: 0.0}),
        (axes.spanning(0.0, 3.2), {1.6: 0.5, 3.2: 1.0}),
        (axes.logarithmic(0.12, 70.0), {0.1: 0.0, 100.0: 1.0, 10.0**0.5: 0.5}),
        (axes.logarithmic(1.0, 1.0), {1.0: 0.0, 2.0: 1.0}),
    ],
)
def test_a_value_is_drawn_where_its_scale_says(scale, places):
    for value, place in places.items():
        assert scale.place(value) == pytest.approx(place)
    ticks = [tick.value for tick in scale.ticks]
    assert ticks == sorted(ticks)
    assert 2 <= len(ticks) <= 8
    assert all(scale.low <= tick <= scale.high * (1 + 1e-9) for tick in ticks)


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(1e-6, 1e6),
    ratio=st.floats(1.0, 1e6),
    make=st.sampled_from([axes.linear, axes.spanning, axes.logarithmic]),
)
def test_a_scale_holds_all_values_and_few_labels(low, ratio, make):
    scale = make(low, low * ratio)
    assert scale.low <= low * (1 + 1e-9)
    assert scale.high >= low * ratio * (1 - 1e-9)
    assert len(scale.ticks) <= 14
    assert np.all(np.diff([scale.place(tick.value) for tick in scale.ticks]) > 0)


def test_the_verb_writes_a_page_that_only_its_owner_reads(tmp_path, capsys):
    bundle = tiny_bundle.write(tmp_path / "lobby.fasb")
    path = tmp_path / "out.html"
    words = ["profile", bundle, "--seconds", 0.05, "--threads", 1, "--unsigned", "--html", path]
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    page = parse(path.read_text(encoding="utf-8"))
    assert embedded(page, "profile")["runs"][0]["load"] == "closed"
    assert page.find("h1")[0].text == "Profile of lobby.fasb"
    assert page.find("strong")[0].text in ("TRUSTED.", "NOT TRUSTED.")


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, capsys):
    path = tmp_path / "absent" / "out.html"
    assert main(["profile", "no.fasb", "--html", str(path)]) == 2
    assert "its folder does not exist" in capsys.readouterr().err
