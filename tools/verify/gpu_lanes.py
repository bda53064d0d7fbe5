"""Claims about lanes that preprocess on the GPU, measured on the simulated driver."""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim
from measuring import support_json


def lane_claims() -> Iterator[Claim]:
    """Bits of random captures, four lanes against a serial run, and what is copied.

    The simulated driver must be built: `python -m support.cuda_sim.build`.
    """
    found = support_json("support.cuda_sim.device_captures")
    note = f"{found['bundles']} bundles, the models {', '.join(found['models'])} among them"
    where = f"{found['captures']} random captures on the device"
    yield Claim(f"{where}: at least 10,000", found["captures"], ">=", 10_000, note)
    yield Claim(f"{where}: rows that differ from the host's", found["different"], "==", 0)
    yield Claim(f"{where}: without an answer", found["unanswered"], "==", 0)
    wrong = found["violations"] + found["left_behind"]
    yield Claim(f"{where}: races, misuse or leaks the driver saw", wrong, "==", 0)
    for kind, options in {"discrete": (), "integrated": ("--integrated",)}.items():
        found = support_json(
            "support.cuda_sim.lanes", "--session", "--preprocess", "device", *options
        )
        where = f"{found['captures']} captures over {found['lanes']} lanes of a {kind} GPU"
        yield Claim(f"{where}: at least 100,000", found["captures"], ">=", 100_000)
        yield Claim(f"{where}: scores that differ from a serial run's", found["different"], "==", 0)
        wrong = found["violations"] + found["left_behind"]
        yield Claim(f"{where}: races, misuse or leaks the driver saw", wrong, "==", 0)
        note = f"of {found['regions_bytes']} bytes in the regions that the model sees"
        limit = found["most_bytes"]
        yield Claim(
            f"{where}: bytes copied to the device", found["copied_bytes"], "<=", limit, note
        )
