"""Page of a door's figures: pauses, cold starts and a long run, from the document alone."""

from __future__ import annotations

import pytest

from fasdk_tools.profiling.result import ProfileDocument
from fasdk_tools.report.profile import profile_page

from support import door_runs, profile_pages
from support.report_page import embedded, fetches_nothing, parse, resolve, says_what_it_is


@pytest.fixture(scope="module")
def whole():
    document, samples = door_runs.whole()
    text = profile_page(document, samples)
    return parse(text), text, document.model_dump(mode="json")


def test_every_figure_on_the_page_is_the_documents(whole):
    page, text, document = whole
    assert embedded(page, "profile") == document
    shown = page.find("data")
    for element in shown:
        value = resolve(document, element.attributes["data-path"])
        assert element.attributes["value"] == str(value)
    paths = {element.attributes["data-path"] for element in shown}
    assert {
        "/runs/0/idle/pauses/4/median_ms",
        "/runs/0/idle/track/median_ms",
        "/runs/1/cold/parts/first_decision/largest_ms",
        "/runs/1/cold/first/import_ms",
        "/runs/2/soak/minutes/44/temperature_c",
    } <= paths
    fetches_nothing(page, text)
    # Stages; pauses; starts; latency, memory and temperature; time and histogram of the calls.
    says_what_it_is(page, drawings=1 + 1 + 1 + 3 + 2)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("run-1-pauses", "Latency of 100 first decisions: after 0 s median"),
        ("run-2-starts", "start first: interpreter"),
        ("run-3-minutes-latency", "latency, ms over 45 minutes: median 8.05 to 10.25"),
        ("run-3-minutes-memory", "10^6 bytes over 45 minutes"),
        ("run-3-minutes-temperature", "degrees Celsius over 45 minutes"),
    ],
)
def test_a_chart_says_what_it_shows(whole, key, said):
    page, _, _ = whole
    (text,) = [d.text for d in page.find("desc") if d.attributes["id"] == f"{key}-description"]
    assert said in text


def drawing(page, key):
    (found,) = [
        svg
        for svg in page.find("svg")
        if (svg.attributes.get("aria-labelledby") or "").startswith(f"{key}-title")
    ]
    return found


def test_every_first_decision_and_every_start_is_drawn(whole):
    page, _, _ = whole
    (points,) = drawing(page, "run-1-pauses").find("path", "points")
    assert points.attributes["d"].count("h0") == 100
    assert len(drawing(page, "run-2-starts").find("path", "stage")) == 11 * 6


def test_a_long_run_of_one_minute_says_that_it_draws_no_curve():
    calls = profile_pages.samples(60)
    document = profile_pages.document(calls)
    run = door_runs.soak(calls, minutes=1)
    page = parse(profile_page(document.model_copy(update={"runs": (run,)}), [calls]))
    assert any("needs two minutes" in p.text for p in page.find("p"))
    says_what_it_is(page, drawings=1 + 2)


def test_the_document_of_a_door_is_read_back_as_it_was_written():
    document, _ = door_runs.whole()
    assert ProfileDocument.model_validate_json(document.model_dump_json()) == document
