"""The way from published folders and lists to figures, one verb after the other."""

from __future__ import annotations

import json

import pytest

from support.published_layouts import write_published

COUNTS = {"train": 6, "val": 6, "test": 6}
TINY = ("--model", "mmdg", "--config", "tiny")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"), COUNTS)


def several(option: str, *values: object) -> list[object]:
    return [word for value in values for word in ([option, value] if option else [value])]


@pytest.mark.slow
def test_every_verb_reads_the_published_lists_of_several_data_sets(fasdk, published, tmp_path):
    sources, target = [published[letter] for letter in "CPS"], published["W"]
    roots = several("--root", *(each.root for each in sources))
    train = [each.lists["train"] for each in sources]

    checked = fasdk("dataset", "check", *train, *roots, "--json")
    assert checked.status == 0, checked.stderr
    report = json.loads(checked.stdout)
    assert (report["name"], report["rows"]) == ("C-train+P-train+S-train", 18)
    assert report["frames"]["missing"] == report["frames"]["unreadable"] == 0

    checkpoint = tmp_path / "cps.safetensors"
    development = several("--development", *(each.lists["val"] for each in sources))
    options = ("-o", checkpoint, *TINY, "--epochs", 1, "--batch", 12, "--json")
    trained = fasdk("train", *train, *development, *roots, *options)
    assert trained.status == 0, trained.stderr
    assert json.loads(trained.stdout)["domains"] == ["CASIA-SURF", "CeFA", "PADISI"]

    bundle = tmp_path / "cps.fasb"
    options = ("-o", bundle, "--model", "mmdg", "--backend", "onnxruntime", "--json")
    built = fasdk("build-engine", checkpoint, *development, *roots, *options)
    assert built.status == 0, built.stderr
    assert json.loads(built.stdout)["operating_points"]

    options = ("--root", target.root, "--family", "P1", "--json")
    evaluated = fasdk("evaluate", bundle, "--protocol", target.lists["test"], *options)
    assert evaluated.status == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["lists"][0]["captures"] == COUNTS["test"]

    tuned = fasdk(
        *("tune", bundle, "-o", tmp_path / "tuned.fasb", *roots, "--json"),
        *several("--protocol", *(each.lists["test"] for each in sources)),
    )
    assert tuned.status == 1, tuned.stderr  # 18 captures support no bound
    assert json.loads(tuned.stdout)["protocol"] == "C-test.txt+P-test.txt+S-test.txt"


@pytest.mark.slow
def test_folders_are_taken_where_lists_are(fasdk, published, tmp_path, checkpoint):
    folders = [each.root for each in published.values()]
    checked = fasdk("dataset", "check", *folders, "--json")
    assert checked.status == 0, checked.stderr
    assert json.loads(checked.stdout)["rows"] == 4 * 18
    bundle = tmp_path / "any.fasb"
    built = fasdk(
        *("build-engine", checkpoint, "-o", bundle, "--model", "mmdg", "--backend", "onnxruntime"),
        *several("--development", *folders[1:]),
        *several("--golden", published["S"].root),
    )
    assert bundle.is_file(), built.stderr  # an untrained network may earn no threshold: exit 1
    options = ("--development", published["C"].root, "--json")
    evaluated = fasdk("evaluate", bundle, "--protocol", published["W"].root, *options)
    assert evaluated.status == 0, evaluated.stderr


@pytest.mark.slow
def test_an_int8_graph_is_calibrated_on_published_lists(fasdk, published, tmp_path, checkpoint):
    calibration = [published[letter] for letter in "CPS"]
    built = fasdk(
        *("build-engine", checkpoint, "-o", tmp_path / "int8.fasb", "--model", "mmdg"),
        *("--precision", "int8", "--backend", "onnxruntime"),
        *several("--calibration", *(each.lists["train"] for each in calibration)),
        *several("--calibration-root", *(each.root for each in calibration)),
    )
    assert built.status == 0, built.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{W}", "--development", "{W}"), "is in training and development captures"),
        (
            ("{C}", "{W}", "--root", "{root}", "--root", "{root}", "--root", "{root}"),
            "LIST: 3 root folders for 2 of lists and folders: give --root once for all",
        ),
        (("{W}", "--root", "{root}/elsewhere"), "root {root}/elsewhere does not exist"),
        (("{W}", "--root", "{root}/C"), "frames are not below {root}/C"),
        (("{W}", "{W}"), "W-train.txt is given twice"),
        (("{root}/empty",), "empty holds no captures of a known data set"),
    ],
)
def test_lists_that_do_not_fit_are_one_line_and_write_nothing(
    fasdk, published, tmp_path, words, message
):
    root = published["W"].root.parent
    (root / "empty").mkdir(exist_ok=True)
    names = {letter: each.lists["train"] for letter, each in published.items()}
    given = [word.format(root=root, **names) for word in words]
    if "--development" not in given:
        given += ["--development", str(published["W"].lists["val"])]
    ran = fasdk("train", *given, "-o", tmp_path / "out.safetensors", *TINY)
    assert ran.status == 2
    (line,) = [line for line in ran.error_lines if " is read so: " not in line]
    assert message.format(root=root) in line
    assert list(tmp_path.iterdir()) == []
