"""Testing schemes: what each asks for, with the source of every number.

A number stands here only with a source that states it. What could not be confirmed is named in
`left_out`, and no sheet holds anything against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fasdk.errors import UsageError


class Scheme(str, Enum):
    """Schemes that `evaluate --scheme` writes an evidence sheet for."""

    ISO_30107_3 = "iso30107-3"
    IBETA_L1 = "ibeta-l1"
    IBETA_L2 = "ibeta-l2"
    FIDO = "fido"


class Certainty(str, Enum):
    """Who states a number.

    OWN: the laboratory or body that runs the scheme, in its own publication.
    THIRD_PARTY: somebody else, whom the laboratory's own documents could not confirm.
    """

    OWN = "the scheme's own publication"
    THIRD_PARTY = "a third party, not confirmed by the scheme's own documents"


@dataclass(frozen=True)
class Source:
    """Where a number was read.

    Attributes:
        text: Title and publisher.
        certainty: Who states it.
    """

    text: str
    certainty: Certainty


@dataclass(frozen=True)
class AskedCount:
    """A count that a scheme asks for, with its source."""

    value: int
    source: Source


@dataclass(frozen=True)
class AskedRate:
    """The largest error rate a scheme allows, in [0, 1], with its source."""

    value: float
    source: Source


@dataclass(frozen=True)
class SchemeRules:
    """What is known of a scheme.

    Attributes:
        title: Name of the scheme.
        statement: First line of every sheet: what the sheet is not, and who certifies.
        species: PAI species it tries.
        presentations: Presentations of each species.
        bona_fide: Bona fide presentations.
        max_apcer: Largest APCER of any species.
        max_bpcer: Largest BPCER.
        left_out: What could not be confirmed, a sentence each.
        notes: What a laboratory does and this evaluation does not, a sentence each.
    """

    title: str
    statement: str
    species: AskedCount | None = None
    presentations: AskedCount | None = None
    bona_fide: AskedCount | None = None
    max_apcer: AskedRate | None = None
    max_bpcer: AskedRate | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_IBETA_OWN = Source(
    "iBeta Quality Assurance, ISO 30107-3 Presentation Attack Detection Confirmation Letters "
    "(ibeta.com)",
    Certainty.OWN,
)
_AXON = Source(
    "Axon Labs, iBeta certification requirements, August 2025 (axonlabs.pro)", Certainty.THIRD_PARTY
)
_IBETA_ROLE = (
    "Self-assessment by whoever ran fasdk, not a certification: a confirmation letter comes from "
    "iBeta alone, after its own testers have tried the product with instruments of their making."
)
_IBETA_NOTES = (
    "The laboratory chooses species, instruments and people; whether the species of these lists "
    "are among its own is for it to say.",
)
_TEST_PLAN = "iBeta's test plan, which would state the counts itself, was not at hand."

RULES: dict[Scheme, SchemeRules] = {
    Scheme.ISO_30107_3: SchemeRules(
        title="ISO/IEC 30107-3",
        statement=(
            "Self-assessment by whoever ran fasdk, not a certification: ISO certifies no product; "
            "an accredited laboratory tests one and reports after the standard."
        ),
        left_out=(
            "Counts and limits of the standard itself could not be confirmed, so none is here.",
            "Each species is held to the bound that the threshold was tuned to, where it has one.",
        ),
        notes=(
            "The standard's rates are APCER of each species, BPCER, and both non-response rates, "
            "as they stand here.",
        ),
    ),
    Scheme.IBETA_L1: SchemeRules(
        title="iBeta PAD Level 1",
        statement=_IBETA_ROLE,
        species=AskedCount(6, _AXON),
        presentations=AskedCount(150, _AXON),
        bona_fide=AskedCount(50, _AXON),
        max_apcer=AskedRate(0.0, _IBETA_OWN),
        max_bpcer=AskedRate(0.15, _AXON),
        left_out=(_TEST_PLAN,),
        notes=_IBETA_NOTES,
    ),
    Scheme.IBETA_L2: SchemeRules(
        title="iBeta PAD Level 2",
        statement=_IBETA_ROLE,
        species=AskedCount(5, _AXON),
        presentations=AskedCount(150, _AXON),
        bona_fide=AskedCount(250, _AXON),
        max_apcer=AskedRate(0.01, _AXON),
        max_bpcer=AskedRate(0.15, _AXON),
        left_out=(_TEST_PLAN,),
        notes=_IBETA_NOTES,
    ),
    Scheme.FIDO: SchemeRules(
        title="FIDO Biometric Component Certification",
        statement=(
            "Self-assessment by whoever ran fasdk, not a certification: a laboratory that the FIDO "
            "Alliance accredited tests the component, and the Alliance certifies it."
        ),
        left_out=(
            "FIDO's limit of IAPAR could not be confirmed from its Biometric Requirements, so none "
            "is held against these rates.",
            "How many species, presentations and people it asks for could not be confirmed either.",
        ),
        notes=(
            "FIDO counts IAPAR, attacks that are accepted and also matched to the person; fasdk "
            "matches nobody, so APCER stands here, which is the larger of the two where the same "
            "attempts are counted.",
        ),
    ),
}


def parse_scheme(text: str | None) -> Scheme | None:
    """Return the scheme of that name, or None for None.

    Raises:
        UsageError: There is no such scheme.
    """
    if text is None:
        return None
    try:
        return Scheme(text.lower())
    except ValueError:
        known = ", ".join(scheme.value for scheme in Scheme)
        raise UsageError(f"--scheme {text!r}: choose one of {known}") from None
