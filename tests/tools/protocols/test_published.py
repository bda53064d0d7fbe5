"""Published tables over folders in the published layouts, names and lists."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from functools import partial

import pytest

from fasdk_calibration.error_rates import case as judging
from fasdk_tools.protocols import published_cells

from support.published_layouts import write_published

TINY = ("--config", "tiny", "--epochs", 1, "--batch", 16, "--freeze", "never")
COUNTS = {"train": 12, "val": 12, "test": 12}
FEW = {"train": 4, "val": 4, "test": 4}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Bounds by resampling are not what is tried here, and take most of the time."""
    few = partial(judging.bootstrap_intervals, resamples=20)
    monkeypatch.setattr(judging, "bootstrap_intervals", few)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """All four data sets, each with its lists beside its frames."""
    return write_published(tmp_path_factory.mktemp("published"), COUNTS)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The same with few captures."""
    return write_published(tmp_path_factory.mktemp("few"), FEW, frames=1)


def data_of(published, letters="WCPS"):
    return ",".join(f"{letter}={published[letter].root}" for letter in letters)


def shape_of(line: str) -> str:
    return re.sub(r"\d+", "0", re.sub(r"^[0-9a-z]{8}(?=\.npz)", "TRIAL", line))


@pytest.mark.parametrize("letter", "WCPS")
def test_the_layouts_are_the_published_ones(few, reference, letter):
    """Every line of a generated list has the form of a line of the published list."""
    for split, path in few[letter].lists.items():
        listed = gzip.decompress((reference / f"mmdg-benchmark/{path.name}.gz").read_bytes())
        real = {shape_of(line) for line in listed.decode().splitlines()}
        made = {shape_of(line) for line in path.read_text().splitlines()}
        assert made <= real, (split, sorted(made - real)[:2])


def test_a_killed_run_does_not_train_again(fasdk, few, tmp_path, monkeypatch):
    trained: list[object] = []
    training = published_cells.run_training

    def counted(request, **options):
        trained.append(request)
        return training(request, **options)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(published_cells, "run_training", counted)
    monkeypatch.setattr(published_cells, "build_bundle", killed)
    words = ("protocols", "--data", f"S={few['S'].root}", "--tables", "SURF", "-o", tmp_path)
    assert [fasdk(*words, *TINY).status for _ in range(2)] == [130, 130]
    assert len(trained) == 1
    cell = tmp_path / "mmdg.mmdg" / "S.0"
    assert sorted(path.name for path in cell.iterdir()) == [
        *("checkpoint.csv", "checkpoint.safetensors", "inputs.json", "trained.json"),
    ]
    made_from = json.loads((cell / "inputs.json").read_text())
    assert {"model", "config", "method", "settings", "S-train", "S-val"} <= set(made_from)
    assert "S-test" not in made_from  # it decides nothing about the training

    few["S"].lists["train"].write_bytes(few["S"].lists["train"].read_bytes() + b"\r\n")
    assert fasdk(*words, *TINY).status == 130
    assert len(trained) == 1  # the same captures


@pytest.mark.slow
def test_a_table_is_made_resumed_and_made_again_where_an_input_changed(
    fasdk, published, tmp_path, monkeypatch
):
    """CASIA-SURF's own protocol: one training. Every step is done once."""
    root = tmp_path / "S"
    shutil.copytree(published["S"].root, root)
    # Below the root of the lists' paths, and with the lists elsewhere.
    lists = tmp_path / "lists"
    lists.mkdir()
    for path in root.glob("S-*.txt"):
        (lists / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    out = tmp_path / "out"
    words = ("protocols", "--data", f"S={root / 'CASIA-SURF-CROP'}", "--lists", lists)
    words += ("--tables", "SURF", "-o", out, *TINY, "--json")
    calls: list[str] = []
    fails = {"build"}

    def counted(name, function):
        def call(*arguments, **options):
            calls.append(name)
            if name in fails:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return call

    for name in ("run_training", "build_bundle", "score_request"):
        function = getattr(published_cells, name)
        monkeypatch.setattr(published_cells, name, counted(name[:5], function))

    assert fasdk(*words).status == 130  # killed after the training
    assert calls == ["run_t", "build"]
    fails.clear()
    calls.clear()
    first = fasdk(*words)
    assert first.status == 0, first.stderr
    assert calls == ["build", "score"]
    document = json.loads(first.stdout)
    (table,), (cell,) = document["tables"], document["cells"]
    (line,) = table["lines"]
    assert (line["name"], line["published"]["threshold"]) == ("S->S", "development EER")
    assert (line["rows"], line["presentations"]) == (13, 4)  # a row of the list is repeated
    assert list(line["published"]["tpr_at_fpr"]) == ["0.01", "0.001", "0.0001"]
    assert (cell["training"], cell["seed"], cell["epochs"]) == ("S", 0, 1)
    assert document["system"]["model"] == "mmdg" and not document["system"]["is_published_size"]

    calls.clear()
    again = json.loads(fasdk(*words).stdout)
    assert calls == [] and again == document

    listed = gzip.decompress((lists / "S-test.txt.gz").read_bytes())
    shorter = b"\r\n".join(listed.split(b"\r\n")[:-1])
    (lists / "S-test.txt.gz").write_bytes(gzip.compress(shorter))
    changed = fasdk(*words)
    assert calls == ["score"]
    assert "S.0 -> S: S-test changed: judged again" in changed.stderr
    assert json.loads(changed.stdout)["tables"][0]["lines"][0]["rows"] == 12

    calls.clear()
    changed = fasdk(*words, "--learning-rate", 1e-4)
    assert calls == ["run_t", "build", "score"]
    assert "settings changed: trained again; what there was is in" in changed.stderr
    assert (out / "mmdg.mmdg" / "S.0.before" / "bundle.fasb").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "W={root}/W", "--tables", "P4"), "no table 'P4': choose of P1, P2, P3, FLEX"),
        (("--data", "W={root}/W", "--tables", "P1"), "P1 needs C (CeFA), P (PADISI), S (CASIA"),
        (("--data", "X={root}/W"), "write LETTER=FOLDER, with a letter of W WMCA"),
        (("--data", "S="), "--data 'S=' names no folder: write S=FOLDER"),
        (("--data", "S={root}/S,S={root}/W"), "--data names S twice"),
        (("--data", "S={root}/none"), "--data S: {root}/none does not exist or is no folder"),
        (("--data", "S={root}/W"), "there is no S-train.txt or S-train.txt.gz in {root}/W or"),
        (("--data", "S={root}/W", "--lists", "{root}/S"), "is neither below {root}/W nor below"),
        (("--data", "S={root}/S", "--lists", "{root}/shared"), "S-test shares 1 subject with S-tr"),
        (("--data", "S={root}/S", "--captures", 12), "--captures goes with synthetic captures"),
        (("--data", "S={root}/S", "--batch", 0), "--batch 0"),
        (("--data", "S={root}/S", "--model", "none"), "none"),
        (("--model", "mmda"), "--model goes with --data W=DIR"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(fasdk, few, tmp_path, words, message):
    root = few["S"].root.parent
    if not (root / "shared").exists():  # the training list for the test list
        shutil.copytree(few["S"].root, root / "shared", ignore=_frames)
        train = (root / "shared" / "S-train.txt").read_bytes().split(b"\r\n")
        tested = (root / "shared" / "S-test.txt").read_bytes().split(b"\r\n")
        (root / "shared" / "S-test.txt").write_bytes(b"\r\n".join([*tested, train[0]]))
    given = [str(word).format(root=root) for word in words]
    if "--tables" not in given:
        given += ["--tables", "SURF"]
    ran = fasdk("protocols", *given, "-o", tmp_path / "out")
    assert ran.status == 2
    (line,) = ran.error_lines
    assert message.format(root=root) in line
    assert list(tmp_path.iterdir()) == []


def _frames(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("CASIA")]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_published_folders_become_all_tables_with_nothing_to_convert(fasdk, published, tmp_path):
    """The way of the guide: `dataset check`, then `protocols`."""
    roots = [word for each in published.values() for word in ("--root", each.root)]
    lists = [each.lists["test"] for each in published.values()]
    checked = fasdk("dataset", "check", *lists, *roots, "--json")
    assert checked.status == 0, checked.stderr

    out = tmp_path / "out"
    words = ("--data", data_of(published), "--tables", "P1,P2,P3,FLEX", "-o", out, *TINY, "--json")
    ran = fasdk("protocols", *words)
    assert ran.status == 0, ran.stderr
    document = json.loads(ran.stdout)
    trainings = ["CPS", "CPW", "CSW", "PSW", "CW", "PS", "CS"]
    assert [cell["training"] for cell in document["cells"]] == trainings
    p1, p2, p3, flexible = document["tables"]
    assert [line["name"] for line in p1["lines"]] == [
        "CPS->W",
        "CPW->S",
        "CSW->P",
        "PSW->C",
        "mean",
    ]
    assert [line["name"] for line in p2["lines"]] == [
        *("without depth", "without ir", "without depth+ir", "mean"),
    ]
    assert [line["name"] for line in p3["lines"]] == ["CW->PS", "PS->CW", "mean"]
    assert [(line["name"], line["published"]["threshold"]) for line in flexible["lines"]] == [
        ("CS->CS without depth+ir", "development EER"),
        ("CS->CS without ir", "development EER"),
        ("CS->CS without depth", "development EER"),
        ("CS->CS", "development EER"),
        ("CS->W+ without depth+ir", "fixed"),
        ("CS->W+ without ir", "fixed"),
        ("CS->W+ without depth", "fixed"),
        ("CS->W+", "fixed"),
    ]
    assert p1["lines"][0]["rows"] == 12 and p1["lines"][0]["presentations"] == 4
    assert flexible["lines"][-1]["rows"] == 36  # all three lists of WMCA
    mean = p1["lines"][-1]["published"]
    assert mean["hter"]["mean"] == pytest.approx(
        sum(line["published"]["hter"]["mean"] for line in p1["lines"][:-1]) / 4
    )

    # The same figures from the evaluations that lie in the folders, joined by `evaluate`.
    for unit, figures, hter in (
        ("row", "published", "hter"),
        ("presentation", "standard", "hter_at_test_eer"),
    ):
        tests = (("CPS", "W"), ("CPW", "S"), ("CSW", "P"), ("PSW", "C"))
        cells = [out / "mmdg.mmdg" / f"{t}.0" / f"{target}.{unit}.json" for t, target in tests]
        for family, table in (("P1", p1), ("P2", p2)):
            joined = fasdk("evaluate", *cells, "--family", family, "--json")
            assert joined.status == 0, joined.stderr
            found, expected = json.loads(joined.stdout), table["lines"][-1][figures]
            assert found["unit"] == unit
            assert found["hter_at_eer"] == pytest.approx(expected[hter]["mean"])
            assert found["auc"] == pytest.approx(expected["auc"]["mean"])

    shown = fasdk("protocols", *words[:-1])
    assert shown.status == 0
    assert "mmdg by mmdg, by rows as published: P1 HTER" in shown.stdout
    assert "no figure here stands beside a published one" in " ".join(shown.stdout.split())
