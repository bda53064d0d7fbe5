"""Claims about data, training methods and the papers' tables, measured: `make verify-methods`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from claims import Claim, report
from measuring import support_json

LOSS_ERROR = 1e-6
GRADIENT_ERROR = 1e-5


def loss_claims() -> Iterator[Claim]:
    """MMDG's training step at the published size, and every method's losses."""
    step = support_json("support.mmdg_step")
    note = "float64, against arrays made from the description; certainty of the class token"
    claim = "MMDG's training step at the published size: largest relative error of"
    yield Claim(f"{claim} a loss", step["losses"], "<=", LOSS_ERROR, note)
    worst = f"of {step['parameters']} parameters, worst {step['worst']}"
    yield Claim(f"{claim} a gradient", step["gradients"], "<=", GRADIENT_ERROR, worst)
    yield Claim(f"{claim} a certainty", step["certainty"], "<=", GRADIENT_ERROR)
    for name, error in support_json("support.numpy_losses").items():
        claim = f"{name} against independent NumPy: relative error"
        yield Claim(claim, error, "<=", LOSS_ERROR)


_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "losses": loss_claims,
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_GROUPS))
    only = parser.parse_args().only
    return report(_GROUPS if only is None else {only: _GROUPS[only]})


if __name__ == "__main__":
    sys.exit(main())
