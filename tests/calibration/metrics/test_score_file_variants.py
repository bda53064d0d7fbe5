"""Score files of random columns, separators, spellings and headers: right or refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import read_scores

LABELS = [("1", "0"), ("1.0", "0.0"), ("+1", "-1"), ("live", "spoof"), ("real", "fake")]
LABELS += [("bona fide", "attack"), ("True", "False"), ("genuine", "imposter"), ("Live", "Print")]
SEPARATORS = [",", ";", "\t", " ", "|", ", ", "  "]
SCALES = {
    "share": lambda share: f"{share:.4f}",
    "percent": lambda share: f"{100 * share:.2f}",
    "level": lambda share: str(round(255 * share)),
    "signed": lambda share: f"{6 * share - 3:.5f}",
    "decision": lambda share: str(int(share > 0.5)),
}
HEADERS = {
    "score": ["score", "Score", "prob", "logit", "liveness"],
    "label": ["label", "LABEL", "target", "y_true", "gt"],
    "path": ["path", "file", "img"],
    "index": ["", "Unnamed: 0", "idx"],
    "quality": ["quality", "yaw", "x"],
    "kind": ["species", "attack_type"],
}


def make(rng: random.Random, path: Path) -> tuple[list[float], list[bool]]:
    """Write a random file and return its scores and which rows are bona fide."""
    live = [True, False, *(rng.random() < 0.5 for _ in range(rng.choice([2, 4, 10, 30])))]
    shares = [min(0.999, max(0.001, rng.gauss(0.75 if x else 0.25, 0.15))) for x in live]
    scale = rng.choice(sorted(SCALES))
    scores = [SCALES[scale](share) for share in shares]
    values = [float(text) for text in scores]
    if rng.random() < 0.2:
        scores = [text.replace(".", ",") for text in scores]
    words = rng.choice(LABELS)
    columns = {
        "score": scores,
        "label": [words[0] if x else words[1] for x in live],
        "path": [f"{rng.choice(['img', 'a/b', 'x y'])}/{i}.png" for i in range(len(live))],
        "index": [str(i) for i in range(len(live))],
        "quality": [f"{rng.random():.3f}" for _ in live],
        "kind": ["" if x else rng.choice(["print", "replay", "mask"]) for x in live],
    }
    names = ["score", "label", *rng.sample(["path", "index", "quality", "kind"], rng.randint(0, 3))]
    rng.shuffle(names)
    separator, is_quoted = rng.choice(SEPARATORS), rng.random() < 0.2
    character = separator.strip(" ") or " "

    def cell(text: str) -> str:
        return f'"{text}"' if is_quoted or character in text or not text else text

    rows = [separator.join(cell(columns[name][i]) for name in names) for i in range(len(live))]
    if rng.random() < 0.6:
        rows.insert(0, separator.join(cell(rng.choice(HEADERS[name])) for name in names))
    path.write_text("\n".join(rows) + "\n")
    return values, live


@pytest.mark.parametrize("seed", range(4))
def test_a_random_file_is_read_right_or_refused(tmp_path, seed):
    rng = random.Random(seed)  # noqa: S311 - no secret
    path = tmp_path / "scores.txt"
    read = 0
    for _ in range(75):
        values, live = make(rng, path)
        try:
            found = read_scores(path)
        except DatasetError:
            continue
        assert found.scores.is_bona_fide.tolist() == live, path.read_text()
        assert found.scores.values.tolist() == values, path.read_text()
        read += 1
    assert read > 40
