"""Registry of data set readers."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.datasets import open_dataset, readers

COMPLETE = """
from fasdk_calibration.datasets.readers.base import FrameFolderReader

class PlantedReader(FrameFolderReader):
    name = "Planted"
    example = "planted_001/color/1.jpg"
    patterns = ()
"""
NO_METHODS = """
from fasdk_calibration.datasets.readers.base import DatasetReader

class PlantedReader(DatasetReader):
    name = "Planted"
    example = "planted_001.npz"
"""


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> list[str]:
    """Write a package of one reader module and return its search path."""
    package = folder / f"planted_{abs(hash(source))}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("")
    (package / "planted.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    return [str(package)]


def test_every_module_of_the_package_is_a_registered_reader():
    folder = Path(readers.__path__[0])
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert {reader.__module__.rpartition(".")[2] for reader in readers.READERS} == modules
    assert len({reader.name for reader in readers.READERS}) == len(modules)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("READER = None\n", "defines 0 data set readers, expected one"),
        (COMPLETE + COMPLETE.replace("PlantedReader", "Another"), "defines 2 data set readers"),
        (COMPLETE.replace("    example", "    sample"), r"PlantedReader lacks example"),
        (NO_METHODS, r"PlantedReader lacks locate, owns, records"),
    ],
)
def test_a_module_without_one_complete_reader_is_refused(tmp_path, monkeypatch, source, message):
    path = plant(tmp_path, monkeypatch, source)
    with pytest.raises(TypeError, match=message):
        readers.find_readers(path, Path(path[0]).name)


def test_a_new_module_is_found_without_being_listed_anywhere(tmp_path, monkeypatch):
    path = plant(tmp_path, monkeypatch, COMPLETE)
    (reader,) = readers.find_readers(path, Path(path[0]).name)
    assert reader.name == "Planted"


def test_the_readers_examples_are_names_they_own():
    for reader in readers.READERS:
        for example in reader.example.split(" or "):
            assert readers.reader_of(example) is reader


def test_an_unknown_data_set_is_refused_with_the_known_ones_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path / "folder")
    assert all(reader.name in str(error.value) for reader in readers.READERS)
