"""Evidence sheet as an evaluation record holds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CountRow:
    """A count that the scheme asks for.

    Attributes:
        what: What is counted.
        asked: Number the scheme asks for.
        held: Number of these lists.
        short: How many are missing.
        source: Where the number asked for was read.
        certainty: Who states it.
    """

    what: str
    asked: int
    held: int
    short: int
    source: str
    certainty: str


@dataclass(frozen=True)
class RateRow:
    """An error rate with its bounds, and what a claim about it needs; shares in [0, 1].

    Attributes:
        what: "APCER" or "BPCER".
        of: The PAI species, or "bona fide".
        rate: Observed rate, errors / attempts.
        lower: Lower two-sided 95 % Clopper-Pearson bound.
        upper: Upper two-sided 95 % Clopper-Pearson bound.
        one_sided_upper: One-sided 95 % upper bound, which a claim goes by.
        errors: Presentations classified wrongly.
        attempts: Presentations classified.
        short: Presentations that the scheme's own count lacks; None where it states none.
        limit: Largest rate, of the scheme or else of the threshold's own claim; None without one.
        is_within: Whether the observed rate is at most the limit; None without a limit.
        is_shown: Whether the one-sided bound is at most the limit; None without a limit.
        more: Further presentations, all without an error, until it is; None where no number shows
            it or there is no limit.
    """

    what: str
    of: str
    rate: float
    lower: float
    upper: float
    one_sided_upper: float
    errors: int
    attempts: int
    short: int | None
    limit: float | None
    is_within: bool | None
    is_shown: bool | None
    more: int | None


@dataclass(frozen=True)
class LimitRow:
    """A limit, with its source.

    Attributes:
        what: The rate it limits.
        limit: Largest rate, in [0, 1].
        is_within: Whether every observed rate is at most the limit; None without a rate.
        is_shown: Whether every one-sided 95 % bound is; None without a rate.
        source: Where it was read.
        certainty: Who states it.
    """

    what: str
    limit: float
    is_within: bool | None
    is_shown: bool | None
    source: str
    certainty: str


@dataclass(frozen=True)
class EvidenceSheet:
    """Self-assessment against a scheme.

    Attributes:
        scheme: Name that `--scheme` takes.
        title: Name of the scheme.
        statement: First line: what the sheet is not, and who certifies.
        list: Name of the list the rates are of.
        modalities: Modalities that its captures held.
        threshold: Name of the threshold, or None without one.
        threshold_kind: Set of captures it was chosen on, or None.
        threshold_value: Score above which a presentation is LIVE, or None.
        counts: Counts that the scheme asks for.
        rates: APCER of each species, then BPCER.
        limits: Limits that a source states.
        short: What a claim still needs, a sentence each.
        left_out: What could not be confirmed, a sentence each.
        notes: How the sheet was made and what a laboratory does otherwise, a sentence each.
    """

    scheme: str
    title: str
    statement: str
    list: str
    modalities: tuple[str, ...]
    threshold: str | None
    threshold_kind: str | None
    threshold_value: float | None
    counts: tuple[CountRow, ...]
    rates: tuple[RateRow, ...]
    limits: tuple[LimitRow, ...]
    short: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
