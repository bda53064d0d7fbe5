"""What a report says of a bundle, section by section; what is absent says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from fasdk_tools.model_card.measured import evaluation_parts, profile_parts
from fasdk_tools.report.figures import Figures, write
from fasdk_tools.report.parts import (
    Absent,
    Cell,
    Facts,
    Figure,
    Heading,
    Notice,
    Part,
    Section,
    Sentences,
    Table,
    numbers,
    words,
)

SIGNATURE: Final = ("Name", "Role", "Date", "Signature")
NAMES: Final = (
    "Identity",
    "Provenance",
    "Precision map",
    "Operating points",
    "Tuning",
    "Evaluation",
    "Calibration",
    "Profile",
    "Commissioning",
    "Verification",
)
"""Titles of a bundle's sections, in order."""


@dataclass(frozen=True)
class BundleSections:
    """A bundle's part of a report.

    Attributes:
        key: Id of its heading.
        title: Name of the bundle's file.
        sections: Its sections, those of `NAMES`.
    """

    key: str
    title: str
    sections: list[Section]

    @property
    def absent(self) -> list[str]:
        """Titles of the sections that hold nothing but that they are absent."""
        return [
            section.title
            for section in self.sections
            if all(isinstance(part, Absent) for part in section.parts)
        ]


def bundle_sections(document: Mapping[str, Any]) -> list[BundleSections]:
    """Return the sections of every bundle of a report's document."""
    found, figures = [], Figures(document)
    for index, bundle in enumerate(document["bundles"]):
        at: tuple[str | int, ...] = ("bundles", index)
        parts: list[list[Part]] = [
            _shown(_identity(bundle, at), figures),
            _shown(_provenance(bundle), figures),
            _shown(_precision(bundle, at), figures),
            _shown(_operating_points(bundle, at), figures),
            _shown(_tuning(bundle, at), figures),
            _shown(_records(bundle, "evaluations", at, index), figures),
            _shown(_calibration(bundle, at), figures),
            _shown(_records(bundle, "profiles", at, index), figures),
            [
                Absent(
                    "No record of a commissioning on site was given: nothing here says how the "
                    "bundle does on a door's own camera."
                )
            ],
            _shown(_verification(bundle, at), figures),
        ]
        found.append(
            BundleSections(
                key=f"bundle-{index}",
                title=_name(bundle),
                sections=[
                    Section(f"bundle-{index}-{title.lower().replace(' ', '-')}", title, each)
                    for title, each in zip(NAMES, parts, strict=True)
                ],
            )
        )
    return found


def _shown(parts: Iterable[Part], figures: Figures) -> list[Part]:
    """Return the parts of a section, or a warning where a record in the bundle lacks something.

    The documents in a bundle are as whoever signed it wrote them, and unsigned by anyone.
    """
    try:
        found = [*parts]
        for cell in chain.from_iterable(map(_cells, found)):
            if isinstance(cell, Figure):
                if (value := figures.get(cell.path)) is not None:
                    write(cell.form, value)
            elif not isinstance(cell, str | None):
                raise TypeError(f"{cell!r} is no text")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        text = (
            "What the bundle holds on this is not as this release writes it, so nothing of it is "
            f"shown ({type(error).__name__}: {error}): build or tune it again."
        )
        return [Notice("warning", text)]
    return found


def _cells(part: Part) -> Iterator[Cell]:
    match part:
        case Facts():
            yield from (value for _, value in part.pairs)
        case Table():
            yield from chain.from_iterable(part.rows)
        case Sentences():
            yield from part.texts


