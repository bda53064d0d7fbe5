"""Random captures preprocessed on the simulated device against the host, as one JSON line.

    PYTHONPATH=tests python -m support.cuda_sim.device_captures [--captures 12000] [--a-bundle 120]
        [--no-models]

Bundles have the preprocessing of every registered model, then random rules (crops, borders, fits,
alignments, composites), discrete and integrated GPUs in turn. Captures of random sizes, strides and
modalities are submitted to a session whose kernels the driver executes; the bits of every row that
the engine read are held against those that the host makes of the same capture. Exits 1 if any
differ, a capture is not answered, the driver saw a violation, or something is left behind.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from support import capture_bundle
from support.cuda_sim.kernel_image import image
from support.cuda_sim.simulated_cuda import load
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import Behavior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.scorer import Scorer

MODEL_CAPTURES = 8  # of a model's own bundle, whose tensors are large
MAX_BATCH = 4


class SeenRows:
    """Rows that an engine read, as bytes and how often."""

    def __init__(self) -> None:
        self.rows: Counter[bytes] = Counter()

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]]) -> None:
        """Take the inputs of one execution."""
        names = sorted(inputs)
        for row in range(len(inputs[names[0]])):
            self.rows[b"".join(inputs[name][row].tobytes() for name in names)] += 1


def host_row(scorer: Scorer, capture: Capture) -> bytes:
    """Return the row that the host makes of a capture."""
    batch = scorer.batch([capture])
    return b"".join(batch[name].tobytes() for name in sorted(batch))


def model_specs() -> Iterator[tuple[str, capture_bundle.Specs, bool]]:
    """Yield name, specs and whether there is a `present` input of each registered model."""
    from fasdk_engines.models.registry import family_names, get_family

    for name in family_names():
        family = get_family(name)
        config = next(iter(family.configs.values()))
        yield name, family.preprocess(config), family.takes_presence


def random_specs() -> Iterator[tuple[str, capture_bundle.Specs, bool]]:
    """Yield the same of random rules, without end."""
    for seed in range(1_000_000):
        draw = np.random.default_rng(seed)
        yield "random", capture_bundle.random_specs(draw), bool(seed % 2)


def compare(bundle: Bundle, count: int, behavior: Behavior, seed: int) -> dict[str, int]:
    """Submit captures to a session on the device; return what differs."""
    from fasdk.backends.engine import Backend, Preprocessing
    from fasdk.backends.tensorrt.opening import open_tensorrt_engine
    from fasdk.batching.policy import BatchingPolicy
    from fasdk.decision import Verdict
    from fasdk.scorer import Scorer
    from fasdk.session.session import Liveness

    scorer = Scorer(bundle, "standard")
    draw = np.random.default_rng(seed)
    engine = open_tensorrt_engine(bundle, Backend.TENSORRT, preprocess=Preprocessing.DEVICE)
    policy = BatchingPolicy(lanes=2, max_batch=MAX_BATCH, deadline_ms=60_000)
    captures = list(islice(capture_bundle.fit_captures(scorer, draw), count))
    seen = SeenRows()
    with Liveness(bundle, engine, batching=policy, missing="degrade").start() as session:
        behavior.sees = seen
        answers = [f.result() for f in [session.submit(capture) for capture in captures]]
        behavior.sees = None
    expected = Counter(host_row(scorer, capture) for capture in captures)
    unanswered = sum(answer.verdict not in (Verdict.LIVE, Verdict.SPOOF) for answer in answers)
    return {"different": (expected - seen.rows).total(), "unanswered": unanswered}


def measure(count: int, a_bundle: int, *, models: bool) -> dict[str, Any]:
    """Compare and return the result's fields."""
    simulator = load()
    behavior = Behavior()
    sys.modules["tensorrt"] = stand_in(simulator, behavior)

    from fasdk.backends.tensorrt import device_preprocessing

    device_preprocessing.kernel_image = lambda *_: image()
    found: Counter[str] = Counter()
    named: list[str] = []
    specs_of = chain(model_specs() if models else (), random_specs())
    left = count
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, specs, presence) in enumerate(specs_of):
            if left <= 0:
                break
            simulator.reset(number)
            simulator.run_freely()
            simulator.set_integrated(integrated=bool(number % 2))
            path = Path(folder) / f"{number}.fasb"
            bundle = capture_bundle.write(path, specs, presence=presence, max_batch=MAX_BATCH)
            size = min(left, a_bundle if name == "random" else MODEL_CAPTURES)
            found.update(compare(bundle, size, behavior, number))
            report = simulator.report()
            found["violations"] += sum(violation.count for violation in report.violations)
            found["left_behind"] += report.live.objects
            found["kernels"] += sum(
                n for kernel, n in report.executed.items() if kernel.startswith("fasdk_")
            )
            found["bundles"] += 1
            left -= size
            named += [name] if name != "random" else []
    return {"benchmark": "device_captures", "captures": count, "models": named, **found}


def main() -> None:
    """Print the result; exit 1 unless nothing differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--captures", type=int, default=12_000)
    parser.add_argument("--a-bundle", type=int, default=120)
    parser.add_argument("--no-models", action="store_true")
    asked = parser.parse_args()
    result = measure(asked.captures, asked.a_bundle, models=not asked.no_models)
    print(json.dumps(result))
    wrong = ("different", "unanswered", "violations", "left_behind")
    sys.exit(1 if any(result[field] for field in wrong) else 0)


if __name__ == "__main__":
    main()
