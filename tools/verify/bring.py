"""Claims about what people bring, measured: `make verify-bring`.

Run from the project's root in its virtual environment. ONNX files, checkpoints, score files,
capture lists and images in the forms they are published in: each is read right, or refused with a
fix that is followed and works. `--only GROUP` measures one group. Where claims are recorded the
tables of forms are written to `docs/results/tables`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

from claims import Claim, report
from measuring import ROOT, pytest_claim, support_json
from recording import VARIABLE

TABLES = ROOT / "docs" / "results" / "tables"
ONNX_FILES, ONNX_SHARE, ONNX_DRIFT = 400, 0.99, 1e-4
LEAST_FORMS = 60
CROP_CASES, AREA_LEVELS = 10_000, 1
PUBLISHED_TESTS = "tests/tools/cli/test_published_precisions.py"
MISTAKE_TESTS = "tests/tools/cli/test_planted_mistakes.py"
DESCRIBE_TESTS = "tests/tools/cli/test_describe.py"

_QUICK_AND_SLOW = ("-m", "not gpu and not cuda_sim", "--timeout=900")


def published_claims() -> Iterator[Claim]:
    """Published networks in every precision, against ONNX Runtime on the file as given."""
    claim = "published files build in FP32, FP16 and INT8 and answer as given: failed or skipped"
    yield pytest_claim(claim, PUBLISHED_TESTS, *_QUICK_AND_SLOW)


def onnx_claims() -> Iterator[Claim]:
    """Generated ONNX files of many opsets, batch forms, layouts, ends, heads and architectures."""
    found = support_json("support.brought", "onnx", "--files", ONNX_FILES)
    files = found["files"]
    right = found["built"] + found["fixed"]
    note = f"{found['built']} at once, {found['fixed']} after the fixes that were asked for"
    failures = "; ".join(found["failures"])[:400]
    yield Claim("generated ONNX files", files, ">=", ONNX_FILES)
    yield Claim("share that imports right", right / files, ">=", ONNX_SHARE, note)
    yield Claim("silently wrong ONNX files", found["wrong"], "==", 0, failures)
    drift = found["worst_drift"]
    yield Claim("largest score difference of float32 files", drift, "<=", ONNX_DRIFT)


def form_claims(kind: str) -> Iterator[Claim]:
    """Every form of one kind of file."""
    words: list[object] = ["support.brought", kind]
    if os.environ.get(VARIABLE):
        TABLES.mkdir(parents=True, exist_ok=True)
        words += ["--out", TABLES / f"{kind.replace(' ', '-')}.json"]
    found = support_json(*map(str, words))
    yield Claim(f"{kind}: forms", found["forms"], ">=", LEAST_FORMS)
    wrong = found["wrong"]
    yield Claim(
        f"{kind}: forms neither right nor refused with a fix that works",
        len(wrong),
        "==",
        0,
        "; ".join(wrong)[:400],
    )


def mistake_claims() -> Iterator[Claim]:
    """Planted mistakes of a description, a list or a file."""
    claim = "planted mistakes that are neither refused nor corrected: failed or skipped"
    yield pytest_claim(claim, MISTAKE_TESTS, *_QUICK_AND_SLOW)


def describe_claims() -> Iterator[Claim]:
    """Units, color order and live class that `describe --reference` chooses."""
    claim = "describe --reference chooses units, order and live class: failed or skipped"
    yield pytest_claim(claim, DESCRIBE_TESTS, *_QUICK_AND_SLOW)


def scrubbed_claims() -> Iterator[Claim]:
    """Built-in models without a name in their files, described from 40 labeled captures."""
    found = support_json("support.scrubbed_models")
    for one in found["models"]:
        claim = f"{one['model']} without names: what describe --reference chose wrongly"
        chosen = (
            f"{one['units']}, {one['order']}, class {one['live_index']}, "
            f"{'+'.join(one['modalities'])}; AUC {one['auc']} on {found['captures']} captures"
        )
        note = f"{chosen}; wrong: {', '.join(one['wrong']) or 'nothing'}"
        yield Claim(claim, len(one["wrong"]), "==", 0, note)


def crop_claims() -> Iterator[Claim]:
    """Random crops by every rule, against OpenCV."""
    found = support_json("support.crop_rules", "--cases", CROP_CASES)
    for rule, measured in found["rules"].items():
        name = f"crops, {rule}: cases of OpenCV {found['opencv']}"
        if "equal" in measured:
            yield Claim(f"{name} that are equal", measured["equal"], "==", True)
            continue
        cases = measured["cases"]
        yield Claim(name, cases, ">=", CROP_CASES)
        limit = AREA_LEVELS if "area" in rule else 0
        worst = measured["worst_levels"]
        yield Claim(f"crops, {rule}: largest difference in levels", worst, "<=", limit)


def main() -> int:
    """Measure every group, or one."""
    kinds = ("checkpoints", "score files", "capture lists", "image files")
    groups: dict[str, Callable[[], Iterator[Claim]]] = {
        "published": published_claims,
        "onnx": onnx_claims,
        **{kind.replace(" ", "-"): partial(form_claims, kind) for kind in kinds},
        "mistakes": mistake_claims,
        "describe": describe_claims,
        "scrubbed": scrubbed_claims,
        "crops": crop_claims,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(groups))
    only: str | None = parser.parse_args().only
    return report(groups if only is None else {only: groups[only]})


if __name__ == "__main__":
    sys.exit(main())
