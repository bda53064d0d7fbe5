"""Parts of an evidence sheet, for every form it is shown in. Its statement comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fasdk_tools.report.parts import (
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


def sheet_parts(sheet: Mapping[str, Any], at: Place, number: str = "") -> Iterator[Part]:
    """Yield the parts of a sheet.

    Args:
        sheet: The sheet as a document holds it.
        at: Where it stands there.
        number: Number of the record, for captions that are unique on a page.
    """
    name = f"{number} {sheet['title']}".strip()
    yield Notice("warning", sheet["statement"])
    yield Facts(
        [
            ("Measured on", f"{sheet['list']} ({'+'.join(sheet['modalities'])})"),
            ("Threshold", _threshold(sheet)),
        ]
    )
    if sheet["rates"]:
        yield Table(
            f"{name}: rates with exact 95 % bounds; a claim goes by the one-sided one, and "
            "takes so many more presentations without an error",
            [
                *words("Rate of"),
                *numbers("Rate", "From", "To", "One-sided", "Errors", "Presentations"),
                *numbers("Short of the scheme's", "Limit"),
                *words("Within", "Shown"),
                *numbers("More"),
            ],
            [_rate(row, (*at, "rates", i)) for i, row in enumerate(sheet["rates"])],
        )
    yield Heading("What is short")
    yield Sentences(list(sheet["short"]) or ["Nothing that this sheet can count."])
    if sheet["counts"]:
        yield Table(
            f"{name}: counts that the scheme asks for, and who says so",
            [*words("What"), *numbers("Asked for", "Held", "Short"), *words("Source", "Stated by")],
            [
                [
                    row["what"],
                    *(
                        Figure("whole", (*at, "counts", i, field))
                        for field in ("asked", "held", "short")
                    ),
                    row["source"],
                    row["certainty"],
                ]
                for i, row in enumerate(sheet["counts"])
            ],
        )
    if sheet["limits"]:
        yield Table(
            f"{name}: limits, and who says so",
            [
                *words("Of"),
                *numbers("At most"),
                *words("Within", "Shown by the bound", "Source", "Stated by"),
            ],
            [
                [
                    row["what"],
                    Figure("percent", (*at, "limits", i, "limit")),
                    _answer(row["is_within"]),
                    _answer(row["is_shown"]),
                    row["source"],
                    row["certainty"],
                ]
                for i, row in enumerate(sheet["limits"])
            ],
        )
    yield Heading("Left out because it could not be confirmed")
    yield Sentences(sheet["left_out"])
    yield Heading("How to read it")
    yield Sentences(sheet["notes"])


def _threshold(sheet: Mapping[str, Any]) -> str | None:
    if sheet["threshold"] is None:
        return None
    value = f"{sheet['threshold_value']:.6f}"
    return f"{sheet['threshold']} ({sheet['threshold_kind']}): LIVE above {value}"


def _rate(row: Mapping[str, Any], at: Place) -> list[Cell]:
    def figure(form: str, field: str) -> Cell:
        return None if row[field] is None else Figure(form, (*at, field))

    return [
        f"{row['what']}, {row['of']}",
        *(figure("percent", f) for f in ("rate", "lower", "upper", "one_sided_upper")),
        *(figure("whole", field) for field in ("errors", "attempts", "short")),
        figure("percent", "limit"),
        _answer(row["is_within"]),
        _answer(row["is_shown"]),
        # Of a limit of 0 %, no number of presentations shows it.
        "no number" if row["limit"] == 0.0 else figure("whole", "more"),
    ]


def _answer(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"
