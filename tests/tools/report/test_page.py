"""Report page: the record's numbers and nothing else, without network requests."""

from __future__ import annotations

import base64
import re
import sys
from importlib.resources import files

import cv2
import numpy as np
import pytest

from fasdk.capture import Capture, Modality
from fasdk.preprocess import DepthEncoding, DepthPolarity
from fasdk_tools.cli import main
from fasdk_tools.report.charts import axes, drawing
from fasdk_tools.report.charts.error_rates import Bar, Threshold, bars, histogram
from fasdk_tools.report.environment import environment
from fasdk_tools.report.thumbnails import thumbnail

from support.bright_captures import (
    BONA_FIDE,
    row,
    tiny_bundle,
    write_bundle_seen,
    write_silent_bundle,
)
from support.report_page import (
    embedded,
    fetches_nothing,
    make_report,
    resolve,
    says_what_it_is,
)


@pytest.fixture(scope="session")
def evaluated(report):
    return report.page, report.text, report.document


def test_the_page_embeds_the_very_document_of_stdout(evaluated):
    page, _, document = evaluated
    assert embedded(page) == document


def test_every_figure_on_the_page_is_the_documents(evaluated):
    page, _, document = evaluated
    shown = page.find("data")
    assert len(shown) > 300
    for element in shown:
        value = resolve(document, element.attributes["data-path"])
        assert element.attributes["value"] == str(value)
        assert element.text == written(value, element.text)


def written(value, shown: str) -> str:
    """Return a figure as the page must write it, by the form that it was found in."""
    if isinstance(value, str):
        return value
    if shown.endswith(" %"):
        return f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}"


def test_no_number_stands_in_a_table_but_through_the_document(evaluated):
    page, _, _ = evaluated
    cells = page.find("td", "number")
    assert len(cells) > 200
    for cell in cells:
        rest = cell.text
        for figure in cell.find("data"):
            rest = rest.replace(figure.text, "", 1)
        assert not re.search(r"\d", rest), cell.text


def test_every_rate_of_the_document_is_on_the_page(evaluated):
    page, _, document = evaluated
    shown = {element.attributes["data-path"] for element in page.find("data")}
    for number, case in enumerate(document["cases"]):
        for index, point in enumerate(case["figures"]["thresholds"]):
            base = f"/cases/{number}/figures/thresholds/{index}"
            assert f"{base}/overall/bpcer/errors" in shown
            assert f"{base}/threshold" in shown
            for species in range(len(point["overall"]["apcer"])):
                for name in ("rate", "lower", "upper", "errors", "attempts"):
                    assert f"{base}/overall/apcer/{species}/{name}" in shown
            for domain in range(len(point["domains"])):
                assert f"{base}/domains/{domain}/decisions/bpcer/rate" in shown
        if case["figures"]["separation"]:
            assert f"/cases/{number}/figures/separation/auc/value" in shown


def test_report_fetches_nothing_and_runs_no_script(evaluated):
    page, text, _ = evaluated
    fetches_nothing(page, text)


def test_every_table_image_and_drawing_says_what_it_is(evaluated):
    page, _, _ = evaluated
    says_what_it_is(page, drawings=2 * 3)


def test_the_worst_captures_are_shown_with_every_modality(evaluated):
    page, _, document = evaluated
    images = page.find("img")
    assert len(images) == 3 * len(document["worst"]) == 3 * 2 * 12
    for image in images:
        data = base64.b64decode(image.attributes["src"].removeprefix("data:image/png;base64,"))
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None


HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def report_of(folder, *arguments, **settings):
    made = make_report(folder, *arguments, **settings)
    return made.page, made.text, made.document


def test_names_from_a_list_cannot_become_markup(tmp_path):
    rows = [
        row(200, BONA_FIDE, name="a & b", subject="<b>", domain='"quoted"'),
        row(100, HOSTILE, name="<!-- c", presentation=HOSTILE, subject=HOSTILE),
        row(140, "print\u2028" + "long name " * 8),
    ]
    page, text, document = report_of(tmp_path, rows=rows)
    assert embedded(page) == document
    assert document["worst"][1]["species"] == HOSTILE
    assert len(page.find("script")) == 1
    assert "<script>alert" not in text
    assert all(image.attributes["src"].startswith("data:") for image in page.find("img"))


def test_characters_that_turn_the_direction_of_writing_are_written_out(tmp_path):
    turned = "gpj.\u202eevil\u2066x\u2069"
    rows = [
        row(200, BONA_FIDE, name="a\u200fb", subject=turned, domain="d\u202ee"),
        row(100, turned, name="c\u061cd"),
        row(140, "zero-width\u200cjoiner", name="e\u2028f"),
    ]
    page, text, document = report_of(tmp_path, rows=rows)
    assert embedded(page) == document
    assert document["worst"][1]["species"] == turned
    assert not re.search("[\u200e\u200f\u061c\u2028\u202a-\u202e\u2066-\u2069]", text)
    assert any(r"gpj.\u202eevil\u2066x\u2069" in each.text for each in page.find("strong"))
    assert any(r"d\u202ee" in each.text for each in page.find("th"))
    assert "zero-width\u200cjoiner" in text


def test_every_value_of_every_template_is_escaped_and_plain():
    made = environment().from_string("<p title=\"{{ x }}\">{{ x }}{{ [x, x]|join(' ') }}</p>")
    shown = r"&lt;\u202e&#34;\x1b"
    assert made.render(x='<\u202e"\x1b') == f'<p title="{shown}">{shown}{shown} {shown}</p>'


