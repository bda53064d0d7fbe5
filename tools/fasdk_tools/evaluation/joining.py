"""Joining of several bundles' evaluations into one protocol's figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.errors import UsageError
from fasdk_calibration.error_rates import ThresholdKind
from fasdk_calibration.protocols import PROTOCOLS, missing_name
from fasdk_tools.evaluation.record import DOCUMENT, DOCUMENT_VERSION, ProtocolFamily


@dataclass(frozen=True)
class BundleTest:
    """Figures of one test of one bundle, counted in one unit; shares in [0, 1].

    Attributes:
        test: Names of the test lists.
        missing: Modalities taken away, such as "depth+ir", or "none".
        unit: Unit that is counted.
        counted: Number of such units.
        bundle: Id of the bundle.
        model: Name of its model family.
        trained_on: What it was trained on, in words, or None.
        auc: Area under the ROC curve.
        hter_at_eer: HTER where the test's own error rates meet.
        hter_at_development: HTER at the threshold of development captures, or None without one.
        hter_at_fixed: HTER at the protocol's own number, or None without one.
        worst_apcer: Worst species' APCER at the development threshold, or None.
        worst_species: That species, or None.
        bpcer: BPCER at the development threshold, or None.
        tpr_at_fpr: TPR by the share of all attacks accepted.
    """

    test: str
    missing: str
    unit: str
    counted: int
    bundle: str
    model: str
    trained_on: str | None
    auc: float
    hter_at_eer: float
    hter_at_development: float | None
    hter_at_fixed: float | None
    worst_apcer: float | None
    worst_species: str | None
    bpcer: float | None
    tpr_at_fpr: dict[str, float]


@dataclass(frozen=True)
class JoinedFamily:
    """A protocol's figure over several bundles: the mean of their tests.

    Attributes:
        family: P1, P2 or P3.
        question: Question the protocol asks, in words.
        unit: Unit that all figures count.
        tests: Tests it is the mean of.
        hter_at_eer: HTER where each test's own error rates meet; with rows as the unit what
            published tables call HTER.
        hter_at_development: HTER at the thresholds of development captures, or None where a test
            has none.
        auc: Area under the ROC curve.
    """

    family: str
    question: str
    unit: str
    tests: tuple[BundleTest, ...]
    hter_at_eer: float
    hter_at_development: float | None
    auc: float


def read_evaluation(path: Path) -> dict[str, Any]:
    """Return the document that `fasdk evaluate --json` printed into a file.

    Raises:
        UsageError: It cannot be read, or is no such document of this version.
    """
    try:
        document = json.loads(read_bounded(path, FileKind.SCORES))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no JSON document: {error}") from error
    if not isinstance(document, dict) or document.get("document") != DOCUMENT:
        raise UsageError(f"{path} is no evaluation: give what `fasdk evaluate --json` printed")
    if document.get("version") != DOCUMENT_VERSION:
        raise UsageError(
            f"{path} is an evaluation of layout {document.get('version')}, expected "
            f"{DOCUMENT_VERSION}: run `fasdk evaluate --json` again"
        )
    return document


def read_figures(document: Mapping[str, Any], where: str) -> tuple[BundleTest, ...]:
    """Return an evaluation's figures, one entry for everything taken away.

    Of several test lists those of all together are returned. What lacks a class has no figures.

    Args:
        document: Document of an evaluation.
        where: Where it was read, for messages.

    Raises:
        UsageError: It is not whole, or captures of one test hold different modalities.
    """
    try:
        last = document["cases"][-1]["list"]  # all lists together, where there are several
        cases = [case for case in document["cases"] if case["list"] == last]
        names = [case["missing"] for case in cases]
        mixed = sorted({name for name in names if names.count(name) > 1})
        if mixed:
            raise UsageError(
                f"{where}: captures of {last} hold different modalities without {mixed[0]}: no one "
                "figure stands for them"
            )
        return tuple(
            _figures(document, case) for case in cases if case["figures"]["separation"] is not None
        )
    except (KeyError, IndexError, TypeError, StopIteration) as error:
        raise UsageError(f"{where} is no whole evaluation: {error!r} is not as expected") from error


def _figures(document: Mapping[str, Any], case: Mapping[str, Any]) -> BundleTest:
    found = case["figures"]
    separation = found["separation"]
    at = {each["kind"]: each["overall"] for each in found["thresholds"]}
    development = at.get(ThresholdKind.DEVELOPMENT.value)
    return BundleTest(
        test=case["list"],
        missing=case["missing"],
        unit=document["unit"],
        counted=found["bona_fide"] + found["attacks"],
        bundle=document["bundle"]["id"],
        model=document["bundle"]["model"],
        trained_on=document["source"],
        auc=separation["auc"]["value"],
        hter_at_eer=separation["hter_at_eer"]["value"],
        hter_at_development=_hter(development),
        hter_at_fixed=_hter(at.get(ThresholdKind.FIXED.value)),
        worst_apcer=None if development is None else development["worst_apcer"]["rate"],
        worst_species=None if development is None else development["worst_species"],
        bpcer=None if development is None else development["bpcer"]["rate"],
        tpr_at_fpr={f"{each['target']:g}": each["tpr"] for each in separation["tpr_at_fpr"]},
    )


def _hter(overall: Mapping[str, Any] | None) -> float | None:
    return None if overall is None else float(overall["hter"]["value"])


def join_family(family: ProtocolFamily, paths: Sequence[Path]) -> JoinedFamily:
    """Return a protocol's figure over the evaluations of several bundles.

    Args:
        family: Protocol.
        paths: Documents of `fasdk evaluate --json`, one a bundle.

    Raises:
        UsageError: Fewer than two documents, or they do not make the protocol: one lacks a test of
            it, two are of one bundle or of one test, or models or units differ.
    """
    if len(paths) < 2:
        raise UsageError(
            f"--family {family.value} joins the evaluations of several bundles: give two or more"
        )
    protocol = next(p for p in PROTOCOLS if p.name == family.value)
    asked = [missing_name(missing) for missing in protocol.missing]
    found: dict[Path, list[BundleTest]] = {}
    for path in paths:
        if path in found:
            raise UsageError(f"{path} is given twice: its tests would count twice")
        by_missing = {each.missing: each for each in read_figures(read_evaluation(path), str(path))}
        absent = [name for name in asked if name not in by_missing]
        if absent:
            raise UsageError(
                f"{path} has no figures without {absent[0]}, which {family.value} asks for: run "
                f"`fasdk evaluate ... --family {family.value} --json` on a list with both classes"
                if absent[0] != "none"
                else f"{path} has no figures: its list lacks a class"
            )
        found[path] = [by_missing[name] for name in asked]
    _require_one_protocol(family, found)
    tests = tuple(each for figures in found.values() for each in figures)
    at_development = [t.hter_at_development for t in tests if t.hter_at_development is not None]
    return JoinedFamily(
        family=family.value,
        question=family.question,
        unit=tests[0].unit,
        tests=tests,
        hter_at_eer=float(np.mean([test.hter_at_eer for test in tests])),
        hter_at_development=float(np.mean(at_development))
        if len(at_development) == len(tests)
        else None,
        auc=float(np.mean([test.auc for test in tests])),
    )


def _require_one_protocol(
    family: ProtocolFamily, found: Mapping[Path, Sequence[BundleTest]]
) -> None:
    firsts = [(path, figures[0]) for path, figures in found.items()]
    for (one, first), (other, second) in combinations(firsts, 2):
        for what, a, b, expected in (
            ("unit", first.unit, second.unit, "one --by"),
            ("model", first.model, second.model, "one model"),
        ):
            if a != b:
                raise UsageError(
                    f"{one} and {other} differ in {what}, {a} and {b}: {family.value} is joined "
                    f"of evaluations of {expected}"
                )
        for what, same in (
            ("bundle", first.bundle == second.bundle),
            ("test list", first.test == second.test),
        ):
            if same:
                raise UsageError(
                    f"{one} and {other} are of one {what}: in {family.value} every test has a "
                    "bundle and lists of its own"
                )
