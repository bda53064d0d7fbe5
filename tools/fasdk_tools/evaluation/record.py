"""Evaluation record: the JSON document that the report is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from fasdk_calibration.error_rates import CaseFigures
from fasdk_tools.evaluation.evidence_record import EvidenceSheet

DOCUMENT: Final = "fasdk evaluation"
DOCUMENT_VERSION: Final = 2
"""Version of the layout; raise it when a key is renamed, removed or changes its meaning."""


class ProtocolFamily(str, Enum):
    """The benchmark's families of protocols (Lin et al., CVPR 2024)."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"

    @property
    def question(self) -> str:
        """Question the family asks, in words."""
        return {
            ProtocolFamily.P1: "fixed modalities, one domain left out",
            ProtocolFamily.P2: "modalities missing at test",
            ProtocolFamily.P3: "limited source domains",
        }[self]


@dataclass(frozen=True)
class BundleIdentity:
    """Identity of the evaluated bundle.

    Attributes:
        path: File it was read from.
        id: SHA-256 of its manifest.
        revision: Revision of the bundle.
        has_signature: Whether it carries a signature, checked or not.
        signed_by: Id of the trusted key that signed it, or None where none was asked for.
        model: Name of the model family.
        published_in: Paper or project that defines the model.
        precision: Precision of the graph.
        graph_sha256: SHA-256 of the graph.
        checkpoint_sha256: SHA-256 of the checkpoint it was built from.
        modalities: Modalities of the model, in model order.
        required: Modalities a capture must hold.
        operating_points_note: Origin of its operating points, as the bundle states it.
        is_calibrated: Whether the scores are calibrated to probabilities.
    """

    path: str
    id: str
    revision: int
    has_signature: bool
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
    """Identity of an evaluation list.

    Attributes:
        name: Name used in tables.
        path: File or folder it was read from; of several, joined by plus signs.
        sha256: Digest of the list itself, not of the frames, of several one after another; None
            for a folder.
        captures: Number of rows.
        presentations: Number of different presentations.
        subjects: Number of different subjects.
        bona_fide: Number of rows labeled bona fide.
        attacks: Number of rows labeled attack.
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
        seen_in: Name of the list or bundle member that names them too.
        list: The evaluation list's name.
        subjects: The subjects, in name order.
    """

    seen_in: str
    list: str
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One list with some modalities taken away, as far as its captures hold the same ones.

    Attributes:
        list: Name of the list, or several joined where they are evaluated together.
        missing: Modalities taken away, such as "depth+ir", or "none".
        modalities: Modalities the captures held then, in model order.
        thresholds_note: Reason why there is no operating point or when it applies, else empty.
        figures: Error rates of the case.
    """

    list: str
    missing: str
    modalities: tuple[str, ...]
    thresholds_note: str
    figures: CaseFigures


@dataclass(frozen=True)
class FamilyFigure:
    """A protocol's figure for this one bundle: the mean over its tests.

    Published P1 and P2 are means over four models, each trained without one data set: they are
    joined of four such documents by `joining.join_family`.

    Attributes:
        family: P1, P2 or P3.
        question: Question the protocol asks, in words.
        tests: The cases it is the mean of, as indices into the document's `cases`.
        hter_at_eer: HTER at the test's own equal-error score: what published tables call HTER
            where the document's unit is the row, which they count.
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
        list: Name of the list.
        index: Row in the list, from 0.
        id: Id in the list.
        is_bona_fide: Whether it is labeled bona fide.
        species: Name of the PAI species.
        subject: Id of the person presented.
        domain: Data set or site of the capture.
        modalities: Modalities it held, in model order.
        score: Score of this capture, not of its presentation.
        threshold: The headline threshold for those modalities, or None without one.
        is_error: Whether that threshold classifies it wrongly; None without a threshold.
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
    """The whole document of one evaluation.

    Attributes:
        document: Kind of document, `DOCUMENT`.
        version: Version of the document's layout, `DOCUMENT_VERSION`.
        bundle: The evaluated bundle.
        backend: Runtime that computed the scores, with its version.
        family: Protocol family as the user named it, or None.
        source: Training data as the user named it, or None.
        unit: Unit that error rates count.
        level: The security level the headline figures are at, or None without one.
        lists: Descriptions of the evaluation lists.
        development: The list development thresholds come from, or None.
        overlap: Subjects seen before; not empty only where that was allowed.
        cases: Error rates of every list with every combination taken away.
        not_evaluated: Combinations of modalities that could not be evaluated, with the reason.
        family_figure: The protocol's figure, or None.
        worst: Worst-scored captures with nothing taken away, list by list.
        limits: Limitations of the figures.
        evidence: The figures held against a testing scheme, or None where none was asked for.
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
    not_evaluated: tuple[str, ...]
    family_figure: FamilyFigure | None
    worst: tuple[WorstCapture, ...]
    limits: tuple[str, ...]
    evidence: EvidenceSheet | None = None
