"""Tables of the published benchmarks: what is trained on, what is tested, how it is judged.

Data sets are named by the letters of the MMDG benchmark: W WMCA, C CeFA, P PADISI, S CASIA-SURF.

P1, P2, P3: Lin et al., CVPR 2024 (MMDG). Trained and tested as `fasdk_calibration.protocols` says;
    published figures are at the test's own EER.
FLEX: Yu et al., CVPR workshops 2023 (Flex-Modal). Trained on C and S; tested on their test lists,
    at the EER of their validation lists, and on all of W, at 0.5.
SURF: Zhang et al., CVPR 2019 (CASIA-SURF). Trained on S; tested on its test list, at the EER of its
    validation list, with the TPR at small shares of accepted attacks.

Flex-Modal's lists of CASIA-SURF and CeFA hold the rows of the MMDG benchmark's lists of S and C,
its list of WMCA those of W's three lists together, so one set of lists gives all the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk_calibration.protocols import NONE_MISSING, PROTOCOLS, Missing

LETTERS = {"W": "WMCA", "C": "CeFA", "P": "PADISI", "S": "CASIA-SURF"}
FIXED_THRESHOLD = 0.5  # Flex-Modal's, on WMCA


class ListPart(str, Enum):
    """Part of a data set, by the name that its list carries, as in `W-val.txt`."""

    TRAIN = "train"
    DEVELOPMENT = "val"
    TEST = "test"


class PublishedThreshold(str, Enum):
    """Threshold that a published table's error rates are taken at."""

    TEST_EER = "test EER"
    DEVELOPMENT_EER = "development EER"
    FIXED = "fixed"


@dataclass(frozen=True)
class Target:
    """Lists that are tested on, together.

    Attributes:
        letters: Letters of the data sets.
        threshold: Threshold that the published figures are taken at.
        parts: Lists of each data set.
    """

    letters: tuple[str, ...]
    threshold: PublishedThreshold = PublishedThreshold.TEST_EER
    parts: tuple[ListPart, ...] = (ListPart.TEST,)

    @property
    def name(self) -> str:
        """Letters of the data sets, with a plus sign where all their lists are tested on."""
        return "".join(self.letters) + ("" if self.parts == (ListPart.TEST,) else "+")


@dataclass(frozen=True)
class Training:
    """One training and what it is tested on.

    Attributes:
        sources: Letters of the data sets whose training lists are trained on; their validation
            lists choose the epoch and the development threshold.
        targets: Tests.
    """

    sources: tuple[str, ...]
    targets: tuple[Target, ...]

    @property
    def name(self) -> str:
        """Letters of the data sets that are trained on."""
        return "".join(self.sources)


@dataclass(frozen=True)
class Table:
    """One published table.

    Attributes:
        name: Name, such as P1.
        title: Question it asks.
        trainings: Trainings, each with its tests.
        missing: Sets of modalities taken away at test.
        has_mean: Whether the published figure is the mean over the tests.
    """

    name: str
    title: str
    trainings: tuple[Training, ...]
    missing: tuple[Missing, ...] = (NONE_MISSING,)
    has_mean: bool = True

    @property
    def letters(self) -> tuple[str, ...]:
        """Letters of the data sets that it needs, in the order of `LETTERS`."""
        needed = {
            letter
            for training in self.trainings
            for letter in (*training.sources, *(x for t in training.targets for x in t.letters))
        }
        return tuple(letter for letter in LETTERS if letter in needed)


_FLEXIBLE = (
    frozenset({Modality.DEPTH, Modality.IR}),
    frozenset({Modality.IR}),
    frozenset({Modality.DEPTH}),
    NONE_MISSING,
)
TABLES = (
    *(
        Table(
            protocol.name,
            protocol.title,
            tuple(Training(split.train, (Target(split.test),)) for split in protocol.splits),
            protocol.missing,
        )
        for protocol in PROTOCOLS
    ),
    Table(
        "FLEX",
        "any of the modalities at test (Flex-Modal)",
        (
            Training(
                ("C", "S"),
                (
                    Target(("C", "S"), PublishedThreshold.DEVELOPMENT_EER),
                    Target(("W",), PublishedThreshold.FIXED, tuple(ListPart)),
                ),
            ),
        ),
        _FLEXIBLE,
        has_mean=False,
    ),
    Table(
        "SURF",
        "CASIA-SURF's own protocol",
        (Training(("S",), (Target(("S",), PublishedThreshold.DEVELOPMENT_EER),)),),
        has_mean=False,
    ),
)


def parse_tables(text: str) -> tuple[Table, ...]:
    """Return the tables that a comma separated list names, in the order of `TABLES`.

    Raises:
        UsageError: There is no such table.
    """
    known = {table.name: table for table in TABLES}
    names = [name.strip().upper() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"--tables {text!r}: no table {unknown[0]!r}: choose of {', '.join(known)}"
        )
    return tuple(table for table in TABLES if table.name in names)


@dataclass(frozen=True)
class PlannedTest:
    """One test of a training, with everything that any of the tables takes away in it.

    Attributes:
        target: Lists that are tested on.
        missing: Sets of modalities taken away, nothing first.
    """

    target: Target
    missing: tuple[Missing, ...]


@dataclass(frozen=True)
class PlannedTraining:
    """One training of the tables asked for; tables that share it share its cell.

    Attributes:
        sources: Letters of the data sets that are trained on.
        tests: Tests of any of the tables.
    """

    sources: tuple[str, ...]
    tests: tuple[PlannedTest, ...]

    @property
    def name(self) -> str:
        """Letters of the data sets that are trained on."""
        return "".join(self.sources)


def plan_trainings(tables: Sequence[Table]) -> tuple[PlannedTraining, ...]:
    """Return every training that some tables need, each once, in the order of the tables."""
    found: dict[tuple[str, ...], dict[Target, dict[Missing, None]]] = {}
    for table in tables:
        for training in table.trainings:
            tests = found.setdefault(training.sources, {})
            for target in training.targets:
                # Nothing taken away first: every evaluation has that case.
                held = tests.setdefault(target, {NONE_MISSING: None})
                held.update(dict.fromkeys(table.missing))
    return tuple(
        PlannedTraining(sources, tuple(PlannedTest(t, tuple(m)) for t, m in tests.items()))
        for sources, tests in found.items()
    )