def signing_parts(document: Mapping[str, Any]) -> list[Part]:
    """Return what stands on the page to sign, before the lines for the signature."""
    rows: list[list[Cell]] = []
    for bundle in document["bundles"]:
        rows.append([_name(bundle), "bundle: SHA-256 of its manifest", bundle["id"]])
        rows += [
            [Path(record["path"]).name, f"{record['kind']}: SHA-256 of the file", record["sha256"]]
            for record in bundle["records"]
        ]
    return [
        Facts(
            [
                ("Signed is the report of", document["made"]),
                ("Made by", document["tool"]),
                ("SHA-256 of its document", document["sha256"]),
            ]
        ),
        Sentences(
            [
                "The document is the JSON inside this report's page, also what --json prints. Its "
                "digest is of its canonical form (sorted keys, no spaces, UTF-8) without the key "
                "sha256.",
                "Who signs has read the sections above, those that say what is absent among them. "
                "The signature is no certification by anyone.",
            ]
        ),
        Table("What the report is about", words("File", "Digest of", "Digest"), rows),
    ]


def _name(bundle: Mapping[str, Any]) -> str:
    return Path(bundle["path"]).name


def _figure(form: str, at: Sequence[str | int], *path: str | int) -> Figure:
    return Figure(form, (*at, *path))


