"""Throughput of the synthetic generator, with and without PNG encoding, as one JSON line.

OMP_NUM_THREADS=1 python tools/bench/synthetic.py --captures 360 --threads 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from fasdk_calibration.synthetic import SceneSettings, Split, generate_many, write_dataset


def main() -> None:
    """Print the rates on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=360, help="how many, every species alike")
    parser.add_argument("--threads", type=int, default=2, help="threads that make captures")
    words = parser.parse_args()
    scene = SceneSettings()
    # The first captures pay for imports.
    list(generate_many(1, 4, settings=scene, threads=words.threads))
    start, spent = time.perf_counter(), time.process_time()
    made = sum(1 for _ in generate_many(0, words.captures, Split.TRAIN, threads=words.threads))
    making, computing = time.perf_counter() - start, time.process_time() - spent
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_dataset(Path(folder), words.captures, 0, threads=words.threads)
        writing = time.perf_counter() - start
    print(
        json.dumps(
            {
                "captures": made,
                "frame": f"{scene.width}x{scene.height}",
                "threads": words.threads,
                "made_per_minute": round(60 * made / making),
                "written_per_minute": round(60 * words.captures / writing),
                "cpu_ms_each": round(1000 * computing / made, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
