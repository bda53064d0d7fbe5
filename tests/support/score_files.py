"""Forms in which score files are written, each with what reading it must give."""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import ColumnChoice, ScoreFileOptions, read_scores

SCORES = [0.9312, 0.8841, 0.7719, 0.4127, 0.9655, 0.6123, 0.5218, 0.2214, 0.0312, 0.1187, 0.3009]
SCORES += [0.0621]
LIVE = [True, True, True, True, True, True, False, False, False, False, False, False]
KINDS = ["print", "print", "replay", "replay", "mask", "mask"]
COUNT = len(SCORES)
PATHS = [f"set/{i:06d}.png" for i in range(COUNT)]

Files = dict[str, bytes]


@dataclass(frozen=True)
class Form:
    """One way to write the scores.

    Attributes:
        name: What is special about it.
        files: Files by name; the scores are the first.
        options: Options given, as on the command line.
        refused: Pattern of the message where the form is refused; None where it is read.
        fix: Options that the message names, as on the command line; or, where it asks for another
            file, the files as it asks.
        species: Whether the kinds of attack are read too.
        said: Text that `read_as` must hold.
    """

    name: str
    files: Files
    options: str = ""
    refused: str | None = None
    fix: str | Files = ""
    species: bool = False
    said: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a form.

    Attributes:
        name: Name of the form.
        outcome: `right`, `refused, and the fix works`, or what went wrong.
        ok: Whether that is one of the first two.
    """

    name: str
    outcome: str
    ok: bool = field(default=True)


def options_of(text: str, folder: Path) -> ScoreFileOptions:
    """Return the options of a command line's text."""
    words = shlex.split(text)
    given: dict[str, list[str]] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        given.setdefault(name.removeprefix("--"), []).append(value)
    single = {name: values[0] for name, values in given.items()}
    labels = single.get("labels")
    return ScoreFileOptions(
        columns=ColumnChoice(
            score=single.get("score-column"),
            label=single.get("label-column"),
            species=single.get("species-column"),
        ),
        live_labels=tuple(given.get("live-label", ())),
        higher_is=single.get("higher-is"),
        labels=None if labels is None else folder / labels,
    )


