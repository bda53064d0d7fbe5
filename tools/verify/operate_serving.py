"""Claims about `fasdk serve`, a group of `make verify-operate`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from claims import Claim
from measuring import demo_bundle, support_json

SERVED_EXTRA_MS = 2.0
SERVED_CAPTURES = 300


def serve_claims() -> Iterator[Claim]:
    """What the service costs over the session itself, and what clients get of a faulty one."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = demo_bundle(Path(folder))
        found = support_json("support.serve_figures", bundle, SERVED_CAPTURES)
    cost, faults = found["cost"], found["faults"]
    yield Claim(
        "serve: milliseconds that a capture over the Unix socket costs more than Session.check",
        cost["served_ms"] - cost["inside_ms"],
        "<=",
        SERVED_EXTRA_MS,
        f"medians of {cost['captures']}, by turns in one run: {cost['served_ms']:.2f} and "
        f"{cost['inside_ms']:.2f} ms; three raw 640x480 frames, one thread each, the reference "
        "client",
    )
    for name, fault in faults.items():
        verdicts = fault["verdicts"]
        yield Claim(
            f"serve, {name}: answers that are not ERROR",
            sum(verdict != "error" for verdict in verdicts),
            "==",
            0,
            f"{len(verdicts)} clients: {', '.join(verdicts)}",
        )
    slowest = max(faults, key=lambda name: faults[name]["longest_ms"])
    yield Claim(
        "serve: longest wait of a client for its ERROR, in milliseconds",
        faults[slowest]["longest_ms"],
        "<=",
        found["within_ms"],
        f"{slowest}; a deadline of 2000 ms",
    )
