"""Bundles with chosen golden captures."""

from __future__ import annotations

from fasdk.bundle.bundle import write_bundle


def with_golden(folder, described, graph, *golden):
    """Write a bundle of these golden captures into a folder, and return its path."""
    members = {"model.onnx": graph}
    members |= {f"golden/{n}.npz": item.to_bytes() for n, item in enumerate(golden)}
    write_bundle(folder / "golden.fasb", described, members)
    return folder / "golden.fasb"
