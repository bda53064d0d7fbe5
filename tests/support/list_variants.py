"""Lists as people write them, of one set of captures: each must be read right or refused usefully.

`list_rows` tries every variant. A refusal counts only where its message names the fix, and the
list is read right once that fix is made.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from fasdk.errors import DatasetError
from fasdk.lists import FaceForm, ListOptions
from fasdk_calibration.datasets import Dataset, Label, announce_dataset, open_dataset
from fasdk_calibration.datasets.check import check_dataset

SIZE = (64, 48)  # width, height of every frame
LIVE = (True, False, True, False)
BOXES = ((20, 12, 22, 28), (8, 6, 24, 30), (30, 10, 20, 26), (14, 16, 18, 22))
KINDS = ("color", "depth", "ir")
SUBJECTS = ("s1", "s2", "s3", "s4")


@dataclass(frozen=True)
class VariantRow:
    """Outcome of one variant.

    Attributes:
        name: Name of the variant.
        outcome: "read", "refused, fix works", or what went wrong.
        passed: Whether it was read right, or refused with a fix that works.
    """

    name: str
    outcome: str
    passed: bool


@dataclass(frozen=True)
class ListVariant:
    """One way of writing a list of the captures.

    Attributes:
        name: Name of the variant.
        write: Writes the list into a folder that holds the frames, and returns its path.
        kinds: Modalities it names.
        faces: Whether it gives face boxes.
        says: What the reading, or the refusal, must say.
        fix: Makes the change a refusal asks for; None for a list that is read as it is.
        options: Options of the caller, for what is read as it is.
        root: Root of the frames relative to the folder, where the caller gives one.
        labels: Bona fide rows, where they are others than usual.
    """

    name: str
    write: Callable[[Path], Path]
    kinds: tuple[str, ...] = KINDS
    faces: bool = False
    says: str = ""
    fix: Callable[[Path, Path], object] | None = None
    options: ListOptions | None = None
    root: str | None = None
    labels: tuple[bool, ...] = field(default=LIVE)


def make_frames(folder: Path) -> None:
    """Write the frames of the captures: color, depth at 800 mm and infrared."""
    rng = np.random.default_rng(7)
    width, height = SIZE
    for index in range(len(LIVE)):
        images = {
            "color": rng.integers(40, 200, (height, width, 3), np.uint8),
            "depth": np.full((height, width), 800, np.uint16),
            "ir": rng.integers(40, 200, (height, width), np.uint8),
        }
        for kind, image in images.items():
            path = folder / path_of(kind, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)


def path_of(kind: str, index: int) -> str:
    """Return the path of a frame."""
    return f"{kind}/{index:04d}.png"


def list_rows(folder: Path) -> list[VariantRow]:
    """Return the outcome of every variant, each in a folder of its own."""
    return [try_variant(v, folder / f"{i:03d}") for i, v in enumerate(LIST_VARIANTS)]


def try_variant(variant: ListVariant, folder: Path) -> VariantRow:
    """Return the outcome of one variant."""
    folder.mkdir(parents=True, exist_ok=True)
    make_frames(folder)
    listing = variant.write(folder)
    try:
        return VariantRow(variant.name, *_outcome(variant, folder, listing))
    except (DatasetError, AssertionError) as error:
        return VariantRow(variant.name, f"{type(error).__name__}: {error}", passed=False)


def _outcome(variant: ListVariant, folder: Path, listing: Path) -> tuple[str, bool]:
    if variant.fix is None:
        dataset = _open(variant, folder, listing)
        _require_right(variant, dataset)
        said = "; ".join((*dataset.reading, *dataset.notes))
        return ("read", True) if variant.says in said else (f"read, and says: {said}", False)
    try:
        announce_dataset(_open(variant, folder, listing))
    except DatasetError as error:
        message = str(error)
    else:
        return "read without a doubt", False
    if variant.says not in message:
        return f"refused, and says: {message}", False
    variant.fix(folder, listing)
    _require_right(variant, _open(variant, folder, listing))
    return "refused, fix works", True


def _open(variant: ListVariant, folder: Path, listing: Path) -> Dataset:
    root = None if variant.root is None else folder / variant.root
    return open_dataset(listing, root, options=variant.options)


def _require_right(variant: ListVariant, dataset: Dataset) -> None:
    """Check that a data set is that of the captures: frames, labels and boxes.

    Raises:
        AssertionError: It is not.
    """
    announce_dataset(dataset)
    report = check_dataset(dataset, with_frames=True)
    assert report.faults == (), report.faults
    found = [record.label is Label.BONA_FIDE for record in dataset.records]
    assert found == list(variant.labels), f"bona fide: {found}"
    for record, index in zip(dataset.records, range(len(variant.labels)), strict=True):
        paths = (record.rgb, record.depth, record.ir)
        for kind, path in zip(KINDS, paths, strict=True):
            assert (path is not None) == (kind in variant.kinds), f"{kind}: {path}"
            if path is not None:
                there = (dataset.root / path).resolve()
                assert there.parent.name == kind or kind in there.name, f"{kind}: {path}"
                assert f"{index % len(LIVE):04d}" in there.name, f"{index}: {path}"
        expected = BOXES[index] if variant.faces else None
        assert record.face == expected, f"face {record.face}, expected {expected}"


def _text(name: str, text: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    return write


def _words(live: object, attack: object) -> list[str]:
    return [str(live if is_live else attack) for is_live in LIVE]


def _lines(
    columns: Sequence[Sequence[object]],
    separator: str = ",",
    header: str | None = None,
    ending: str = "\n",
) -> str:
    rows = [separator.join(map(str, row)) for row in zip(*columns, strict=True)]
    return "".join(line + ending for line in ([header] if header else []) + rows)


def _paths(kind: str, pattern: str = "{}") -> list[str]:
    return [pattern.format(path_of(kind, index)) for index in range(len(LIVE))]


_ALL = [_paths(kind) for kind in KINDS]
_USUAL = _words("bona fide", "attack")
_BASE = _lines([*_ALL, _USUAL], header="rgb,depth,ir,label")
_CORNERS = [(x, y, x + w, y + h) for x, y, w, h in BOXES]
_CENTERS = [(x + w / 2, y + h / 2, w, h) for x, y, w, h in BOXES]


def _shares(boxes: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return [tuple(round(v / SIZE[i % 2], 6) for i, v in enumerate(box)) for box in boxes]


def _quoted(boxes: Sequence[Sequence[float]], separator: str = ",") -> list[str]:
    return [f'"{separator.join(f"{v:g}" for v in box)}"' for box in boxes]


def _objects(**more: Sequence[object]) -> list[dict[str, object]]:
    made = []
    for index in range(len(LIVE)):
        line: dict[str, object] = {
            "rgb": path_of("color", index),
            "depth": path_of("depth", index),
            "ir": path_of("ir", index),
            "label": _USUAL[index],
        }
        made.append(line | {name: values[index] for name, values in more.items()})
    return made


def _jsonl(objects: Sequence[object]) -> str:
    return "".join(json.dumps(each) + "\n" for each in objects)


def _prepend(line: str) -> Callable[[Path, Path], None]:
    def fix(_folder: Path, listing: Path) -> None:
        listing.write_text(f"{line}\n{listing.read_text()}")

    return fix


def _replace(old: str, new: str, count: int = -1) -> Callable[[Path, Path], None]:
    def fix(_folder: Path, listing: Path) -> None:
        text = listing.read_text()
        assert old in text
        listing.write_text(text.replace(old, new, count))

    return fix


def _said(**options: str) -> tuple[str, Callable[[Path, Path], None]]:
    """Return a line that a refusal must propose, and the fix that writes it."""
    line = "# fasdk: " + " ".join(f"{name}={value}" for name, value in options.items())
    return line, _prepend(line)


def _refused(
    name: str, text: str, says: str, fix: Callable[[Path, Path], object], **more: object
) -> ListVariant:
    file = str(more.pop("file", "l.csv"))
    return ListVariant(name, _text(file, text), says=says, fix=fix, **more)  # type: ignore[arg-type]


def _gz(folder: Path) -> Path:
    path = folder / "l.csv.gz"
    path.write_bytes(gzip.compress(_BASE.encode()))
    return path


def _gz_without_suffix(folder: Path) -> Path:
    path = folder / "l.txt"
    path.write_bytes(gzip.compress(_BASE.encode()))
    return path


def _absolute(folder: Path) -> Path:
    columns = [_paths(kind, f"{folder.as_posix()}/{{}}") for kind in KINDS]
    return _text("l.csv", _lines([*columns, _USUAL], header="rgb,depth,ir,label"))(folder)


def _absolute_elsewhere(folder: Path) -> Path:
    columns = [_paths(kind, f"{folder.as_posix()}/{{}}") for kind in KINDS]
    text = _lines([*columns, _USUAL], header="rgb,depth,ir,label")
    return _text("lists/l.csv", text)(folder)


def _numbered(folder: Path) -> Path:
    """Write the list of CASIA-SURF's validation half, and its frames."""
    rows = []
    for index, is_live in enumerate(LIVE):
        names = [f"Val/0000/00{index:04d}-{kind}.jpg" for kind in KINDS]
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8), 90, np.uint8))
        color = np.dstack([np.full((8, 8), level, np.uint8) for level in (30, 90, 160)])
        cv2.imwrite(str(folder / names[0]), color)
        rows.append(" ".join([*names, str(int(is_live))]))
    return _text("val_private_list.txt", "\n".join(rows))(folder)


