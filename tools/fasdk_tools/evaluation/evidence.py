"""Evidence sheet: an evaluation held against what a testing scheme asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fasdk_calibration.error_rates import ThresholdKind
from fasdk_calibration.metrics import binomial_upper
from fasdk_calibration.thresholds.sample_size import attempts_needed
from fasdk_tools.evaluation.evidence_record import CountRow, EvidenceSheet, LimitRow, RateRow
from fasdk_tools.evaluation.schemes import RULES, AskedCount, Scheme, SchemeRules
from fasdk_tools.terminal.numbers import format_share

if TYPE_CHECKING:
    from fasdk_calibration.error_rates import AtThreshold, Rate, RatesAtThreshold
    from fasdk_tools.evaluation.record import Case, Evaluation


def evidence_sheet(record: Evaluation, scheme: Scheme) -> EvidenceSheet | None:
    """Return the sheet of an evaluation; None where nothing was evaluated.

    All lists together count, with nothing taken away, at the bundle's operating point of the
    headline level.

    Args:
        record: An evaluation that counts presentations.
        scheme: Scheme to hold it against.
    """
    rules = RULES[scheme]
    case = _whole_case(record)
    if case is None:
        return None
    at = _threshold(case, record.level)
    rates = () if at is None else tuple(_rates(rules, at, at.overall))
    attacks = {row.of: row.attempts for row in rates if row.what == "APCER"}
    bona_fide = sum(row.attempts for row in rates if row.what == "BPCER")
    counts = () if at is None else tuple(_counts(rules, attacks, bona_fide))
    limits = tuple(_limits(rules, rates))
    return EvidenceSheet(
        scheme=scheme.value,
        title=rules.title,
        statement=rules.statement,
        list=case.list,
        modalities=case.modalities,
        threshold=None if at is None else at.name,
        threshold_kind=None if at is None else at.kind.value,
        threshold_value=None if at is None else at.threshold,
        counts=counts,
        rates=rates,
        limits=limits,
        short=tuple(_short(rules, at, attacks, counts, rates)),
        left_out=rules.left_out,
        notes=(*_notes(record, case, at), *rules.notes),
    )


def _whole_case(record: Evaluation) -> Case | None:
    """Return the case of all lists together with nothing taken away, most modalities first."""
    cases = [case for case in record.cases if case.missing == "none"]
    if not cases:
        return None
    last = cases[-1].list  # all lists together, where there are several
    return max((c for c in cases if c.list == last), key=lambda case: len(case.modalities))


def _threshold(case: Case, level: str | None) -> AtThreshold | None:
    """Return the operating point of the level; else another threshold, the first there is."""
    found = case.figures.thresholds
    own = [at for at in found if at.kind is ThresholdKind.OPERATING_POINT]
    at_level = [at for at in own if at.name == level]
    return next(iter((*at_level, *own, *found)), None)


def _rates(rules: SchemeRules, at: AtThreshold, overall: RatesAtThreshold) -> Iterator[RateRow]:
    limit = at.claimed_apcer_upper if rules.max_apcer is None else rules.max_apcer.value
    for rate in overall.apcer:
        yield _rate("APCER", rate.species, rate, _lacking(rules.presentations, rate), limit)
    if overall.bpcer is not None:
        limit = None if rules.max_bpcer is None else rules.max_bpcer.value
        short = _lacking(rules.bona_fide, overall.bpcer)
        yield _rate("BPCER", "bona fide", overall.bpcer, short, limit)


def _lacking(asked: AskedCount | None, rate: Rate) -> int | None:
    return None if asked is None else max(0, asked.value - rate.attempts)


def _rate(what: str, of: str, rate: Rate, short: int | None, limit: float | None) -> RateRow:
    bound = binomial_upper(rate.errors, rate.attempts)
    shown = None if limit is None else bound <= limit
    more = None
    if limit is not None and 0.0 < limit < 1.0:  # no number of presentations shows a rate of 0
        more = max(0, attempts_needed(rate.errors, limit) - rate.attempts)
    return RateRow(
        what=what,
        of=of,
        rate=rate.rate,
        lower=rate.lower,
        upper=rate.upper,
        one_sided_upper=bound,
        errors=rate.errors,
        attempts=rate.attempts,
        short=short,
        limit=limit,
        is_within=None if limit is None else rate.rate <= limit,
        is_shown=shown,
        more=more,
    )


def _counts(rules: SchemeRules, attacks: Mapping[str, int], bona_fide: int) -> Iterator[CountRow]:
    if rules.species is not None:
        yield _count("PAI species", rules.species, len(attacks))
    if rules.species is not None and rules.presentations is not None:
        whole = sum(count >= rules.presentations.value for count in attacks.values())
        what = f"species with {rules.presentations.value} presentations each"
        source = rules.presentations.source
        yield _count(what, AskedCount(rules.species.value, source), whole)
    if rules.bona_fide is not None:
        yield _count("bona fide presentations", rules.bona_fide, bona_fide)


def _count(what: str, asked: AskedCount, held: int) -> CountRow:
    return CountRow(
        what=what,
        asked=asked.value,
        held=held,
        short=max(0, asked.value - held),
        source=asked.source.text,
        certainty=asked.source.certainty.value,
    )


def presentations_short(rules: SchemeRules, attacks: Mapping[str, int]) -> int:
    """Return the fewest further attacks that make a scheme's counts whole.

    The species with the most presentations are completed, and new ones tried where there are too
    few; 0 for a scheme without counts.

    Args:
        rules: The scheme.
        attacks: Presentations by species.
    """
    if rules.species is None or rules.presentations is None:
        return 0
    best = sorted(attacks.values(), reverse=True)[: rules.species.value]
    best += [0] * (rules.species.value - len(best))
    return sum(max(0, rules.presentations.value - count) for count in best)


def _limits(rules: SchemeRules, rates: Sequence[RateRow]) -> Iterator[LimitRow]:
    for what, name, asked in (
        ("APCER", "APCER of every species", rules.max_apcer),
        ("BPCER", "BPCER", rules.max_bpcer),
    ):
        if asked is None:
            continue
        rows = [row for row in rates if row.what == what]
        yield LimitRow(
            what=name,
            limit=asked.value,
            is_within=all(row.is_within for row in rows) if rows else None,
            is_shown=all(row.is_shown for row in rows) if rows else None,
            source=asked.source.text,
            certainty=asked.source.certainty.value,
        )


def _short(
    rules: SchemeRules,
    at: AtThreshold | None,
    attacks: Mapping[str, int],
    counts: Sequence[CountRow],
    rates: Sequence[RateRow],
) -> Iterator[str]:
    if at is None:
        yield "There is no threshold, so no rate can be told: run `fasdk tune` on this bundle."
        return
    for row in counts:
        if row.short:
            what = row.what[0].upper() + row.what[1:]
            yield f"{what}: {row.held} of {row.asked}, {row.short} short."
    further = presentations_short(rules, attacks)
    if further:
        yield f"At least {further} further attack presentations make the scheme's counts whole."
    for rate in rates:
        name = f"{rate.what} of {rate.of}" if rate.what == "APCER" else rate.what
        if rate.limit is not None and not rate.is_within:
            limit = format_share(rate.limit)
            yield f"{name}: {format_share(rate.rate)} is above the limit of {limit}."
        if rate.more:
            yield (
                f"{name}: {rate.more} further presentations, all without an error, show a bound of "
                f"{format_share(rate.limit)}."
            )
    if any(row.limit == 0.0 for row in rates):
        yield (
            "A limit of 0 % can be met by counting and shown by no number of presentations: the "
            "column of the bound says what is shown."
        )


def _notes(record: Evaluation, case: Case, at: AtThreshold | None) -> Iterator[str]:
    others = sorted(
        {
            "+".join(other.modalities)
            for other in record.cases
            if other.missing == "none"
            and other.list == case.list
            and other.modalities != case.modalities
        }
    )
    if others:
        yield (
            f"Captures that hold {'+'.join(case.modalities)} are counted alone; those with "
            f"{', '.join(others)} are not."
        )
    if at is not None and at.kind is not ThresholdKind.OPERATING_POINT:
        yield f"The threshold is no operating point of the bundle: no device decides by {at.name}."
    silent = case.figures.non_responses
    if silent.frames:
        rates = [f"APNRR of {r.species} {format_share(r.rate)}" for r in silent.apnrr if r.errors]
        if silent.bpnrr is not None and silent.bpnrr.errors:
            rates.append(f"BPNRR {format_share(silent.bpnrr.rate)}")
        yield f"Presentations without a score are in no rate: {', '.join(rates) or 'none'}."
    if record.overlap:
        yield "These lists hold people seen before, as was allowed: a laboratory's would not."
    yield (
        "Bounds are exact (Clopper-Pearson) and take presentations to be independent; several of "
        "one person are not."
    )
