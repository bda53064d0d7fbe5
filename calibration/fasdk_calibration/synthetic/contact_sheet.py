"""Contact sheet of captures: rows by species, the three modalities side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.atomic import atomic_write
from fasdk.capture import FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import BONA_FIDE_SPECIES, LabeledCapture
from fasdk_calibration.synthetic.species import Species

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_TILE = (152, 152)  # width and height of one frame on the sheet
_GAP, _TITLE, _LABEL = 8, 22, 118  # pixels
_AROUND = 1.9  # side of the square shown, in face heights
_INK, _WHITE, _PAPER = (30, 30, 30), (255, 255, 255), 245
Color = tuple[int, int, int]


class ContactSheet:
    """Collects the first captures of every species and draws them.

    Args:
        each: Number of captures of each species; of one presentation only the first frame is taken.
    """

    def __init__(self, each: int = 3) -> None:
        self._each = each
        self._rows: dict[str, list[LabeledCapture]] = {}

    def add(self, item: LabeledCapture) -> None:
        """Take a capture, unless there are enough of its species."""
        row = self._rows.setdefault(item.species, [])
        if len(row) < self._each and all(c.presentation != item.presentation for c in row):
            row.append(item)

    @property
    def rows(self) -> dict[str, list[LabeledCapture]]:
        """The captures by species: bona fide first, then as `Species` orders them."""
        known = [species.value for species in Species]
        order = sorted(self._rows, key=lambda s: (known.index(s) if s in known else len(known), s))
        return {name: self._rows[name] for name in order}

    def write(self, path: Path) -> None:
        """Write a PNG of `draw_contact_sheet`.

        Raises:
            DatasetError: There is no capture, or `path` cannot be written.
        """
        import cv2

        sheet = draw_contact_sheet(self.rows)
        encoded, data = cv2.imencode(".png", sheet[..., ::-1])
        if not encoded:
            raise DatasetError(f"OpenCV cannot encode contact sheet {path} as PNG")
        try:
            with atomic_write(path) as file:
                file.write(data.tobytes())
        except OSError as error:
            raise DatasetError(f"cannot write contact sheet {path}: {error.strerror}") from error


def draw_contact_sheet(rows: dict[str, list[LabeledCapture]]) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3], red first: one row a species, one cell of three frames a capture.

    Depth is colored from red (near) to blue (far) about the face, black where nothing was seen.

    Raises:
        DatasetError: There is no capture.
    """
    import cv2

    if not any(rows.values()):
        raise DatasetError("no captures to draw a contact sheet of")
    columns = max(len(row) for row in rows.values())
    width, height = _TILE
    cell = 3 * width + _GAP
    sheet = np.full(
        (_TITLE + len(rows) * (height + _GAP), _LABEL + columns * cell, 3), _PAPER, np.uint8
    )

    def write(text: str, x: int, y: int, size: float = 0.42, ink: Color = _INK) -> None:
        cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)

    for column in range(columns):
        for place, modality in enumerate(Modality):
            write(modality.value, _LABEL + column * cell + place * width + 4, 15)
    for number, (species, items) in enumerate(rows.items()):
        top = _TITLE + number * (height + _GAP)
        write(species, 4, top + 16)
        kind = "bona fide" if species == BONA_FIDE_SPECIES else "attack"
        write(kind, 4, top + 34, 0.35)
        for column, item in enumerate(items):
            left = _LABEL + column * cell
            for place, modality in enumerate(Modality):
                at = left + place * width
                sheet[top : top + height, at : at + width] = _tile(item, modality)
            for ink, offset in ((_INK, 1), (_WHITE, 0)):  # legible on any ground
                write(item.subject, left + 4 + offset, top + height - 5 + offset, 0.36, ink)
                write(item.domain, left + 4 + offset, top + height - 19 + offset, 0.36, ink)
    return sheet


def _tile(item: LabeledCapture, modality: Modality) -> NDArray[np.uint8]:
    import cv2

    if modality not in item.capture.present:
        return np.full((_TILE[1], _TILE[0], 3), 128, np.uint8)
    frame: NDArray[Any] = item.capture.frame(modality)
    if modality is Modality.DEPTH:
        frame = _color(frame, item)
    elif frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, axis=2)
    box = item.capture.face_in(modality)
    if box is not None:
        frame = _around(frame, FaceBox.of(box))
    how = cv2.INTER_AREA if frame.shape[0] > _TILE[1] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(frame, _TILE, interpolation=how), np.uint8)


def _around(frame: NDArray[Any], face: FaceBox) -> NDArray[Any]:
    """Return the square about a face, as much of it as the frame holds, moved inside."""
    height, width = frame.shape[:2]
    side = min(round(_AROUND * face.height), height, width)
    left = min(max(0, face.x + face.width // 2 - side // 2), width - side)
    top = min(max(0, face.y + face.height // 2 - side // 2), height - side)
    return frame[top : top + side, left : left + side]


def _color(depth: NDArray[np.uint16], item: LabeledCapture) -> NDArray[np.uint8]:
    import cv2

    box = item.capture.face_in(Modality.DEPTH)
    face = depth if box is None else _inside(depth, FaceBox.of(box))
    seen = face[face > 0]
    middle = float(np.median(seen)) if seen.size else 500.0
    near, far = middle - 100.0, middle + 200.0
    level = np.clip((far - depth.astype(np.float32)) / (far - near), 0.0, 1.0)
    bands = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)
    colored: NDArray[np.uint8] = np.array(bands[..., ::-1], np.uint8)
    colored[depth == 0] = 0
    return colored


def _inside(frame: NDArray[Any], box: FaceBox) -> NDArray[Any]:
    return frame[box.y : box.y + box.height, box.x : box.x + box.width]