def test_without_jinja2_the_option_is_refused_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    report = str(tmp_path / "report.html")
    words = ["evaluate", "x.fasb", "--protocol", "list.jsonl", "--report", report]
    assert main(words) == 2
    assert "--report needs jinja2" in (said := capsys.readouterr().err)
    assert "pip install '.[report]'" in said


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: tiny_bundle.write(path, operating_points=()), "has no operating point"),
        (lambda path: write_bundle_seen(path, ["person of a"]), "as was allowed"),
        (
            lambda path: tiny_bundle.write(
                path, operating_points=(tiny_bundle.point(threshold=0.01),)
            ),
            "above the bound the threshold came with",
        ),
        (write_silent_bundle, "captures without a score"),
    ],
)
def test_report_puts_warnings_at_the_top(tmp_path, make, said):
    rows = [row(200, BONA_FIDE, name="a"), *(row(50 + 5 * i, "print") for i in range(12))]
    rows.append(row(5, "print"))
    page, _, _ = report_of(
        tmp_path, make(tmp_path / "made.fasb"), rows=rows, options=["--allow-overlap"]
    )
    short = page.find("section")[0]
    assert any(said in warning.text for warning in short.find("div", "warning"))


def test_without_two_classes_the_report_still_stands(tmp_path):
    rows = [row(level, "print") for level in (40, 60, 160)]
    page, _, document = report_of(tmp_path, rows=rows, options=["--worst", 0])
    assert document["cases"][0]["figures"]["separation"] is None
    assert not page.find("img")
    assert any("no bona fide presentation" in p.text for p in page.find("p", "warning"))


@pytest.mark.parametrize(
    ("scale", "places"),
    [
        (axes.linear_percent(), {0.0: 0.0, 0.25: 0.25, 1.0: 1.0, 1.5: 1.0}),
        (axes.log_odds_scale(10.0), {0.5: 0.5, axes.logistic(5): 0.75, 0.0: 0.0, 1.0: 1.0}),
        (axes.normal_deviate(0.005), {0.005: 0.0, 0.6: 1.0, 0.0: 0.0, 1.0: 1.0}),
        (axes.normal_deviate(1.0), {0.2: 0.0, 0.6: 1.0}),  # classes told apart without an error
    ],
)
def test_a_value_is_drawn_where_its_scale_says_and_never_outside(scale, places):
    for value, place in places.items():
        assert scale.place(value) == pytest.approx(place)


def svg(drawn: drawing.Drawing) -> str:
    return environment().get_template("chart.html").module.svg(drawn)


def test_a_threshold_is_drawn_between_the_bins_it_parts():
    counts = [0] * 40
    drawn = svg(histogram("k", "t", 10.0, counts, counts, [Threshold("standard", 0.5)]))
    (at,) = re.findall(r'class="threshold" d="M([\d.]+) ', drawn)
    assert float(at) == pytest.approx((drawing.LEFT + drawing.WIDTH - drawing.RIGHT) / 2, abs=0.1)
    assert "standard at 0.5000" in drawn


@pytest.mark.parametrize(("rate", "upper"), [(0.0, 0.05), (0.5, 0.7), (1.0, 1.0)])
def test_a_bar_ends_at_its_rate_and_its_whisker_at_its_bounds(rate, upper):
    bar = Bar("print", rate, rate / 2, upper, "1/2", is_bona_fide=False)
    drawn = svg(bars("k", "t", [bar]))
    start, end = map(
        float, re.search(r'class="bar attack" d="M([\d.]+) [\d.]+H([\d.]+)', drawn).groups()
    )
    low, high = map(
        float, re.search(r'class="whisker" d="M([\d.]+) [\d.]+H([\d.]+)', drawn).groups()
    )
    span = axes.share_percent(upper).high
    width = (high - start) / upper * span
    assert end - start == pytest.approx(rate / span * width, abs=0.2)
    assert low - start == pytest.approx(rate / 2 / span * width, abs=0.2)


def test_depth_is_shown_as_the_model_sees_it():
    depth = np.full((60, 80), 400, np.uint16)
    depth[:, 40:] = 700
    capture = Capture(depth=depth, face=(10, 10, 20, 20))
    encoding = DepthEncoding(near_mm=250, far_mm=750, polarity=DepthPolarity.NEAR_BRIGHT)
    for given in (encoding, None):
        uri = thumbnail(capture, Modality.DEPTH, given)
        data = base64.b64decode(uri.partition(",")[2])
        shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert shown.shape == (112, 149)
        assert shown[5, 5] > shown[5, -5]  # the near half is brighter
        assert shown[int(10 * 112 / 60), 30] == 255  # the face box's edge


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_and_lines_stand_out_from_what_is_behind_them(scheme):
    style = files("fasdk_tools.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    light, dark, paper = (dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks)
    colors = {"light": light, "dark": light | dark, "print": light | paper}[scheme]
    for back in ("page", "panel"):
        for front in ("text", "quiet", "bona"):
            assert contrast(colors[front], colors[back]) >= 4.5, (front, back)
        for line in range(8):  # WCAG 2.2, 1.4.11: graphics need less than text
            assert contrast(colors[f"line-{line}"], colors[back]) >= 3, (line, back)
    assert contrast(colors["warn-text"], colors["warn-page"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors, WCAG 2.2."""
    light = []
    for color in (one, other):
        parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ (0.2126, 0.7152, 0.0722)))
    return (max(light) + 0.05) / (min(light) + 0.05)
