"""Evaluation request and the checks of it against bundle and lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from fasdk.bundle.bundle import Bundle
from fasdk.bundle.calibration import read_calibration
from fasdk.bundle.members import CALIBRATION, EVALUATION
from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk.settings import take_choices
from fasdk_calibration.datasets import Dataset, DatasetSource
from fasdk_calibration.datasets.overlap import require_none_shared, shared_subjects
from fasdk_calibration.datasets.pseudonyms import seen_before
from fasdk_calibration.error_rates import Unit
from fasdk_calibration.protocols import NONE_MISSING, PROTOCOLS, Missing, as_missing, missing_name
from fasdk_tools.evaluation.record import Overlap, ProtocolFamily
from fasdk_tools.evaluation.schemes import Scheme
from fasdk_tools.evaluation.scoring import reason_not_scorable, require_scorable

STANDARD = "standard"


@dataclass(frozen=True)
class EvaluationRequest:
    """An evaluation to run.

    Attributes:
        bundle: Verified bundle to evaluate.
        protocols: Test lists and folders, each evaluated by itself and all together.
        missing: Modalities to take away, one entry a test besides taking nothing; None for every
            combination that leaves what the bundle requires.
        development: Captures of other people to choose a threshold on, or None.
        level: The one security level to evaluate; None for all the bundle has.
        fixed: Thresholds that a protocol itself states, such as 0.5.
        unit: What error rates count.
        family: Protocol family, or None.
        source: Training data of the model as the user names it, or None.
        allow_overlap: Whether people seen before may stand in the lists.
        worst: Number of worst-scored captures to name for each list and class.
        threads: CPU threads; 0 lets ONNX Runtime take one per core.
        scheme: Testing scheme to write an evidence sheet for, or None.
    """

    bundle: Bundle
    protocols: tuple[DatasetSource, ...]
    missing: tuple[Missing, ...] | None = ()
    development: DatasetSource | None = None
    level: str | None = None
    fixed: tuple[float, ...] = ()
    unit: Unit = Unit.PRESENTATION
    family: ProtocolFamily | None = None
    source: str | None = None
    allow_overlap: bool = False
    worst: int = 6
    threads: int = 0
    scheme: Scheme | None = None

    def __post_init__(self) -> None:
        """Take family, unit, scheme and modalities as their members.

        Raises:
            UsageError: There is no such family, unit, scheme or modality, a fixed threshold is no
                score, or a scheme is asked for by rows.
        """
        take_choices(self, family=ProtocolFamily, unit=Unit, scheme=Scheme)
        for threshold in self.fixed:
            if not 0.0 <= threshold <= 1.0:
                raise UsageError(f"--threshold {threshold}: scores lie in 0 to 1, so must it")
        if self.scheme is not None and self.unit is not Unit.PRESENTATION:
            raise UsageError(
                f"--scheme {self.scheme.value} counts presentations: leave --by {self.unit.value}s "
                "out"
            )
        if self.missing is not None:
            object.__setattr__(self, "missing", as_missing(self.missing))


def parse_missing(texts: Sequence[str]) -> tuple[Missing, ...] | None:
    """Return what `--missing` asks for: one set a word, or None for `all`.

    Raises:
        UsageError: A name is no modality.
    """
    if any(text.strip() == "all" for text in texts):
        return None
    known = {m.value: m for m in Modality}
    found: list[Missing] = []
    for text in texts:
        names = [name.strip() for name in text.replace("+", ",").split(",")]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UsageError(
                f"--missing {text!r}: {unknown[0]!r} is no modality: "
                f"choose among {', '.join(known)}, joined by commas, or all"
            )
        found.append(frozenset(known[name] for name in names))
    return tuple(found)


def parse_family(text: str | None) -> ProtocolFamily | None:
    """Return the protocol family of that name.

    Raises:
        UsageError: There is no such family.
    """
    if text is None:
        return None
    try:
        return ProtocolFamily(text.upper())
    except ValueError:
        known = ", ".join(family.value for family in ProtocolFamily)
        raise UsageError(f"--family {text!r}: choose one of {known}") from None


def parse_unit(text: str) -> Unit:
    """Return the unit that `--by` names, by its plural or singular.

    Raises:
        UsageError: There is no such unit.
    """
    known = {f"{unit.value}s": unit for unit in Unit}
    found = known.get(text) or known.get(f"{text}s")
    if found is None:
        raise UsageError(f"--by {text!r}: choose one of {', '.join(known)}")
    return found


def require_level(bundle: Bundle, level: str | None) -> None:
    """Refuse a level that the bundle, having others, does not have.

    Raises:
        UsageError: The bundle lacks the level; the ones it has are named.
    """
    levels = sorted({point.level for point in bundle.manifest.operating_points})
    if level is not None and levels and level not in levels:
        raise UsageError(
            f"--level {level!r}: this bundle has {', '.join(levels)}: choose one of those"
        )


def require_protocol(request: EvaluationRequest, datasets: Sequence[Dataset]) -> None:
    """Refuse lists that do not make the protocol asked for, or of which captures count twice.

    Raises:
        UsageError: Too many lists, two of one name, or two that share presentations.
    """
    if request.family in (ProtocolFamily.P1, ProtocolFamily.P2) and len(datasets) > 1:
        raise UsageError(
            f"--family {request.family.value}: one domain is left out, so there is one test list; "
            f"{len(datasets)} were given"
        )
    names = [dataset.name for dataset in datasets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--protocol: two lists are called {twice[0]}: rename one of them")
    held = [dataset.presentations for dataset in datasets]
    for (one, first), (other, second) in combinations(zip(names, held, strict=True), 2):
        shared = sorted(first & second)
        if shared:
            raise UsageError(
                f"--protocol: lists {one} and {other} share {len(shared)} presentations, such as "
                f"{shared[0][1]} of {shared[0][0]}: evaluated together they would count twice"
            )


def find_overlap(
    bundle: Bundle, datasets: Sequence[Dataset], development: Dataset | None
) -> tuple[Overlap, ...]:
    """Return the subjects of each list that were seen in calibration or when tuning.

    Raises:
        DatasetError: The bundle names its subjects in a form that cannot be read.
    """
    found = []
    for dataset in datasets:
        people = dataset.subjects
        known = {
            "the bundle's calibration": seen_subjects(bundle, CALIBRATION, people),
            "the list the bundle's thresholds came from": seen_subjects(bundle, EVALUATION, people),
        }
        if development is not None:
            known["the development list"] = shared_subjects(people, development.subjects)
        found += [Overlap(name, dataset.name, shared) for name, shared in known.items() if shared]
    return tuple(found)


def seen_subjects(bundle: Bundle, member: str, people: Iterable[str]) -> tuple[str, ...] | None:
    """Return which people a document in a bundle knows; None where that cannot be told.

    Raises:
        BundleError: The document cannot be read, or is a calibration.json of another schema.
        DatasetError: The document's subjects are malformed.
    """
    document = read_calibration(bundle) if member == CALIBRATION else bundle.document(member)
    if document is None:
        return None
    return seen_before(document, people, f"{bundle.path}: {member}")


def require_new_subjects(overlap: Sequence[Overlap]) -> None:
    """Refuse lists of subjects seen before.

    Raises:
        DatasetError: There are such subjects; the first ten of the first list are named.
    """
    for each in overlap:
        require_none_shared(
            each.subjects,
            name=each.list,
            other=each.seen_in,
            fix="evaluate on people never seen before, or give --allow-overlap, which the report "
            "will state",
        )


def choose_missing(
    request: EvaluationRequest, datasets: Sequence[Dataset]
) -> tuple[tuple[Missing, ...], tuple[str, ...]]:
    """Return what to take away, nothing first, and why other combinations cannot be.

    Raises:
        UsageError: A combination that was asked for by name cannot be.
        DatasetError: A capture cannot be scored as it is.
    """
    manifest = request.bundle.manifest
    asked = request.missing
    if asked == () and request.family is ProtocolFamily.P2:
        asked = next(p.missing for p in PROTOCOLS if p.name == ProtocolFamily.P2.value)
    wanted = (NONE_MISSING,) if asked is None else tuple(dict.fromkeys((NONE_MISSING, *asked)))
    for missing in wanted:
        for dataset in datasets:
            require_scorable(manifest, dataset, missing)
    if asked is not None:
        return wanted, ()
    possible, refused = list(wanted), []
    for count in range(1, len(manifest.modalities)):
        for names in combinations(manifest.modalities, count):
            faults = [
                f for d in datasets if (f := reason_not_scorable(manifest, d, frozenset(names)))
            ]
            if faults:
                refused.append(f"{missing_name(frozenset(names))}: {faults[0]}")
            else:
                possible.append(frozenset(names))
    return tuple(possible), tuple(refused)


def headline_level(bundle: Bundle, level: str | None) -> str | None:
    """Return the level asked for, else "standard", else the bundle's first; None without any."""
    levels = [point.level for point in bundle.manifest.operating_points]
    if not levels:
        return None
    return level or (STANDARD if STANDARD in levels else levels[0])