def try_form(form: Form, folder: Path) -> Outcome:
    """Return what becomes of a form: it is read right, or refused with a fix that works."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(form.files, folder)
    path = folder / next(iter(form.files))
    options = form.options
    if form.refused is not None:
        try:
            read_scores(path, options_of(options, folder))
        except DatasetError as error:
            message = str(error)
        else:
            return Outcome(form.name, "taken, expected a refusal", ok=False)
        if not re.search(form.refused, message) or "\n" in message:
            return Outcome(form.name, f"another message: {message}", ok=False)
        if isinstance(form.fix, str):
            if not set(re.findall(r"--\S+", form.fix)) <= set(re.findall(r"--[a-z-]+", message)):
                return Outcome(form.name, f"message without {form.fix}: {message}", ok=False)
            options = f"{options} {form.fix}"
        else:
            _write(form.fix, folder)
            path = folder / next(iter(form.fix))
    try:
        wrong = _difference(path, options_of(options, folder), form)
    except DatasetError as error:
        wrong = str(error)
    if wrong:
        return Outcome(form.name, wrong, ok=False)
    return Outcome(form.name, "right" if form.refused is None else "refused, and the fix works")


def try_all_forms(folder: Path) -> list[Outcome]:
    """Return what becomes of every form, written below a folder."""
    return [try_form(form, folder / str(number)) for number, form in enumerate(FORMS)]


def _write(files: Files, folder: Path) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _difference(path: Path, options: ScoreFileOptions, form: Form) -> str:
    """Return how a file as read differs from the scores; "" where it does not."""
    found = read_scores(path, options)
    scores = found.scores
    values = scores.values.tolist()
    read = [s for s, live in zip(scores.species, LIVE, strict=True) if not live]
    in_order = np.argsort(values).tolist() == np.argsort(SCORES).tolist()
    checks = {
        f"labels {scores.is_bona_fide.tolist()}": scores.is_bona_fide.tolist() == LIVE,
        f"scores {values}": in_order and len(set(values)) == COUNT,
        f"species {read}": read == KINDS if form.species else len(set(read)) == 1,
        f"{form.said!r} is not said among {found.read_as}": any(
            form.said in note for note in found.read_as
        ),
        "the labels' polarity is not said": any("bona fide: " in note for note in found.read_as),
    }
    return next((wrong for wrong, right in checks.items() if not right), "")


Spell = Callable[[int], str]


def _numeral(row: int) -> str:
    return str(int(LIVE[row]))


def _words(live: str, attack: str) -> Spell:
    return lambda row: live if LIVE[row] else attack


def _kind(row: int, live: str = "") -> str:
    return live if LIVE[row] else KINDS[row - LIVE.count(True)]


def _score(row: int) -> str:
    return str(SCORES[row])


def _logit(row: int) -> float:
    return float(np.log(SCORES[row] / (1 - SCORES[row])))


def _path(row: int) -> str:
    return PATHS[row]


def lines(
    *columns: Spell, header: str | None = "score,label", sep: str = ",", end: str = "\n"
) -> str:
    """Return delimited text of some columns."""
    rows = [sep.join(spell(row) for spell in columns) for row in range(COUNT)]
    return end.join([*([] if header is None else [header]), *rows]) + end


def _csv(*columns: Spell, header: str | None = "score,label", sep: str = ",") -> Files:
    return {"scores.csv": lines(*columns, header=header, sep=sep).encode()}


def _one_wrong(text: str, wrong: str) -> Files:
    """Return a file whose fourth score is written in another way."""
    return {"scores.csv": text.replace(str(SCORES[3]), wrong).encode()}


PLAIN = lines(_score, _numeral)


def _label_forms() -> list[Form]:
    pairs = [
        ("1.0", "0.0"),
        ("+1", "-1"),
        ("1", "-1"),
        ("01", "00"),
        ("live", "spoof"),
        ("Live", "Spoof"),
        ("real", "fake"),
        ("genuine", "imposter"),
        ("genuine", "impostor"),
        ("bona fide", "attack"),
        ("bonafide", "spoof"),
        ("bona_fide", "presentation_attack"),
        ("true", "false"),
        ("True", "False"),
        ("human", "spoof"),
        ("LIVE", "NOT LIVE"),
        ("real face", "fake face"),
    ]
    forms = [
        Form(f"labels {live} and {attack}", _csv(_score, _words(live, attack)))
        for live, attack in pairs
    ]
    forms += [
        Form(
            f"column {name}",
            _csv(_score, _words("0", "1"), header=f"score,{name}"),
            said="bona fide: label 0 (6); attack: label 1 (6)",
        )
        for name in ("is_spoof", "isAttack", "attack", "fake")
    ]
    ambiguous = [("1", "2"), ("2", "1"), ("yes", "no"), ("positive", "negative"), ("a", "b")]
    ambiguous += [("0", "3")]
    forms += [
        Form(
            f"labels {live} and {attack}",
            _csv(_score, _words(live, attack)),
            refused=rf":\d+: label .*--live-label {live}",
            fix=f"--live-label {live}",
        )
        for live, attack in ambiguous
    ]
    return forms


def _polarity_forms() -> list[Form]:
    return [
        Form("labels that name kinds", _csv(_score, lambda r: _kind(r, "live")), species=True),
        Form(
            "species alone",
            _csv(_score, lambda r: _kind(r, "bona fide"), header="score,species"),
            species=True,
            said="labels taken from the species",
        ),
        Form(
            "species on the rows of label 1",
            _csv(_score, _words("0", "1"), _kind, header="score,label,species"),
            refused="species '' of an attack .*--live-label 0",
            fix="--live-label 0",
            species=True,
        ),
        Form(
            "labels against the folders",
            _csv(
                lambda r: ("real/" if LIVE[r] else "spoof/") + PATHS[r],
                lambda r: str(1 - SCORES[r]),
                _words("0", "1"),
                header="path,score,label",
            ),
            refused="says otherwise, as 12 of 12 paths do: .*--live-label 0",
            fix="--live-label 0 --higher-is attack",
        ),
        Form(
            "labels the other way",
            _csv(_score, _words("0", "1")),
            refused="AUC .* below one half .*--live-label 0",
            fix="--live-label 0",
        ),
        Form(
            "score of an attack",
            _csv(lambda r: str(1 - SCORES[r]), _numeral),
            refused="AUC .* below one half .*--higher-is attack",
            fix="--higher-is attack",
        ),
        *(
            Form(
                f"score column {name}",
                _csv(lambda r: str(1 - SCORES[r]), _numeral, header=f"{name},label"),
                said="is more attack, by its name",
            )
            for name in ("spoof_score", "prob_fake", "attackProbability", "spoof")
        ),
        Form(
            "softmax of both classes",
            _csv(lambda r: f"{1 - SCORES[r]:.4f}", _score, _numeral, header="p_spoof,p_live,label"),
            said="sum to 1",
        ),
        Form(
            "logits of both classes",
            _csv(
                lambda r: f"{-_logit(r):.4f}",
                lambda r: f"{_logit(r):.4f}",
                _numeral,
                header="logit_spoof,logit_live,label",
            ),
            refused="may each hold the score.*--score-column logit_live",
            fix="--score-column logit_live",
        ),
        Form(
            "misspelled label",
            {
                "scores.csv": lines(_score, _words("live", "spoof"))
                .replace("live", "lvie", 1)
                .encode()
            },
            refused=":2: label 'lvie': is it 'live'",
            fix=_csv(_score, _words("live", "spoof")),
        ),
        Form(
            "label of another kind",
            {"scores.csv": PLAIN.replace("0.8841,1", "0.8841,live").encode()},
            refused=":3: label 'live' is a word and the first",
            fix=_csv(_score, _numeral),
        ),
        Form(
            "empty label",
            {"scores.csv": PLAIN.replace("0.8841,1", "0.8841,").encode()},
            refused=":3: label '': expected 1",
            fix=_csv(_score, _numeral),
        ),
        Form(
            "labels of three classes",
            _csv(
                _score,
                lambda r: "1" if LIVE[r] else "02"[r % 2],
                lambda r: _kind(r, "-"),
                header="score,label,attack_type",
            ),
            refused=r":\d+: label '2': .*--live-label 1",
            fix="--live-label 1",
            species=True,
        ),
    ]


def _text_forms() -> list[Form]:
    separators = {"semicolon": ";", "tab": "\t", "space": " ", "spaces": "   ", "bar": "|"}
    separators |= {"comma and space": ", ", "spaced bar": " | "}
    comma: Spell = lambda r: _score(r).replace(".", ",")  # noqa: E731 - one of many spellings
    forms = []
    for name, sep in separators.items():
        header = sep.join(["path", "score", "label"])
        forms += [
            Form(f"separated by {name}", _csv(_path, _score, _numeral, header=header, sep=sep)),
            Form(
                f"separated by {name}, no header",
                _csv(_path, _score, _numeral, header=None, sep=sep),
            ),
        ]
    forms += [
        Form("decimal comma", _csv(comma, _numeral, header="score;label", sep=";")),
        Form("decimal comma, no header", _csv(comma, _numeral, header=None, sep=";")),
        Form("decimal comma, spaces", _csv(comma, _numeral, header=None, sep=" ")),
        Form("decimal comma, quoted", _csv(lambda r: f'"{comma(r)}"', _numeral)),
        Form(
            "decimal comma between commas",
            _csv(comma, _numeral),
            refused=":2: 3 fields, expected 2 .*separate columns by semicolons",
            fix=_csv(comma, _numeral, header="score;label", sep=";"),
        ),
        Form(
            "decimal comma between commas, with paths",
            _csv(_path, comma, _numeral, header="path,score,label"),
            refused=":2: 4 fields, expected 3 .*separate columns by semicolons",
            fix=_csv(_path, comma, _numeral, header="path;score;label", sep=";"),
        ),
        Form(
            "decimal comma between commas, numbered",
            _csv(lambda r: str(r + 1), comma, _numeral, header="index,score,label"),
            refused=":2: 4 fields, expected 3 .*separate columns by semicolons",
            fix=_csv(comma, _numeral, header="score;label", sep=";"),
        ),
        Form(
            "decimal comma between commas, no header",
            _csv(comma, _numeral, header=None),
            refused=":1: columns 1 and 2 may be one number with a decimal comma",
            fix=_csv(comma, _numeral, header=None, sep=";"),
        ),
        Form("scientific notation", _csv(lambda r: f"{SCORES[r]:.6e}", _numeral)),
        Form("scientific, capital E", _csv(lambda r: f"{SCORES[r]:.6E}", _numeral)),
        Form("index column", _csv(str, _score, _numeral, header=",score,label")),
        Form("pandas' unnamed", _csv(str, _score, _numeral, header="Unnamed: 0,score,label")),
        Form("index column, no header", _csv(str, _score, _numeral, header=None)),
        Form("no header", _csv(_score, _numeral, header=None)),
        Form("labels first, no header", _csv(_numeral, _score, header=None)),
        Form("byte-order mark", {"scores.csv": b"\xef\xbb\xbf" + PLAIN.encode()}),
        Form("UTF-16", {"scores.csv": PLAIN.encode("utf-16")}, said="UTF-16"),
        Form("UTF-16, big end first", {"scores.csv": b"\xfe\xff" + PLAIN.encode("utf-16-be")}),
        Form("UTF-16 without a mark", {"scores.csv": PLAIN.encode("utf-16-le")}, said="UTF-16"),
        Form("CRLF", {"scores.csv": PLAIN.replace("\n", "\r\n").encode()}),
        Form("CR alone", {"scores.csv": PLAIN.replace("\n", "\r").encode()}),
        Form("no last line end", {"scores.csv": PLAIN.rstrip().encode()}),
        Form("blank lines", {"scores.csv": PLAIN.replace("\n", "\n\n").encode()}),
        Form("all quoted", _csv(lambda r: f'"{_score(r)}"', lambda r: f'"{_numeral(r)}"')),
        Form(
            "whole numbers side by side, no header",
            _csv(
                lambda r: str(7 + r % 2),
                lambda r: str(round(255 * SCORES[r])),
                _numeral,
                header=None,
            ),
            refused=":1: columns 1 and 2 may be one number with a decimal comma",
            fix=_csv(
                lambda r: str(7 + r % 2),
                lambda r: str(round(255 * SCORES[r])),
                _numeral,
                header="fold,score,label",
            ),
        ),
        Form(
            "quoted paths with commas",
            _csv(lambda r: f'"a, b/{r}.png"', _score, _numeral, header="path,score,label"),
        ),
        Form("comments", {"scores.csv": f"# of model 3\n{PLAIN}# end\n".encode()}),
        Form(
            "header in a comment",
            {
                "scores.csv": lines(
                    _path, _score, _numeral, header="# path score label", sep=" "
                ).encode()
            },
            said="from the comment",
        ),
        Form("Excel's sep line", {"scores.csv": f"sep=,\n{PLAIN}".encode()}),
        Form(
            "table of Markdown",
            {
                "scores.md": (
                    "| score | label |\n|-------|-------|\n"
                    + lines(
                        lambda r: f"| {_score(r)}",
                        lambda r: f"{_numeral(r)} |",
                        header=None,
                        sep=" | ",
                    )
                ).encode()
            },
        ),
        Form("percent", _csv(lambda r: str(round(100 * SCORES[r], 2)), _numeral), said="percent"),
        Form("percent signs", _csv(lambda r: f"{100 * SCORES[r]:.2f}%", _numeral), said="percent"),
        Form("logits", _csv(lambda r: f"{_logit(r):.5f}", _numeral), said="logits"),
        Form(
            "minus signs of Unicode",
            _csv(lambda r: f"{_logit(r):.5f}".replace("-", "\N{MINUS SIGN}"), _numeral),
        ),
        Form(
            "levels of eight bits",
            _csv(lambda r: f"{255 * SCORES[r]:.2f}", _numeral),
            said="run from",
        ),
    ]
    names = ["Score,Label", "SCORE,LABEL", "prob,target", "logit,y_true", "prediction,gt"]
    names += ["liveness,ground_truth", "liveness_score,is_live", "y_score,y_true", "live,label"]
    names += ["confidence,class", "Probability,Ground Truth", "real_score,isReal", "p(live),label"]
    forms += [
        Form(f"header {header}", _csv(_score, _numeral, header=header), said="column")
        for header in names
    ]
    wrong = {"nan": "nan", "inf": "inf", "empty": "", "word": "high", "tensor": "tensor(0.4127)"}
    wrong |= {"underscore": "0.4_127", "hexadecimal": "0x1p-2"}
    forms += [
        Form(
            f"score that is {name}",
            _one_wrong(PLAIN, text),
            refused=":5: score .* is not a finite number",
            fix={"scores.csv": PLAIN.encode()},
        )
        for name, text in wrong.items()
    ]
    return [
        *forms,
        Form(
            "percent sign on one row",
            _one_wrong(PLAIN, "41.27%"),
            refused=":2: score .* has no percent sign",
            fix=_csv(_score, _numeral),
        ),
        Form(
            "groups of thousands",
            _csv(lambda r: f'"{round(1e5 * SCORES[r]) + 10000:,}"', _numeral),
            refused=":2: score .*the comma may be",
            fix=_csv(lambda r: str(round(1e5 * SCORES[r]) + 10000), _numeral),
        ),
        Form("separator after each row", _csv(_score, lambda r: f"{_numeral(r)},")),
        Form(
            "row names of R",
            {
                "scores.txt": lines(
                    lambda r: f'"{r + 1}"', _score, _numeral, header='"score" "label"', sep=" "
                ).encode()
            },
            said="row names",
        ),
        Form(
            "NumPy's savetxt",
            _csv(lambda r: f"{SCORES[r]:.18e}", lambda r: f"{LIVE[r]:.18e}", header=None, sep=" "),
        ),
        Form("comment after some rows", {"scores.csv": PLAIN.replace("\n", "\n# x\n", 3).encode()}),
        Form(
            "paths of a server",
            _csv(lambda r: f"//nas/a/{r}.png", _score, _numeral, header=None, sep=" "),
        ),
        Form(
            "predicted words beside the score",
            _csv(
                lambda r: "live" if SCORES[r] > 0.5 else "spoof",
                _score,
                _numeral,
                header="prediction,prob,gt_label",
            ),
        ),
        Form(
            "other scores beside it",
            _csv(
                lambda r: str(SCORES[-1 - r]), _score, _numeral, header="face_score,cls_score,label"
            ),
        ),
        Form(
            "unknown name of the score",
            _csv(_score, _numeral, header="foo,label"),
            refused=":1: no column 'score' .*--score-column",
            fix="--score-column foo",
        ),
        Form(
            "unknown names, told",
            _csv(_score, _numeral, header="foo,bar"),
            "--score-column foo --label-column bar",
        ),
        Form(
            "two columns of numbers without names",
            _csv(_path, _score, lambda r: str(SCORES[-1 - r]), _numeral, header=None),
            refused="columns 2, 3 may each hold the score.*--score-column 2 or --score-column 3",
            fix="--score-column 2",
        ),
        Form(
            "labels of two columns",
            _csv(_score, _numeral, lambda r: str(r % 2), header="score,label,gt"),
            refused="'label', 'gt' may each hold the label.*--label-column label",
            fix="--label-column label",
        ),
        Form(
            "a row cut short",
            {
                "scores.csv": lines(_path, _score, _numeral, header="path,score,label")
                .replace(f"{PATHS[3]},0.4127,1", PATHS[3])
                .encode()
            },
            refused=":5: 1 fields, expected 3",
            fix=_csv(_score, _numeral),
        ),
        Form(
            "paths with spaces between spaces",
            {
                "scores.txt": lines(
                    lambda r: f"a b/{r}.png" if r else "a/0.png",
                    _score,
                    _numeral,
                    header=None,
                    sep=" ",
                ).encode()
            },
            refused=":2: 4 fields, expected 3 .*tabs",
            fix={
                "scores.txt": lines(
                    lambda r: f"a b/{r}.png", _score, _numeral, header=None, sep="\t"
                ).encode()
            },
        ),
        Form(
            "Latin-1",
            {
                "scores.csv": lines(
                    lambda r: f"é{r}", _score, _numeral, header="path,score,label"
                ).encode("latin-1")
            },
            refused="not UTF-8 text.*save them as UTF-8",
            fix=_csv(lambda r: f"é{r}", _score, _numeral, header="path,score,label"),
        ),
    ]


def _container_forms() -> list[Form]:
    rows = [{"score": SCORES[r], "label": int(LIVE[r])} for r in range(COUNT)]
    pathed = [{"path": PATHS[r]} | rows[r] for r in range(COUNT)]
    columns = {"score": SCORES, "label": [int(live) for live in LIVE]}
    live = np.array(LIVE)

    def dumped(document: object) -> Files:
        return {"scores.json": json.dumps(document, indent=1).encode()}

    def saved(name: str, save: Callable[[io.BytesIO], None]) -> Files:
        file = io.BytesIO()
        save(file)
        return {name: file.getvalue()}

    scores = np.array(SCORES)
    labels_npy = saved("labels.npy", lambda f: np.save(f, live.astype(np.int64)))
    pickled = saved("scores.npz", lambda f: np.savez(f, score=np.array(SCORES, object), label=live))
    plain_npz = saved("scores.npz", lambda f: np.savez(f, score=scores, label=live))
    softmax = np.stack([1 - scores, scores], 1)
    structured = np.array(
        list(zip(SCORES, [int(x) for x in LIVE], strict=True)), [("score", "f8"), ("label", "i4")]
    )
    return [
        Form("JSON Lines", {"s.jsonl": "\n".join(map(json.dumps, pathed)).encode()}),
        Form(
            "JSON Lines of lists",
            {
                "s.jsonl": "\n".join(
                    json.dumps([SCORES[r], int(LIVE[r])]) for r in range(COUNT)
                ).encode()
            },
        ),
        Form("JSON array", dumped(rows)),
        Form(
            "JSON array of lists",
            dumped([[PATHS[r], SCORES[r], int(LIVE[r])] for r in range(COUNT)]),
        ),
        Form("JSON columns", dumped(columns)),
        Form(
            "JSON of pandas, by column",
            dumped(
                {name: {str(i): v for i, v in enumerate(texts)} for name, texts in columns.items()}
            ),
        ),
        Form("JSON by path", dumped({PATHS[r]: rows[r] for r in range(COUNT)})),
        Form("JSON under a key", dumped({"model": "x", "results": pathed})),
        Form(
            "JSON booleans", dumped([{"score": SCORES[r], "label": LIVE[r]} for r in range(COUNT)])
        ),
        Form(
            "JSON numbers as text",
            dumped([{"score": str(SCORES[r]), "label": str(int(LIVE[r]))} for r in range(COUNT)]),
        ),
        Form(
            "JSON scores by path, folders",
            dumped(
                {("live/" if LIVE[r] else "spoof/") + PATHS[r]: SCORES[r] for r in range(COUNT)}
            ),
        ),
        Form(
            "JSON with NaN",
            {"scores.json": json.dumps(rows).replace("0.4127", "NaN").encode()},
            refused="entry 4: score 'nan' is not a finite number",
            fix=dumped(rows),
        ),
        Form(
            "JSON with null",
            {"scores.json": json.dumps(rows).replace("0.4127", "null").encode()},
            refused="entry 4: score '' is not a finite number",
            fix=dumped(rows),
        ),
        Form(
            "JSON cut short",
            {"scores.json": json.dumps(rows)[:-9].encode()},
            refused="no JSON",
            fix=dumped(rows),
        ),
        Form(
            "JSON with a key twice",
            {"scores.json": b'[{"score": 0.9, "score": 0.1, "label": 1}]'},
            refused="names 'score' twice",
            fix=dumped(rows),
        ),
        Form(
            "two scores a path",
            dumped(
                {
                    ("live/" if LIVE[r] else "spoof/") + PATHS[r]: [1 - SCORES[r], SCORES[r]]
                    for r in range(COUNT)
                }
            ),
            refused="may each hold the score|no column 'score'.*--score-column 'scores 1'",
            fix="--score-column 'scores 1'",
        ),
        Form("NPZ", plain_npz),
        Form(
            "NPZ, compressed, [N, 1]",
            saved(
                "s.npz",
                lambda f: np.savez_compressed(
                    f, score=scores[:, None].astype(np.float32), label=live.astype(np.int8)
                ),
            ),
        ),
        Form(
            "NPZ with text",
            saved(
                "s.npz",
                lambda f: np.savez(f, scores=scores, labels=np.where(live, "live", "spoof")),
            ),
        ),
        Form(
            "NPZ of softmax",
            saved("s.npz", lambda f: np.savez(f, softmax=softmax, label=live)),
            refused="no column 'score' among 'softmax 0', 'softmax 1', 'label'.*--score-column",
            fix={"s.npz": plain_npz["scores.npz"]},
        ),
        Form(
            "NPZ of softmax, told",
            saved("s.npz", lambda f: np.savez(f, softmax=softmax, label=live)),
            "--score-column 'softmax 1'",
        ),
        Form("NPZ of objects", pickled, refused="Python objects.*numpy.savez", fix=plain_npz),
        Form(
            "NPY [N, 2]",
            saved("s.npy", lambda f: np.save(f, np.stack([scores, live.astype(float)], 1))),
        ),
        Form("NPY, structured", saved("s.npy", lambda f: np.save(f, structured))),
        Form(
            "NPY and NPY",
            saved("s.npy", lambda f: np.save(f, scores)) | labels_npy,
            "--labels labels.npy",
            said="in the order",
        ),
        Form("gzip", {"scores.csv.gz": gzip.compress(PLAIN.encode())}),
        Form("gzip without its ending", {"scores.csv": gzip.compress(PLAIN.encode())}),
        Form(
            "gzip of JSON Lines",
            {"s.jsonl.gz": gzip.compress("\n".join(map(json.dumps, rows)).encode())},
        ),
        Form(
            "gzip cut short",
            {"scores.csv.gz": gzip.compress(PLAIN.encode())[:-9]},
            refused="do not decompress",
            fix={"scores.csv.gz": gzip.compress(PLAIN.encode())},
        ),
        Form(
            "pickle",
            {"scores.pkl": b"\x80\x04\x95abc"},
            refused="pickle, which can run code",
            fix=_csv(_score, _numeral),
        ),
        Form(
            "Parquet",
            {"scores.parquet": b"PAR1abc"},
            refused="Parquet.*UTF-8 CSV",
            fix=_csv(_score, _numeral),
        ),
    ]


def _two_files() -> list[Form]:
    scores = lines(_path, _score, header=None, sep=" ")
    labels = lines(_path, _numeral, header=None, sep=" ")
    backwards = "\n".join(reversed(labels.strip().split("\n")))

    def pair(one: str, two: str) -> Files:
        return {"scores.txt": one.encode(), "labels.txt": two.encode()}

    surf = lines(
        *(lambda r, m=m: f"Val/{r // 8:04d}/{r:06d}-{m}.jpg" for m in ("color", "depth", "ir")),
        _score,
        header=None,
        sep=" ",
    )
    surf_labels = lines(
        *(lambda r, m=m: f"Val/{r // 8:04d}/{r:06d}-{m}.jpg" for m in ("color", "depth", "ir")),
        _numeral,
        header=None,
        sep=" ",
    )
    told = "--labels labels.txt"
    return [
        Form("challenge: path and score", pair(scores, backwards), told, said="joined by path"),
        Form(
            "challenge: path and score, no labels",
            pair(scores, labels),
            refused="no column 'label' .*--labels FILE",
            fix="--labels labels.txt",
        ),
        Form("CASIA-SURF challenge", pair(surf, surf_labels), told, said="joined by path"),
        Form(
            "CeFA challenge: video and score",
            pair(
                lines(lambda r: f"dev/{r + 3000:06d}", _score, header=None, sep=" "),
                lines(lambda r: f"dev/{r + 3000:06d}", _numeral, header=None, sep=" "),
            ),
            told,
        ),
        Form(
            "other folders",
            pair(scores, labels.replace("set/", "D:\\data\\")),
            told,
            said="as paths differ",
        ),
        Form(
            "numbers and names",
            pair(lines(lambda r: f"{r:06d}", _score, header=None, sep=" "), labels),
            told,
            said="without its ending",
        ),
        Form(
            "labels alone",
            pair(lines(_score, header=None), lines(_words("live", "spoof"), header=None)),
            told,
            said="in the order",
        ),
        Form(
            "labels in CSV",
            pair(scores, lines(_path, _numeral, _kind, header="path,label,species")),
            told,
            species=True,
        ),
        Form(
            "a label too few",
            pair(scores, labels.replace("set/000004.png 1\n", "")),
            told,
            refused=":5: 'set/000004.png' has no label",
            fix=pair(scores, labels),
        ),
        Form(
            "a score too few",
            pair(scores.replace("set/000004.png 0.9655\n", ""), labels),
            told,
            refused=":5: 1 labels, such as this, have no score",
            fix=pair(scores, labels),
        ),
        Form(
            "labels of another length",
            pair(lines(_score, header=None), "1\n0\n"),
            told,
            refused="has 2 labels and .* 12 scores",
            fix=pair(lines(_score, header=None), lines(_numeral, header=None)),
        ),
        Form(
            "a file labeled twice",
            pair(scores, labels + "set/000004.png 0\n"),
            told,
            refused=":13: 'set/000004.png' has a label at .*:5 already",
            fix=pair(scores, labels),
        ),
        Form(
            "labels in another file, 1 for a spoof",
            pair(scores, lines(_path, _words("0", "1"), header="path,is_spoof")),
            told,
            said="bona fide: label 0 (6)",
        ),
        Form(
            "labels in both files",
            pair(lines(_path, _score, _numeral, header="path,score,label"), labels),
            told,
            refused="labels stand in column 'label' and in",
            fix=pair(scores, labels),
        ),
        Form(
            "folders as labels",
            _csv(
                lambda r: ("live/" if LIVE[r] else "spoof/") + PATHS[r], _score, header="path,score"
            ),
            said="from the folders",
        ),
        Form(
            "folders as labels, no header",
            _csv(
                lambda r: ("real_part/" if LIVE[r] else "fake_part/") + PATHS[r],
                _score,
                header=None,
                sep=" ",
            ),
            said="from the folders",
        ),
        Form(
            "folders below one that names a class",
            _csv(
                lambda r: "anti_spoof/spoof_data/" + ("live/" if LIVE[r] else "spoof/") + PATHS[r],
                _score,
                header=None,
            ),
        ),
        Form(
            "countermeasure scores of ASVspoof",
            _csv(
                lambda r: f"LA_E_{r}",
                lambda r: "-" if LIVE[r] else "A07",
                _words("bonafide", "spoof"),
                lambda r: f"{_logit(r):.5f}",
                header=None,
                sep=" ",
            ),
        ),
        Form(
            "four columns of Bob",
            _csv(
                lambda r: str(101 + r // 4),
                lambda r: str(101 + r // 4) if LIVE[r] else f"attack/{_kind(r)}",
                _path,
                _score,
                header=None,
                sep=" ",
            ),
            said="four columns of Bob",
            species=True,
        ),
        Form(
            "OULU-NPU's label and name",
            pair(
                lines(lambda r: f"{r % 3 + 1}_1_{r:02d}_1", _score, header=None),
                lines(
                    lambda r: "+1" if LIVE[r] else "-2",
                    lambda r: f"{r % 3 + 1}_1_{r:02d}_1",
                    header=None,
                ),
            ),
            told,
        ),
    ]


FORMS = (
    *_label_forms(),
    *_polarity_forms(),
    *_text_forms(),
    *_container_forms(),
    *_two_files(),
)
