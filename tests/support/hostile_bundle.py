"""Bundles as an attacker who can sign writes them: what is written is not checked first."""

from __future__ import annotations

import hashlib
from pathlib import Path
from unittest import mock

import onnx

from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.members import GRAPH

from support import tiny_bundle


def model(reliability: bool = True) -> onnx.ModelProto:
    """Return the tiny bundle's graph, to be changed."""
    return onnx.load_from_string(tiny_bundle.graph_bytes(reliability))


def write(path: Path, changed: dict[str, bytes], **fields: object) -> Path:
    """Write the tiny bundle with members changed or added, and its manifest's fields."""
    graph = changed.get(GRAPH, tiny_bundle.graph_bytes())
    points = (tiny_bundle.point(graph=hashlib.sha256(graph).hexdigest()),)
    described = tiny_bundle.manifest(**({"operating_points": points} | fields))
    members = tiny_bundle.members(tiny_bundle.manifest()) | changed
    with mock.patch("fasdk.bundle.bundle._check_members"):
        write_bundle(path, described, members)
    return path


def with_graph(path: Path, graph: bytes | onnx.ModelProto, **fields: object) -> Path:
    """Write the tiny bundle with another graph."""
    content = graph if isinstance(graph, bytes) else graph.SerializeToString()
    return write(path, {GRAPH: content}, **fields)
