"""What one evaluation of a bundle found: the JSON document, and what the report is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fasdk_calibration.error_rates import CaseFigures


class ProtocolFamily(str, Enum):
    """The benchmark's families of protocols (Lin et al., CVPR 2024)."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"

    @property
    def question(self) -> str:
        """What it asks, in words."""
        return {
            ProtocolFamily.P1: "fixed modalities, one domain left out",
            ProtocolFamily.P2: "modalities missing at test",
            ProtocolFamily.P3: "limited source domains",
        }[self]


@dataclass(frozen=True)
class BundleIdentity:
    """Which bundle was evaluated.

    Attributes:
        path: Where it was read from.
        id: SHA-256 of its manifest.
        revision: Its revision.
        is_signed: Whether it carries a signature.
        signed_by: Id of the trusted key, or None where the signature was not checked.
        model: Family of the model.
        published_in: The paper or project that defines it.
        precision: Types of its graph.
        graph_sha256: SHA-256 of its graph.
        checkpoint_sha256: SHA-256 of the checkpoint it was built from.
        modalities: Model order.
        required: Modalities a capture must hold.
        operating_points_note: What it says of its thresholds.
        is_calibrated: Whether its scores are calibrated to probabilities.
    """

    path: str
    id: str
    revision: int
    is_signed: bool
    signed_by: str | None
    model: str
    published_in: str
    precision: str
    graph_sha256: str
    checkpoint_sha256: str
    modalities: tuple[str, ...]
    required: tuple[str, ...]
    operating_points_note: str
    is_calibrated: bool


@dataclass(frozen=True)
class ListIdentity:
    """Which captures it was evaluated on.

    Attributes:
        name: As tables call it.
        path: Where it was read from.
        sha256: Of the list itself, not of the frames; None for a folder.
        captures: Rows.
        presentations: Different presentations.
        subjects: Different people.
        bona_fide: Rows labeled bona fide.
        attacks: Rows labeled attack.
        species: PAI species, in name order.
        domains: Domains, in name order.
    """

    name: str
    path: str
    sha256: str | None
    captures: int
    presentations: int
    subjects: int
    bona_fide: int
    attacks: int
    species: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True)
class Overlap:
    """Subjects of an evaluation list who were seen before.

    Attributes:
        seen_in: What saw them.
        list: The evaluation list's name.
        subjects: Who, in name order.
    """

    seen_in: str
    list: str
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One list with some modalities taken away, as far as its captures hold the same ones.

    Attributes:
        list: Its name, or several joined where they are judged together.
        missing: What was taken away, such as "depth+ir", or "none".
        modalities: What the captures held then, in model order.
        thresholds_note: Why there is no operating point, else empty.
        figures: Everything counted.
    """

    list: str
    missing: str
    modalities: tuple[str, ...]
    thresholds_note: str
    figures: CaseFigures


@dataclass(frozen=True)
class FamilyFigure:
    """A protocol's figure for this one model: the mean over its tests.

    Attributes:
        family: P1, P2 or P3.
        question: What it asks, in words.
        tests: The cases it is the mean of, as indices into the document's `cases`.
        hter_at_eer: HTER at the test's own equal-error score, as published tables report it.
        hter_at_development: HTER at the development set's threshold, or None without one.
        auc: Area under the ROC curve.
    """

    family: str
    question: str
    tests: tuple[int, ...]
    hter_at_eer: float
    hter_at_development: float | None
    auc: float


@dataclass(frozen=True)
class WorstCapture:
    """A capture whose score lies farthest on the wrong side of its class.

    Attributes:
        list: Its list's name.
        index: Its row, from 0.
        id: Its id.
        is_bona_fide: Its label.
        species: PAI species.
        subject: Who is seen.
        domain: Where it was captured.
        modalities: What it held.
        score: Its own, not its presentation's.
        threshold: The headline threshold for those modalities, or None without one.
        is_error: Whether it would be judged wrongly there; None without a threshold.
    """

    list: str
    index: int
    id: str
    is_bona_fide: bool
    species: str
    subject: str
    domain: str
    modalities: tuple[str, ...]
    score: float
    threshold: float | None
    is_error: bool | None


@dataclass(frozen=True)
class Evaluation:
    """The whole document.

    Attributes:
        document: What kind of document this is.
        version: Of its layout.
        bundle: Which bundle.
        backend: What ran it.
        family: Protocol family by the user's word, or None.
        source: What the model was trained on, by the user's word, or None.
        unit: What is counted.
        level: The security level the headline figures are at, or None without one.
        lists: Evaluation lists.
        development: The list development thresholds come from, or None.
        overlap: People seen before; not empty only where that was allowed.
        cases: Every list with every combination taken away.
        not_judged: Combinations that could not be, with the reason.
        family_figure: The protocol's figure, or None.
        worst: Worst-scored captures with nothing taken away, list by list.
        limits: What the figures do not say.
    """

    document: str
    version: int
    bundle: BundleIdentity
    backend: str
    family: str | None
    source: str | None
    unit: str
    level: str | None
    lists: tuple[ListIdentity, ...]
    development: ListIdentity | None
    overlap: tuple[Overlap, ...]
    cases: tuple[Case, ...]
    not_judged: tuple[str, ...]
    family_figure: FamilyFigure | None
    worst: tuple[WorstCapture, ...]
    limits: tuple[str, ...]
