"""Columns of a score file: which holds scores, labels, species and names of files."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError
from fasdk.lists.class_words import says_bona_fide, split_words
from fasdk_calibration.metrics.score_labels import is_label
from fasdk_calibration.metrics.score_numbers import is_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fasdk_calibration.metrics.score_rows import Table


class Role(str, Enum):
    """Meaning of a column; the value is its documented name."""

    SCORE = "score"
    LABEL = "label"
    SPECIES = "species"
    PRESENTATION = "presentation"
    SUBJECT = "subject"
    DOMAIN = "domain"
    RESPONDED = "responded"
    KEY = "path"


_NAMES = {
    Role.SCORE: "score scores prob probs probability probabilities logit logits prediction "
    "predictions pred preds y_pred y_score y_prob liveness confidence conf output outputs",
    Role.LABEL: "label labels target targets y y_true gt ground_truth groundtruth truth class "
    "true_label gt_label label_true actual",
    Role.SPECIES: "species pai pais pai_species attack_type spoof_type attack_kind instrument",
    Role.PRESENTATION: "presentation presentation_id video video_id",
    Role.SUBJECT: "subject subject_id person person_id identity client_id",
    Role.DOMAIN: "domain dataset data_set site",
    Role.RESPONDED: "responded",
    Role.KEY: "path paths file files filename file_name filepath file_path image images img "
    "image_path img_path image_name img_name image_id name id key sample sample_id utterance",
}
_ROLE_OF = {
    tuple(name.split("_")): role for role, names in _NAMES.items() for name in names.split()
}
_SCORE_WORDS = frozenset(
    {"score", "scores", "prob", "probs", "probability", "logit", "confidence", "conf", "pred", "p"}
)
_LABEL_WORDS = frozenset({"is", "label"})
_ABOUT_PREDICTIONS = frozenset({"pred", "predicted", "prediction"})
_OTHER_SCORES = frozenset(
    {
        "quality",
        "face",
        "detection",
        "detector",
        "det",
        "box",
        "bbox",
        "blur",
        "match",
        "similarity",
    }
)
_MOST_LABELS = 10
_PAIR_TOLERANCE = 1e-3  # of a sum of two probabilities printed with few digits


@dataclass(frozen=True)
class ColumnChoice:
    """Columns a caller names, each by name or by number from 1; None reads it from the file.

    Attributes:
        score: Column of the scores.
        label: Column of the labels.
        species: Column of the attacks' species.
    """

    score: str | None = None
    label: str | None = None
    species: str | None = None


@dataclass(frozen=True)
class Columns:
    """Columns by meaning.

    Attributes:
        index: Position of each meaning's column.
        notes: What was taken without being asked, one phrase each.
    """

    index: Mapping[Role, int]
    notes: tuple[str, ...] = field(default=())


def names_a_role(name: str) -> bool:
    """Return whether a text is a name that columns of score files have."""
    words = split_words(name)
    if len(name) < 2:  # y is an answer as well
        return False
    return words in _ROLE_OF or _class_role(words, name) is not None


def find_columns(table: Table, choice: ColumnChoice, *, score_needed: bool = True) -> Columns:
    """Return the columns of a table by meaning.

    Args:
        table: Rows of the file.
        choice: Columns the caller names.
        score_needed: Whether a column of scores must be there; False for a file of labels.

    Raises:
        DatasetError: A named column is not there, a meaning has no column that it needs, or
            several columns may have it. The option that decides is named.
    """
    told: dict[Role, int] = {}
    for role, wanted in (
        (Role.SCORE, choice.score),
        (Role.LABEL, choice.label),
        (Role.SPECIES, choice.species),
    ):
        if wanted is not None and (score_needed or role is not Role.SCORE):
            told[role] = _named(table, wanted, role)
    if table.names is None:
        return _by_content(table, told, score_needed=score_needed)
    return _by_name(table, told, score_needed=score_needed)


def _named(table: Table, wanted: str, role: Role) -> int:
    names = () if table.names is None else table.names
    alike = [i for i, name in enumerate(names) if name.lower() == wanted.strip().lower()]
    if len(alike) == 1:
        return alike[0]
    if re.fullmatch(r"[1-9]\d*", wanted) and int(wanted) <= table.width:
        return int(wanted) - 1
    found = ", ".join(map(repr, names[:20])) or f"numbers 1 to {table.width}, as it names none"
    raise DatasetError(
        f"{table.names_place}: {'two columns are' if alike else 'no column is'} {wanted!r} as "
        f"--{role.value}-column asks: the columns are {found}"
    )


def _by_name(table: Table, told: Mapping[Role, int], *, score_needed: bool) -> Columns:
    names = table.names or ()
    found: dict[Role, list[int]] = {role: [] for role in Role}
    for index, name in enumerate(names):
        words = split_words(name)
        role = _ROLE_OF.get(words) or _class_role(words, name, table.column(index))
        if role is not None and index not in told.values():
            found[role].append(index)
    index_of = dict(told)
    notes: list[str] = []
    of_numbers = [i for i in found[Role.SCORE] if _mostly_numbers(table.column(i))]
    found[Role.SCORE] = of_numbers or found[Role.SCORE]  # a prediction may be a word
    for role, candidates in found.items():
        if role in told or not candidates:
            continue
        if role is Role.SCORE and not score_needed:
            continue
        index_of[role] = _one_of(table, role, candidates, notes)
    if score_needed and Role.SCORE not in index_of:
        raise _absent(table, Role.SCORE)
    for role, index in index_of.items():
        if names[index] != role.value and role is not Role.KEY:
            notes.append(f"column {names[index]!r} taken as {role.value}")
    return Columns(index_of, tuple(notes))


def _class_role(words: Sequence[str], name: str, texts: Sequence[str] = ()) -> Role | None:
    """Return the meaning of a column whose name has a telling word, as is_live or cls_score do."""
    about = set(words)
    predicted = bool(about & _ABOUT_PREDICTIONS)
    if says_bona_fide(name) is None:
        scored = about & (_SCORE_WORDS - {"p", "pred"}) and not about & _OTHER_SCORES
        found = Role.LABEL if "label" in about and not predicted else None
        return Role.SCORE if scored and found is None else found
    if about & _LABEL_WORDS:
        return None if predicted else Role.LABEL
    if about & _SCORE_WORDS:
        return Role.SCORE
    if len(words) != 1 or not texts:
        return None
    # live, spoof, attack: flags or scores
    scores = Role.SCORE if _all_numbers(texts) else None
    return Role.LABEL if all(map(is_label, texts)) else scores


def _one_of(table: Table, role: Role, candidates: list[int], notes: list[str]) -> int:
    """Return the column of a meaning that several have by name."""
    names = table.names or ()
    if len(candidates) == 1:
        return candidates[0]
    exact = [i for i in candidates if names[i].lower() == role.value]
    if len(exact) > 1:
        raise DatasetError(f"{table.names_place}: column {names[exact[0]]!r} is named twice")
    if role is Role.KEY:
        return (exact or candidates)[0]
    if len({table.column(i) for i in candidates}) == 1:
        return (exact or candidates)[0]
    if exact and role is not Role.LABEL:
        others = ", ".join(repr(names[i]) for i in candidates if i not in exact)
        notes.append(f"column {names[exact[0]]!r} taken before {others}")
        return exact[0]
    if role is Role.SCORE:
        live = [i for i in candidates if says_bona_fide(names[i])]
        if len(candidates) == 2 and len(live) == 1 and _complementary(table, candidates):
            notes.append(f"columns {names[candidates[0]]!r} and {names[candidates[1]]!r} sum to 1")
            return live[0]
    shown = ", ".join(repr(names[i]) for i in candidates)
    if role not in {Role.SCORE, Role.LABEL, Role.SPECIES}:
        raise DatasetError(
            f"{table.names_place}: columns {shown} may each be the {role.value}: leave one"
        )
    raise DatasetError(
        f"{table.names_place}: columns {shown} may each hold the {role.value}: say which, "
        f"{_options(table, role, candidates)}"
    )


def _complementary(table: Table, pair: Sequence[int]) -> bool:
    try:
        sums = [
            float(one) + float(other)
            for one, other in zip(table.column(pair[0]), table.column(pair[1]), strict=True)
        ]
    except ValueError:
        return False
    return bool(sums) and all(math.isclose(total, 1, abs_tol=_PAIR_TOLERANCE) for total in sums)


def _absent(table: Table, role: Role) -> DatasetError:
    columns = [table.column(i) for i in range(table.width)] if table.rows else []
    if role is Role.SCORE:
        fits = [_all_numbers(texts) and not all(map(is_label, texts)) for texts in columns]
    else:
        fits = [len(set(texts)) <= _MOST_LABELS for texts in columns]
    likely = [i for i, fit in enumerate(fits) if fit]
    return DatasetError(
        f"{table.names_place}: no column {role.value!r} among {_shown(table)}: name it so, or say "
        f"which it is, {_options(table, role, likely)}"
    )


def no_labels(table: Table) -> DatasetError:
    """Return the error of a file without labels, which names the ways to give them."""
    return DatasetError(
        f"{table.names_place}: no column 'label' among {_shown(table)}: name it so, say which it "
        "is with --label-column, or give the file of labels with --labels FILE"
    )


def _shown(table: Table) -> str:
    if table.names is None:
        return f"{table.width} columns without names"
    return ", ".join(repr(name) for name in table.names[:20])


def _options(table: Table, role: Role, likely: Sequence[int]) -> str:
    """Return the options that name each of some columns, or the option's form without any."""
    names = table.names or tuple(str(i + 1) for i in range(table.width))
    shown = [f"--{role.value}-column {_argument(names[i])}" for i in likely[:4]]
    return " or ".join(shown) or f"--{role.value}-column NAME"


