"""Words of lists: column names, labels and modalities as people write them."""

from __future__ import annotations

import re
from enum import Enum

from fasdk.capture import Modality
from fasdk.lists.class_words import means_bona_fide


class Column(str, Enum):
    """Column of a capture list, by the name that fasdk writes."""

    ID = "id"
    RGB = "rgb"
    DEPTH = "depth"
    IR = "ir"
    FACE = "face"
    LANDMARKS = "landmarks"
    DEPTH_FACE = "depth_face"
    IR_FACE = "ir_face"
    DEPTH_LANDMARKS = "depth_landmarks"
    IR_LANDMARKS = "ir_landmarks"
    LABEL = "label"
    SPECIES = "species"
    SUBJECT = "subject"
    DOMAIN = "domain"
    PRESENTATION = "presentation"
    DEPTH_UNIT = "depth_unit"
    FACE_CROP = "face_crop"
    PRESENT = "present"
    DEPTH_SCALE_MM = "depth_scale_mm"
    IR_SHIFT = "ir_shift"


# Columns that say a row holds one frame of a capture, of the modality they name.
ONE_FRAME_COLUMNS = frozenset({"modality", "sensor", "stream", "channel"})

_SYNONYMS: dict[Column, frozenset[str]] = {
    Column.ID: frozenset({"capture id", "capture", "uid", "key", "sample", "sample id", "index"}),
    Column.RGB: frozenset({"color", "colour", "vis", "visible", "profile"}),
    Column.DEPTH: frozenset({"depth map"}),
    Column.IR: frozenset({"nir", "infrared", "near infrared"}),
    Column.FACE: frozenset({"bbox", "box", "face box", "bounding box", "face bbox", "rect", "roi"}),
    Column.LANDMARKS: frozenset({"landmark", "keypoints", "kps"}),
    Column.DEPTH_FACE: frozenset(),
    Column.IR_FACE: frozenset(),
    Column.DEPTH_LANDMARKS: frozenset(),
    Column.IR_LANDMARKS: frozenset(),
    Column.LABEL: frozenset({"class", "target", "y", "ground truth", "gt", "truth", "labels"}),
    Column.SPECIES: frozenset(
        {"attack type", "spoof type", "pai", "pai species", "type", "instrument", "attack species"}
    ),
    Column.SUBJECT: frozenset({"subject id", "person", "person id", "identity", "client id"}),
    Column.DOMAIN: frozenset({"dataset", "data set", "site", "source"}),
    Column.PRESENTATION: frozenset({"video", "video id", "clip", "presentation id", "sequence"}),
    Column.DEPTH_UNIT: frozenset(),
    Column.FACE_CROP: frozenset({"cropped", "is cropped"}),
    Column.PRESENT: frozenset(),
    Column.DEPTH_SCALE_MM: frozenset({"depth scale"}),
    Column.IR_SHIFT: frozenset(),
}
_FRAME_COLUMNS = {Column.RGB: Modality.RGB, Column.DEPTH: Modality.DEPTH, Column.IR: Modality.IR}
# Columns of the box and the landmarks in a frame that shows another view than the first.
OWN_VIEWS = {
    Modality.DEPTH: (Column.DEPTH_FACE, Column.DEPTH_LANDMARKS),
    Modality.IR: (Column.IR_FACE, Column.IR_LANDMARKS),
}
# A column of paths that does not say of which modality.
PATH_COLUMNS = frozenset(
    {"path", "file", "filename", "file name", "file path", "filepath", "image", "img", "frame"}
    | {"image path", "img path", "image file", "frame path", "picture", "photo"}
)
_PATH_WORDS = ("path", "file", "image", "img", "frame", "filename")
_HINTS = {
    "rgb": Modality.RGB,
    "color": Modality.RGB,
    "colour": Modality.RGB,
    "profile": Modality.RGB,
    "depth": Modality.DEPTH,
    "ir": Modality.IR,
    "nir": Modality.IR,
    "infrared": Modality.IR,
}
_FRAME_SUFFIX = re.compile(
    r"\.(png|jpe?g|bmp|tiff?|webp|p[bgpn]m|pfm|npy|npz|exr|jp2|jfif|gif|avif)$", re.IGNORECASE
)


_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_GAP = re.compile(r"[\s_\-]+")


def normal_word(text: str) -> str:
    """Return a word in lower case, underscores and hyphens as spaces, `isLive` as `is live`."""
    spaced = _CAMEL_CASE.sub(" ", text.strip().lstrip("#").strip())
    return _GAP.sub(" ", spaced).strip().lower()


def column_of(name: str) -> Column | None:
    """Return the column that a header's word names, None for no known one."""
    column = _COLUMN_OF_WORD.get(normal_word(name))
    if column is None and means_bona_fide(name) is not None:
        return Column.LABEL
    return column


def _column_of_word() -> dict[str, Column]:
    """Return the column of every word that names one; of two columns, the first."""
    found: dict[str, Column] = {}
    for column, synonyms in _SYNONYMS.items():
        words = [normal_word(column.value), *synonyms]
        if column in _FRAME_COLUMNS:
            pairs = [(stem, kind) for stem in words for kind in _PATH_WORDS]
            words += [f"{a} {b}" for pair in pairs for a, b in (pair, pair[::-1])]
        for word in words:
            found.setdefault(word, column)
    return found


_COLUMN_OF_WORD = _column_of_word()


def modality_of(column: Column) -> Modality | None:
    """Return the modality whose paths a column holds, None for another column."""
    return _FRAME_COLUMNS.get(column)


def column_of_modality(modality: Modality) -> Column:
    """Return the column of a modality's paths."""
    return next(column for column, each in _FRAME_COLUMNS.items() if each is modality)


def is_frame_path(text: str) -> bool:
    """Return whether text ends as the name of an image file does."""
    return _FRAME_SUFFIX.search(text.strip()) is not None


def hinted_modality(path: str) -> Modality | None:
    """Return the modality that a path's last telling word names, None where none does."""
    for token in reversed(re.split(r"[/\\._\-\s]+", path.lower())):
        if token in _HINTS:
            return _HINTS[token]
    return None


def is_label(text: str) -> bool:
    """Return whether text is a label: a known word, or a whole number written in any usual way."""
    return (
        means_bona_fide(text) is not None
        or re.fullmatch(r"[+-]?[012](\.0*)?", text.strip()) is not None
    )


def is_number(text: str) -> bool:
    """Return whether text is a finite number."""
    try:
        return float(text) not in (float("inf"), float("-inf")) and float(text) == float(text)
    except ValueError:
        return False