def _move_frames(folder: Path, _listing: Path) -> None:
    for kind in KINDS:
        (folder / kind / "0001.png").rename(folder / kind / "0001.PNG")


def _with_upper_suffix(folder: Path) -> Path:
    _move_frames(folder, folder)
    return _text("l.csv", _BASE)(folder)


def _with_space(folder: Path) -> Path:
    (folder / "my frames").mkdir()
    for kind in KINDS:
        (folder / kind).rename(folder / "my frames" / kind)
    columns = [_paths(kind, "my frames/{}") for kind in KINDS]
    return _text("l.txt", _lines([*columns, _words("live", "spoof")], " "))(folder)


def _one_missing(folder: Path) -> Path:
    (folder / path_of("ir", 2)).rename(folder / "kept.png")
    return _text("l.csv", _BASE)(folder)


def _put_back(folder: Path, _listing: Path) -> None:
    (folder / "kept.png").rename(folder / path_of("ir", 2))


_ROOT_LINE, _ = _said(root="..")
_PARENT = [_paths(kind, "../{}") for kind in KINDS]
_LIST_BOX = {"faces": True}


def _box_csv(boxes: Sequence[str], column: str = "face") -> Callable[[Path], Path]:
    return _text("l.csv", _lines([*_ALL, _USUAL, boxes], header=f"rgb,depth,ir,label,{column}"))


