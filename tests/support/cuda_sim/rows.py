"""Comparison of rows that the kernels write with the host's on the simulated driver, one JSON line.

    PYTHONPATH=tests python -m support.cuda_sim.rows [--captures 10000]

Random specs and captures, copied and in mapped memory, then every spec of the published models.
Exits 1 if a bit differs, if the driver saw a violation, or if anything is left behind.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from support.cuda_sim.kernel_image import image
from support.cuda_sim.simulated_cuda import load
from support.row_cases import Agreement, compare

SEED = 20
MODELS_EVERY = 100  # captures of the models' large tensors are fewer by this


def measure(count: int) -> dict[str, Any]:
    """Compare and return the result's fields."""
    simulator = load()
    simulator.reset(SEED)
    simulator.run_freely()

    from fasdk.backends.cuda import PyCudaDriver
    from fasdk.backends.tensorrt.row_kernels import RowKernels

    start = time.perf_counter()
    driver = PyCudaDriver()
    with driver.current():
        kernels = RowKernels(driver, image())
    found: dict[str, Agreement] = {
        "copied": compare(driver, kernels, count, seed=SEED),
        "mapped": compare(driver, kernels, count // 10, seed=SEED + 1, mapped=True),
        "models": compare(
            driver, kernels, count // MODELS_EVERY, seed=SEED + 2, specs=_published_specs()
        ),
    }
    with driver.current():
        kernels.free()
    report = simulator.report()
    return {
        "captures": {name: one.captures for name, one in found.items()},
        "rows": sum(one.rows for one in found.values()),
        "different": sum(len(one.different) for one in found.values()),
        "settings": sorted(set().union(*(one.settings for one in found.values()))),
        "violations": sum(violation.count for violation in report.violations),
        "left_behind": report.live.objects,
        "seconds": round(time.perf_counter() - start, 1),
    }


def _published_specs() -> list[Any]:
    """Return every different spec of the models, those left out that the host draws maps for."""
    from fasdk.preprocess import IrComposite, PreprocessSpec
    from fasdk_engines.models.registry import family_names, get_family

    found: list[PreprocessSpec] = []
    for name in family_names():
        family = get_family(name)
        for config in family.configs.values():
            specs = family.preprocess(config).values()
            found += [s for s in specs if s.ir_composite is IrComposite.PLAIN and s not in found]
    return found


def main() -> None:
    """Print the result; exit 1 unless it is right."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--captures", type=int, default=10_000)
    result = measure(parser.parse_args().captures)
    print(json.dumps(result))
    wrong = result["different"] or result["violations"] or result["left_behind"]
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
