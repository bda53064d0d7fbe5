"""What a report says of an evaluation and of a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fasdk_tools.report.evidence import sheet_parts
from fasdk_tools.report.parts import (
    Absent,
    Cell,
    Facts,
    Figure,
    Heading,
    Notice,
    Part,
    Sentences,
    Table,
    numbers,
    words,
)

Place = tuple[str | int, ...]


def evaluation_parts(record: Mapping[str, Any], at: Place, number: str) -> Iterator[Part]:
    """Yield the parts of an evaluation.

    Args:
        record: The evaluation, as the report's document holds it.
        at: Where it stands there.
        number: Number of the record, for captions.
    """
    if record["overlap"]:
        yield Notice(
            "warning",
            "These lists hold people seen before, as was allowed: every figure is likely too good.",
        )
    yield Facts(
        [
            ("Run on", record["backend"]),
            ("Counted", f"{record['unit']}s"),
            ("Trained on", record["source"]),
        ]
    )
    fields = ("captures", "presentations", "subjects", "bona_fide", "attacks")
    yield (
        Table(
            f"Lists of evaluation {number}",
            [
                *words("List"),
                *numbers("Captures", "Presentations", "People", "Bona fide", "Attacks"),
                *words("Species", "SHA-256"),
            ],
            [
                [
                    each["name"],
                    *(Figure("whole", (*at, "lists", i, field)) for field in fields),
                    ", ".join(each["species"]) or None,
                    each["sha256"],
                ]
                for i, each in enumerate(record["lists"])
            ],
        )
        if record["lists"]
        else Absent("The record names no list.")
    )
    for i, case in enumerate(record["cases"]):
        yield from _case(case, (*at, "cases", i), number)
    if record["evidence"] is not None:
        sheet = record["evidence"]
        yield Heading(f"Evidence sheet {number}: {sheet['title']}")
        yield from sheet_parts(sheet, (*at, "evidence"), number)
    yield Heading(f"What evaluation {number} does not show")
    yield Sentences(record["limits"])


def _case(case: Mapping[str, Any], at: Place, number: str) -> Iterator[Part]:
    taken = "" if case["missing"] == "none" else f" without {case['missing']}"
    name = f"{case['list']}{taken} ({'+'.join(case['modalities'])})"
    thresholds = case["figures"]["thresholds"]
    if not thresholds:
        yield Absent(f"{name}: no rate without a threshold: {case['thresholds_note']}")
        return
    where = (*at, "figures", "thresholds", 0, "overall")
    found = thresholds[0]["overall"]
    rows = [
        _rate(f"APCER, {each['species']}", (*where, "apcer", i))
        for i, each in enumerate(found["apcer"])
    ]
    if found["bpcer"] is not None:
        rows.append(_rate("BPCER", (*where, "bpcer")))
    if rows:
        yield Table(
            f"Evaluation {number}: {name} at {thresholds[0]['name']}; bounds two-sided, 95 %",
            [*words("Rate of"), *numbers("Rate", "From", "To", "Errors", "Presentations")],
            rows,
        )


def _rate(name: str, at: Place) -> list[Cell]:
    return [
        name,
        *(Figure("percent", (*at, field)) for field in ("rate", "lower", "upper")),
        *(Figure("whole", (*at, field)) for field in ("errors", "attempts")),
    ]


def profile_parts(record: Mapping[str, Any], at: Place, number: str) -> Iterator[Part]:
    """Yield the parts of a profile; arguments as of `evaluation_parts`."""
    if record["trusted"] is None:
        yield Notice("note", "Not judged: the machine was not watched during the measurement.")
    elif record["trusted"]:
        yield Notice("good", "TRUSTED: the machine was watched, and nothing speaks against it.")
    else:
        yield Notice("warning", f"NOT TRUSTED: {'; '.join(record['reasons'])}")
    yield Facts(
        [
            ("Run on", f"{record['backend']} {record['version']}"),
            ("Precision", record["precision"]),
            ("Frames became tensors on the", record["preprocess"]),
            ("Different captures", Figure("whole", (*at, "captures"))),
        ]
    )
    yield (
        Table(
            f"Profile {number}: latency in ms from due time to answer; p50 and p99 with their "
            "one-sided 95 % bounds",
            [
                *words("Load"),
                *numbers("Batch", "Lanes", "Calls", "p50", "At most", "p99", "At most", "Largest"),
            ],
            [_run(run, (*at, "runs", i)) for i, run in enumerate(record["runs"])],
        )
        if record["runs"]
        else Absent("The profile has no run.")
    )


def _run(run: Mapping[str, Any], at: Place) -> list[Cell]:
    latency: list[Cell] = []
    for name in ("p50", "p99"):
        held = run["end_to_end"][name] is not None
        latency += [
            Figure("thousandths", (*at, "end_to_end", name, field)) if held else None
            for field in ("ms", "upper_ms")
        ]
    return [
        run["load"],
        *(Figure("whole", (*at, field)) for field in ("batch", "lanes", "calls")),
        *latency,
        Figure("thousandths", (*at, "end_to_end", "max_ms")),
    ]