def _argument(name: str) -> str:
    return f"'{name}'" if re.search(r"[^\w.-]", name) or not name else name


def _by_content(table: Table, told: Mapping[Role, int], *, score_needed: bool) -> Columns:
    """Return the columns of a file that names none."""
    rows = range(table.width)
    columns = {i: table.column(i) for i in rows if i not in told.values()}
    index_of = dict(told)
    labels = [i for i, texts in columns.items() if all(map(is_label, texts)) or _has_word(texts)]
    numbers = [
        i
        for i, texts in columns.items()
        if i not in labels and not is_index(texts) and _mostly_numbers(texts)
    ]
    names = [
        i
        for i, texts in columns.items()
        if i not in labels and i not in numbers and (_is_padded(texts) or not _all_numbers(texts))
    ]
    if not labels and Role.LABEL not in told:
        # A label that is none of the usual is refused by its line, not taken for something else.
        spoken = [
            i for i in (*names, *numbers) if 2 * sum(map(is_label, columns[i])) > len(table.rows)
        ]
        labels = spoken if len(spoken) == 1 else []
        names = [i for i in names if i not in labels]
        numbers = [i for i in numbers if i not in labels]
    if score_needed and Role.SCORE not in told:
        if not numbers and len(labels) > 1:
            raise _undecided(table, Role.SCORE, labels)
        if not numbers:
            raise _absent(table, Role.SCORE)
        if len(numbers) > 1:
            raise _undecided(table, Role.SCORE, numbers)
        index_of[Role.SCORE] = numbers[0]
    if Role.LABEL not in told and labels:
        if len(labels) > 1:
            raise _undecided(table, Role.LABEL, labels)
        index_of[Role.LABEL] = labels[0]
    paths = [i for i in names if any(re.search(r"[/\\.]", text) for text in columns[i])] or names
    if paths:
        index_of[Role.KEY] = paths[0]
    said = ", ".join(
        f"column {index + 1} as {role.value}"
        for role, index in index_of.items()
        if role is not Role.KEY and role not in told
    )
    return Columns(index_of, (f"no column names: {said}",) if said and table.width > 1 else ())


def _undecided(table: Table, role: Role, candidates: Sequence[int]) -> DatasetError:
    shown = ", ".join(str(i + 1) for i in candidates)
    return DatasetError(
        f"{table.names_place}: columns {shown} may each hold the {role.value}, and none has a "
        f"name: say which, {_options(table, role, candidates)}"
    )


def is_index(texts: Sequence[str]) -> bool:
    """Return whether texts count the rows, or are numerals of fixed width as files are named."""
    if not all(re.fullmatch(r"\d+", text) for text in texts):
        return False
    numbers = [int(text) for text in texts]
    counts = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return (counts and len(numbers) > 2) or _is_padded(texts)


def _is_padded(texts: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\d+", text) for text in texts) and any(
        text.startswith("0") and len(text) > 1 for text in texts
    )


def _has_word(texts: Sequence[str]) -> bool:
    """Return whether a class word stands among texts, as live does beside kinds of attack."""
    return any(is_label(text) and not is_number(text) for text in texts)


def _mostly_numbers(texts: Sequence[str]) -> bool:
    return 2 * sum(map(is_number, texts)) > len(texts)


def _all_numbers(texts: Sequence[str]) -> bool:
    return all(map(is_number, texts))