def _identity(bundle: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[Part]:
    manifest = bundle["manifest"]
    if bundle["signed_by"]:
        yield Notice("good", f"Signed by trusted key {bundle['signed_by']}.")
    elif bundle["has_signature"]:
        yield Notice("warning", "The signature was not checked: the bundle was opened unsigned.")
    else:
        yield Notice("warning", "The bundle has no signature: whoever wrote the file is trusted.")
    yield Facts(
        [
            ("File", bundle["path"]),
            ("Id", bundle["id"]),
            ("Size in bytes", _figure("whole", at, "size_bytes")),
            ("Trust", bundle["trust"]),
            ("Signed by", bundle["signed_by"]),
            ("Product", manifest["product"]),
            ("Revision", _figure("whole", at, "manifest", "revision")),
            ("Model", f"{manifest['model']['family']} ({manifest['model']['published_in']})"),
            ("Parameters", _figure("whole", at, "manifest", "model", "parameters")),
            ("Modalities", ", ".join(manifest["modalities"])),
            ("Required", ", ".join(manifest["required"]) or "none of them"),
            *(
                (name.capitalize(), text)
                for name, text in bundle["summary"].items()
                if not name.startswith("note ")
            ),
        ]
    )
    rows: list[list[Cell]] = [
        [
            each["name"],
            _figure("whole", at, "members", i, "size_bytes"),
            each["sha256"] or "none, it is the signature",
        ]
        for i, each in enumerate(bundle["members"])
    ]
    columns = [*words("Member"), *numbers("Bytes"), *words("SHA-256")]
    yield Table(f"Members of {_name(bundle)}", columns, rows)


def _provenance(bundle: Mapping[str, Any]) -> Iterator[Part]:
    provenance = bundle["manifest"]["provenance"]
    yield Facts(
        [
            ("Checkpoint, SHA-256", provenance["checkpoint_sha256"]),
            *((f"Built with {name}", text) for name, text in provenance["tools"].items()),
        ]
    )
    if provenance["notes"]:
        yield Sentences(provenance["notes"])
    yield Absent("What the model was trained on is not recorded in a bundle.")


def _precision(bundle: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[Part]:
    manifest, record = bundle["manifest"], bundle["calibration"]
    yield Facts([("Precision of the graph", manifest["precision"])])
    layers = None if record is None else record.get("layers")
    if not layers:
        yield Absent(
            "There is no map by layer: only a build in INT8 records what each layer computes in."
        )
        return
    yield Facts(
        [
            ("Share of the work in INT8", _figure("percent", at, "calibration", "int8_share")),
        ]
    )
    # Counted here, so they are no figures of the document.
    counted = Counter((each["operator"], _computes_in(each)) for each in layers)
    rows: list[list[Cell]] = [
        [op, how, f"{count:,}"] for (op, how), count in sorted(counted.items())
    ]
    columns = [*words("Operator", "Computes in"), *numbers("Layers")]
    yield Table(f"Layers of {_name(bundle)} by operator", columns, rows)
    kept = [each for each in layers if not each["quantized"]]
    if kept:
        yield Table(
            f"Layers of {_name(bundle)} that are not in INT8",
            words("Layer", "Operator", "Why"),
            [[each["name"], each["operator"], _why(each)] for each in kept],
        )


def _computes_in(layer: Mapping[str, Any]) -> str:
    if not layer["quantized"]:
        return "floating point"
    return "INT8, two terms" if layer["is_residual"] else "INT8"


def _why(layer: Mapping[str, Any]) -> str:
    return f"{layer['reason']} ({layer['detail']})" if layer["detail"] else str(layer["reason"])


def _operating_points(bundle: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[Part]:
    manifest = bundle["manifest"]
    if not manifest["operating_points"]:
        yield Absent(
            f"No operating point ({manifest['operating_points_note']}): every answer of a device "
            "is ERROR. Run `fasdk tune`."
        )
        return
    yield Facts([("Source", manifest["operating_points_note"])])
    where = (*at, "manifest", "operating_points")
    yield Table(
        f"Operating points of {_name(bundle)}; the bound is one-sided, 95 %, of the worst species",
        [
            *words("Level", "Modalities"),
            *numbers("LIVE above", "APCER at most"),
            *words("Score", "Chosen on"),
        ],
        [
            [
                point["level"],
                "+".join(point["modalities"]),
                _figure("score", where, i, "threshold"),
                _figure("percent", where, i, "apcer_upper"),
                "calibrated" if point["calibrated"] else "softmax, not calibrated",
                point["source"],
            ]
            for i, point in enumerate(manifest["operating_points"])
        ],
    )
    if manifest["sequential_tests"]:
        tests = (*at, "manifest", "sequential_tests")
        yield Table(
            f"Verdicts of {_name(bundle)} on several frames",
            [*words("Level", "Modalities"), *numbers("Frames at most", "ms", "APCER at most")],
            [
                [
                    test["level"],
                    "+".join(test["modalities"]),
                    _figure("whole", tests, i, "max_frames"),
                    _figure("rate", tests, i, "max_ms"),
                    _figure("percent", tests, i, "apcer_upper"),
                ]
                for i, test in enumerate(manifest["sequential_tests"])
            ],
        )


def _tuning(bundle: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[Part]:
    record = bundle["tuning"]
    if record is None or record.get("kind") != "tuned":
        yield Absent(
            "The thresholds, if any, were not tuned with bounds: run `fasdk tune` on captures of "
            "your doors."
        )
        return
    where = (*at, "tuning")
    yield Facts(
        [
            ("List", record["list"]),
            ("List, SHA-256", record["list_sha256"]),
            ("Captures", _figure("whole", where, "captures")),
            ("Presentations", _figure("whole", where, "presentations")),
            ("Domains", ", ".join(record["domains"])),
            ("From bundle", record["from_bundle"]),
            ("Method", record["method"]),
        ]
    )
    if record["notes"]:
        yield Sentences(record["notes"])
    for i, subset in enumerate(record["subsets"]):
        for j, level in enumerate(subset["levels"]):
            yield _tuned_level(bundle, subset, level, (*where, "subsets", i, "levels", j))
        if subset["refused"]:
            yield Heading(f"Levels that {'+'.join(subset['modalities'])} does not support")
            yield Sentences([f"{each['level']}: {each['reason']}" for each in subset["refused"]])


def _tuned_level(
    bundle: Mapping[str, Any],
    subset: Mapping[str, Any],
    level: Mapping[str, Any],
    where: tuple[str | int, ...],
) -> Part:
    def row(name: str, *path: str) -> list[Cell]:
        at = (*where, *path)
        return [
            name,
            _figure("percent", at, "rate"),
            _figure("percent", at, "one_sided_upper"),
            _figure("whole", at, "errors"),
            _figure("whole", at, "attempts"),
        ]

    rows = [row(f"APCER, {species}", "apcer", species) for species in level["apcer"]]
    return Table(
        f"Rates of {_name(bundle)} on the tuning list at {level['level']}, "
        f"{'+'.join(subset['modalities'])}; bounds one-sided, 95 %",
        [*words("Rate of"), *numbers("Rate", "At most", "Errors", "Presentations")],
        [*rows, row("BPCER", "bpcer")],
    )


def _calibration(bundle: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[Part]:
    record, manifest = bundle["calibration"], bundle["manifest"]
    calibrations = manifest["score_calibrations"]
    if calibrations:
        where = (*at, "manifest", "score_calibrations")
        yield Heading("Of scores")
        yield Table(
            f"Scores of {_name(bundle)} to probabilities: a logistic on the log-odds",
            [*words("Modalities"), *numbers("Slope", "Offset"), *words("Fitted on")],
            [
                [
                    "+".join(each["modalities"]),
                    _figure("score", where, i, "slope"),
                    _figure("score", where, i, "offset"),
                    each["source"],
                ]
                for i, each in enumerate(calibrations)
            ],
        )
    else:
        yield Absent("Scores are not calibrated to probabilities.")
    if record is None or "list" not in record:
        yield Absent("No calibration of INT8 ranges: the graph was not quantized.")
        return
    yield Heading("Of INT8 ranges")
    where = (*at, "calibration")
    yield Facts(
        [
            ("List", record["list"]),
            ("Captures in it", _figure("whole", where, "listed")),
            ("Captures chosen", _figure("whole", where, "captures")),
            ("People in them", _figure("whole", where, "subjects")),
            ("Method", record["method"]),
            ("Candidates tried", _figure("whole", where, "trials")),
            ("Budget held on", record["development"]),
        ]
    )
    budget = record["budget"]
    if budget is None:
        yield Absent("The budget was not evaluated: built without --development captures.")
        return
    each_at = (*where, "budget", "combinations")
    yield Table(
        f"What INT8 changed in {_name(bundle)}, on the budget's list",
        [
            *words("Modalities"),
            *numbers("Captures", "Flips", "Largest drift", "Mean drift"),
        ],
        [
            [
                each["modalities"],
                _figure("whole", each_at, i, "captures"),
                _figure("whole", each_at, i, "flips"),
                _figure("score", each_at, i, "largest_drift"),
                _figure("score", each_at, i, "mean_drift"),
            ]
            for i, each in enumerate(budget["combinations"])
        ],
    )


def _records(
    bundle: Mapping[str, Any], name: str, at: tuple[str | int, ...], index: int
) -> Iterator[Part]:
    held = bundle[name]
    draw = evaluation_parts if name == "evaluations" else profile_parts
    verb = "evaluate" if name == "evaluations" else "profile"
    if not held:
        yield Absent(
            f"No {name[:-1]} was given: `fasdk {verb} BUNDLE --json > FILE.json`, then --record "
            "FILE.json."
        )
    for number, record in enumerate(held):
        yield from draw(record, (*at, name, number), f"{index + 1}.{number + 1}")


def _verification(bundle: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[Part]:
    found = bundle["verification"]
    if found["ok"]:
        yield Notice(
            "good", "Every digest matches, and the golden captures are reproduced on this machine."
        )
    elif found["ok"] is None:
        yield Notice("note", f"The golden captures were not replayed: {found['reason']}")
    else:
        yield Notice("warning", f"Verification failed: {found['reason']}")
    where = (*at, "verification")
    yield Facts(
        [
            ("Digests", "of every member, compared with the manifest when the file was opened"),
            ("Golden captures", _figure("whole", where, "golden_captures")),
            ("Replayed on", found["backend"]),
            (
                "Largest drift of a score",
                None if found["golden_drift"] is None else _figure("score", where, "golden_drift"),
            ),
            ("Drift allowed", _figure("score", where, "golden_tolerance")),
        ]
    )
