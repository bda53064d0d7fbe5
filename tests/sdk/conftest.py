"""Fixtures of the device tests: one tiny real bundle a run, and its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import Bundle, open_bundle

from support import tiny_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb")


@pytest.fixture(scope="session")
def bundle(bundle_path) -> Bundle:
    return open_bundle(bundle_path)


@pytest.fixture(scope="session")
def bundle_members(bundle_path) -> dict[str, bytes]:
    """Every member's bytes, the manifest's among them, in file order."""
    return {k: bytes(v) for k, v in read_archive(bundle_path.read_bytes(), "tiny").items()}