def _numbers_csv(boxes: Sequence[Sequence[float]], header: str) -> Callable[[Path], Path]:
    columns = [[f"{box[i]:g}" for box in boxes] for i in range(4)]
    return _text("l.csv", _lines([*_ALL, _USUAL, *columns], header=f"rgb,depth,ir,label,{header}"))


def _labels(
    name: str, live: object, attack: object, says: str = "is bona fide", header: str = "label"
) -> ListVariant:
    text = _lines([*_ALL, _words(live, attack)], header=f"rgb,depth,ir,{header}")
    return ListVariant(name, _text("l.csv", text), says=says)


def _separated(name: str, separator: str, **more: object) -> ListVariant:
    columns = [*_ALL, _words("live", "spoof")]
    header = separator.join(["rgb", "depth", "ir", "label"])
    return ListVariant(name, _text("l.txt", _lines(columns, separator, header)), **more)  # type: ignore[arg-type]


_ZERO_LIVE, _ZERO_LIVE_FIX = _said(live_label="0")
_BARE = _lines([*_ALL, _words(0, 1)], " ")

LIST_VARIANTS: tuple[ListVariant, ...] = (
    # Encodings and line ends.
    ListVariant("CSV as fasdk writes it", _text("l.csv", _BASE)),
    ListVariant("UTF-8 with a byte order mark", _text("l.csv", _BASE, "utf-8-sig")),
    ListVariant("UTF-16 with a mark", _text("l.csv", _BASE, "utf-16"), says="UTF-16"),
    ListVariant("UTF-16 big endian without a mark", _text("l.csv", _BASE, "utf-16-be")),
    ListVariant("UTF-16 little endian without a mark", _text("l.csv", _BASE, "utf-16-le")),
    ListVariant("UTF-32", _text("l.csv", _BASE, "utf-32")),
    ListVariant("CRLF", _text("l.csv", _BASE.replace("\n", "\r\n"))),
    ListVariant("CR alone", _text("l.csv", _BASE.replace("\n", "\r"))),
    ListVariant("no last line end", _text("l.csv", _BASE.rstrip("\n"))),
    ListVariant("empty lines", _text("l.csv", "\n" + _BASE.replace("\n", "\n\n"))),
    ListVariant("spaces at line ends", _text("l.csv", _BASE.replace("\n", "   \n"))),
    ListVariant("gzip", _gz),
    ListVariant("gzip under the name of a text", _gz_without_suffix),
    ListVariant("CSV under the name .txt", _text("l.txt", _BASE)),
    ListVariant("JSON Lines under the name .txt", _text("l.txt", _jsonl(_objects()))),
    # Separators, quotes, comments.
    _separated("tabs", "\t", says="tabs"),
    _separated("semicolons", ";", says="semicolons"),
    _separated("spaces", " ", says="spaces"),
    _separated("several spaces", "   "),
    _separated("bars", "|", says="bars"),
    _separated("commas and spaces", ", "),
    ListVariant("sep= line of a spreadsheet", _text("l.csv", "sep=;\n" + _BASE.replace(",", ";"))),
    ListVariant("separator behind the last cell", _text("l.csv", _BASE.replace("\n", ",\n"))),
    ListVariant(
        "separator behind the rows alone",
        _text("l.csv", _BASE.replace("\n", ",\n").replace("label,", "label")),
    ),
    ListVariant(
        "every cell quoted",
        _text(
            "l.csv",
            _lines(
                [[f'"{v}"' for v in c] for c in (*_ALL, _USUAL)],
                header='"rgb","depth","ir","label"',
            ),
        ),
    ),
    ListVariant(
        "single quotes",
        _text(
            "l.csv",
            _lines([[f"'{v}'" for v in c] for c in (*_ALL, _USUAL)], header="rgb,depth,ir,label"),
        ),
    ),
    ListVariant(
        "header between rows",
        _text("l.csv", _BASE.replace("\ncolor/0002", "\nrgb,depth,ir,label\ncolor/0002")),
        says="repeated between rows",
    ),
    ListVariant(
        "bona fide without quotes among spaces",
        _text("l.txt", _lines([*_ALL, _USUAL], " ")),
    ),
    _refused(
        "words and numbers among the labels",
        _lines([*_ALL, ["live", "0", "1", "spoof"]], header="rgb,depth,ir,label"),
        "write bona fide or attack in every row",
        lambda _f, p: p.write_text(_BASE),
    ),
    ListVariant("comments", _text("l.csv", "# made by hand\n" + _BASE + "# end\n")),
    ListVariant("header behind a #", _text("l.csv", "#" + _BASE)),
    ListVariant("rows of empty cells", _text("l.csv", _BASE + ",,,\n,,,\n")),
    ListVariant(
        "spaces in paths",
        _with_space,
        says="put paths with spaces into double quotes",
        fix=lambda _f, p: p.write_text(re.sub(r"(my frames/\S+)", r'"\1"', p.read_text())),
    ),
    # Header.
    ListVariant(
        "header in capitals",
        _text("l.csv", _BASE.replace("rgb,depth,ir,label", "RGB,Depth,IR,Label")),
    ),
    ListVariant(
        "header in other words",
        _text("l.csv", _BASE.replace("rgb,depth,ir,label", "Color_Path,depth_path,NIR,Class")),
    ),
    ListVariant(
        "camel case header",
        _text("l.csv", _lines([*_ALL, _words(1, 0)], header="rgbPath,depthPath,irPath,isLive")),
    ),
    ListVariant(
        "no header, words as labels",
        _text("l.txt", _lines([*_ALL, _words("real", "fake")], " ")),
        says="rgb, depth, ir",
    ),
    ListVariant(
        "columns in another order",
        _text("l.csv", _lines([_USUAL, _ALL[2], _ALL[0], _ALL[1]], header="label,ir,rgb,depth")),
    ),
    ListVariant(
        "no header, columns in another order",
        _text("l.txt", _lines([_words("live", "attack"), _ALL[2], _ALL[0], _ALL[1]], " ")),
        says="ir, rgb, depth",
    ),
    ListVariant(
        "columns that are not used",
        _text(
            "l.csv",
            _lines(
                [*_ALL, _USUAL, [1, 2, 3, 4], list("abcd")], header="rgb,depth,ir,label,age,camera"
            ),
        ),
        says="not used: age, camera",
    ),
    ListVariant(
        "index column of a table",
        _text("l.csv", _lines([range(4), *_ALL, _USUAL], header=",rgb,depth,ir,label")),
    ),
    ListVariant(
        "one column of paths, named path",
        _text("l.csv", _lines([_ALL[0], _USUAL], header="path,label")),
        kinds=("color",),
        says="'path' is taken for rgb",
    ),
    ListVariant(
        "one column of paths without a header",
        _text("l.txt", _lines([_ALL[0], _words("live", "spoof")], " ")),
        kinds=("color",),
        says="rgb",
    ),
    ListVariant(
        "infrared alone, by its paths",
        _text("l.txt", _lines([_ALL[2], _words("live", "spoof")], " ")),
        kinds=("ir",),
        says="ir",
    ),
    ListVariant(
        "color and infrared",
        _text("l.csv", _lines([_ALL[0], _ALL[2], _USUAL], header="rgb,ir,label")),
        kinds=("color", "ir"),
    ),
    # Labels.
    _labels("live and spoof", "live", "spoof", "live is bona fide, spoof is attack"),
    _labels("Real and Fake", "Real", "Fake", "real is bona fide, fake is attack"),
    _labels("bona_fide and attack", "bona_fide", "attack", ""),
    _labels("genuine and imposter", "genuine", "imposter"),
    _labels("bonafide and presentation-attack", "bonafide", "presentation-attack"),
    _labels("+1 and -1", "+1", "-1", "1 is bona fide, -1 is attack"),
    _labels("is_live of 1 and 0", 1, 0, "1 is bona fide, 0 is attack", "is_live"),
    _labels("live of 1.0 and 0.0", "1.0", "0.0", "1 is bona fide, 0 is attack", "live"),
    _labels("spoof of 1 and 0", 0, 1, "0 is bona fide, 1 is attack", "spoof"),
    _labels("is_attack of true and false", "False", "True", "false is bona fide", "is_attack"),
    _labels("real of yes and no", "yes", "no", "yes is bona fide", "real"),
    ListVariant(
        "numbers explained by the species",
        _text(
            "l.csv",
            _lines(
                [*_ALL, _words(0, 1), _words("bona fide", "print")],
                header="rgb,depth,ir,label,species",
            ),
        ),
        says="0 is bona fide, 1 is attack, by the species",
    ),
    ListVariant(
        "species in the place of labels",
        _text("l.csv", _lines([*_ALL, _words("none", "print")], header="rgb,depth,ir,attack_type")),
        says="species",
    ),
    ListVariant(
        "0 and 1, the caller says which",
        _text("l.txt", _BARE),
        says="by live_label",
        options=ListOptions(live_label="0"),
    ),
    _refused("0 and 1 alone", _BARE, _ZERO_LIVE, _ZERO_LIVE_FIX, file="l.txt"),
    _refused(
        "1.0 and 0.0 alone",
        _lines([*_ALL, _words("1.0", "0.0")], header="rgb,depth,ir,label"),
        *_said(live_label="1"),
    ),
    _refused(
        "three classes",
        _lines([*_ALL, ["0", "1", "0", "2"]], header="rgb,depth,ir,label"),
        _ZERO_LIVE,
        _ZERO_LIVE_FIX,
    ),
    _refused(
        "a species among the labels",
        _lines([*_ALL, ["live", "print", "live", "replay"]], header="rgb,depth,ir,label"),
        *_said(live_label="live"),
    ),
    _refused(
        "no labels at all",
        _lines(_ALL, header="rgb,depth,ir"),
        "add a column label",
        lambda _f, p: p.write_text(_BASE),
    ),
    # Face boxes.
    ListVariant("x, y, width, height", _box_csv(_quoted(BOXES)), faces=True),
    ListVariant(
        "boxes in brackets", _box_csv([f'"[{b[1:-1]}]"' for b in _quoted(BOXES)]), faces=True
    ),
    ListVariant("boxes split by spaces", _box_csv(_quoted(BOXES, " ")), faces=True),
    ListVariant(
        "corners in the column face", _box_csv(_quoted(_CORNERS)), faces=True, says="corners"
    ),
    ListVariant(
        "corners in the column bbox",
        _box_csv(_quoted(_CORNERS), "bbox"),
        faces=True,
        says="corners",
    ),
    ListVariant(
        "columns x1, y1, x2, y2", _numbers_csv(_CORNERS, "x1,y1,x2,y2"), faces=True, says="corners"
    ),
    ListVariant(
        "columns left, top, right, bottom",
        _numbers_csv(_CORNERS, "left,top,right,bottom"),
        faces=True,
        says="corners",
    ),
    ListVariant(
        "columns x, y, w, h", _numbers_csv(BOXES, "x,y,w,h"), faces=True, says="x, y, width, height"
    ),
    ListVariant(
        "columns cx, cy, w, h", _numbers_csv(_CENTERS, "cx,cy,w,h"), faces=True, says="center"
    ),
    ListVariant(
        "shares of the frame",
        _box_csv(_quoted(_shares(BOXES))),
        faces=True,
        says="shares of the frame",
    ),
    ListVariant(
        "corners as shares, by name",
        _numbers_csv(_shares(_CORNERS), "xmin,ymin,xmax,ymax"),
        faces=True,
        says="shares of the frame",
    ),
    ListVariant(
        "pixels in floating point",
        _box_csv(_quoted([tuple(v + 0.2 for v in box[:2]) + box[2:] for box in BOXES])),
        faces=True,
        says="rounded",
    ),
    ListVariant(
        "center and size, the caller says so",
        _box_csv(_quoted(_CENTERS)),
        faces=True,
        options=ListOptions(face=FaceForm.CENTER),
        says="center",
    ),
    ListVariant(
        "boxes without a header",
        _text(
            "l.txt",
            _lines(
                [*_ALL, *[[box[i] for box in _CORNERS] for i in range(4)], _words("live", "spoof")],
                " ",
            ),
        ),
        faces=True,
        says="corners",
    ),
    ListVariant(
        "shares of the frame in a column box",
        _box_csv(_quoted(_shares(BOXES)), "box"),
        faces=True,
        says="x, y, width, height, in shares of the frame",
    ),
    _refused(
        "a box far outside its frame",
        _lines(
            [*_ALL, _USUAL, _quoted([*BOXES[:3], (60, 40, 40, 50)])],
            header="rgb,depth,ir,label,face",
        ),
        "leaves the 64x48 frame",
        _replace("60,40,40,50", "14,16,18,22"),
        faces=True,
    ),
    # Paths.
    ListVariant("absolute paths below the list", _absolute, says="absolute"),
    ListVariant("absolute paths below --root", _absolute_elsewhere, root=".", says="absolute"),
    _refused(
        "absolute paths of another machine",
        _lines(
            [*[_paths(kind, "/home/ann/faces/{}") for kind in KINDS], _USUAL],
            header="rgb,depth,ir,label",
        ),
        *_said(strip="/home/ann/faces/"),
    ),
    _refused(
        "paths with a drive",
        _lines(
            [
                *[[p.replace("/", "\\") for p in _paths(kind, "D:/faces/{}")] for kind in KINDS],
                _USUAL,
            ],
            header="rgb,depth,ir,label",
        ),
        *_said(strip="D:/faces/"),
    ),
    ListVariant("backslashes", _text("l.csv", _BASE.replace("/", "\\")), says="backslashes"),
    ListVariant(
        "a backslash before each path",
        _text(
            "l.csv",
            _lines(
                [*[[p.replace("/", "\\") for p in _paths(kind, "/{}")] for kind in KINDS], _USUAL],
                header="rgb,depth,ir,label",
            ),
        ),
        says="backslashes",
    ),
    ListVariant(
        "a slash before each path",
        _text(
            "l.csv",
            _lines([*[_paths(kind, "/{}") for kind in KINDS], _USUAL], header="rgb,depth,ir,label"),
        ),
        says="start from the root",
    ),
    ListVariant(
        "a dot before each path",
        _text(
            "l.csv",
            _lines(
                [*[_paths(kind, "./{}") for kind in KINDS], _USUAL], header="rgb,depth,ir,label"
            ),
        ),
    ),
    ListVariant(
        "list below the root",
        _text("lists/l.csv", _lines([*_PARENT, _USUAL], header="rgb,depth,ir,label")),
        root=".",
    ),
    ListVariant("list with a root of its own", _text("lists/l.csv", "# fasdk: root=..\n" + _BASE)),
    _refused(
        "paths above the list",
        _lines([*_PARENT, _USUAL], header="rgb,depth,ir,label"),
        *_said(root=".."),
        file="lists/l.csv",
    ),
    ListVariant("missing frame", _one_missing, says="ir/0002.png (line 4)", fix=_put_back),
    ListVariant(
        "suffix in capitals",
        _with_upper_suffix,
        says="0001.PNG is there",
        fix=_replace("0001.png", "0001.PNG"),
    ),
    # JSON.
    ListVariant("JSON Lines", _text("l.jsonl", _jsonl(_objects(face=BOXES))), faces=True),
    ListVariant(
        "JSON array",
        _text("l.json", json.dumps(_objects(face=BOXES), indent=1)),
        faces=True,
        says="array",
    ),
    ListVariant(
        "JSON objects over several lines",
        _text("l.json", "\n".join(json.dumps(each, indent=2) for each in _objects())),
    ),
    ListVariant(
        "JSON document with a list",
        _text("l.json", json.dumps({"version": 1, "captures": _objects()})),
        says="'captures'",
    ),
    ListVariant(
        "JSON document by id",
        _text("l.json", json.dumps({f"c{i}": each for i, each in enumerate(_objects())})),
    ),
    ListVariant(
        "JSON with nested frames",
        _text(
            "l.jsonl",
            _jsonl(
                [
                    {"frames": {k: o[k] for k in ("rgb", "depth", "ir")}, "label": o["label"]}
                    for o in _objects()
                ]
            ),
        ),
    ),
    ListVariant(
        "JSON with a box of names",
        _text(
            "l.jsonl",
            _jsonl(
                _objects(
                    bbox=[
                        dict(zip(("left", "top", "right", "bottom"), box, strict=True))
                        for box in _CORNERS
                    ]
                )
            ),
        ),
        faces=True,
        says="corners",
    ),
    ListVariant(
        "JSON labels true and false",
        _text(
            "l.jsonl",
            _jsonl(
                [
                    {k: v for k, v in o.items() if k != "label"} | {"live": live}
                    for o, live in zip(_objects(), LIVE, strict=True)
                ]
            ),
        ),
        says="true is bona fide",
    ),
    ListVariant("JSON with nulls", _text("l.jsonl", _jsonl(_objects(face=[None] * 4)))),
    _refused(
        "JSON line cut off",
        _jsonl(_objects())[:-5] + "\n",
        "l.jsonl:4: is no JSON object",
        lambda _f, p: p.write_text(_jsonl(_objects())),
        file="l.jsonl",
    ),
    # What no reader can know.
    ListVariant("CASIA-SURF validation list", _numbered, says="1 is bona fide, 0 is attack"),
    ListVariant(
        "duplicated rows", _text("l.csv", _BASE + _BASE.split("\n", 1)[1]), labels=LIVE + LIVE
    ),
    _refused(
        "an id twice",
        _lines([list("abca"), *_ALL, _USUAL], header="id,rgb,depth,ir,label"),
        "id 'a' appears twice, in line 2",
        _replace("\na,color/0003", "\nd,color/0003"),
    ),
    _refused(
        "paths that do not say their modality",
        _lines([[f"{i}.png" for i in range(4)]] * 3 + [_words("live", "spoof")], " "),
        "write a header",
        lambda _f, p: p.write_text(_BASE),
        file="l.txt",
    ),
    _refused(
        "a column without a meaning",
        _lines([SUBJECTS, *_ALL, _words("live", "spoof")], " "),
        "write a header of 5 names",
        _prepend("subject rgb depth ir label"),
        file="l.txt",
    ),
    _refused(
        "one row a frame",
        _lines([_ALL[0], ["rgb"] * 4, _USUAL], header="path,modality,label"),
        "one row a capture",
        lambda _f, p: p.write_text(_BASE),
    ),
    _refused(
        "a misspelled column",
        _lines([*_ALL, _USUAL, SUBJECTS], header="rgb,depth,ir,label,subjct"),
        "is it 'subject'",
        _replace("subjct", "subject"),
    ),
    _refused(
        "a row too short",
        _BASE.rsplit(",", 1)[0] + "\n",
        "has 3 cells, the header 4",
        lambda _f, p: p.write_text(_BASE),
    ),
    ListVariant(
        "latin-1",
        _text("l.csv", f"# é\n{_BASE}", "latin-1"),
        says="iconv -f WINDOWS-1252",
        fix=lambda _f, p: p.write_text(p.read_bytes().decode("latin-1")),
    ),
    _refused(
        "a web page",
        "<!DOCTYPE html><html>404</html>",
        "web page",
        lambda _f, p: p.write_text(_BASE),
    ),
    _refused(
        "a box of three numbers",
        _lines(
            [*_ALL, _USUAL, ['"20,12,22"', *_quoted(BOXES[1:])]], header="rgb,depth,ir,label,face"
        ),
        "is not four numbers",
        _replace("20,12,22", "20,12,22,28", 1),
        faces=True,
    ),
)
