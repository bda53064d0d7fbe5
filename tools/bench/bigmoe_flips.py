"""Effect of ONNX Runtime's default optimizer on BIG-MoE's experts and decisions.

    python tools/bench/bigmoe_flips.py --inputs 200

runs random fields through the published form in torch and through the deployed graph, one capture
at a time, and prints one JSON line: how many decisions differ, by the larger logit and at the
median score, where half the captures lie on either side; how many experts were picked and how many
of them only the graph picked, at what cost in standard deviations of their scores; and the largest
difference of a logit, as it is and with the published form led to the graph's experts. It exits 1
when a decision differs. With `--rows FILE` each capture's outcome is kept, so that a long run can
be split.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fasdk.decision import class_scores
from fasdk_engines.graph.export import export_graph
from fasdk_engines.graph.parity import selection_session
from fasdk_engines.models.bigmoe.published import BigMoe
from fasdk_engines.models.expert_selection import (
    count_differing,
    forced_experts,
    recorded_experts,
    recording,
)
from fasdk_engines.models.registry import get_family
from fasdk_engines.models.seeded import seeded_state_dict


def main() -> int:
    """Measure, print one JSON line, and return 0; 1 when a decision differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="full")
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="file of outcomes, added to")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.monotonic()

    rows: dict[int, dict[str, Any]] = {}
    if arguments.rows is not None and arguments.rows.is_file():
        for line in arguments.rows.read_text().splitlines():
            row = json.loads(line)
            rows[row["seed"]] = row
    wanted = range(arguments.first_seed, arguments.first_seed + arguments.inputs)
    missing = [seed for seed in wanted if seed not in rows]
    if missing:
        family = get_family("bigmoe")
        module = _with_weights(family.build(family.configs[arguments.config]))
        graph = export_graph(module.deployed(), family, module.config)
        session, names = selection_session(graph, arguments.threads)
        del graph
        for seed in missing:
            rows[seed] = _compare(module, session, names, seed)
            if arguments.rows is not None:
                with arguments.rows.open("a") as file:
                    file.write(json.dumps(rows[seed]) + "\n")
            if time.monotonic() - start > arguments.seconds:
                break
    result = _summary([rows[seed] for seed in wanted if seed in rows])
    result["ok"] = result["ok"] and result["inputs"] == arguments.inputs
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def _with_weights(module: torch.nn.Module) -> BigMoe:
    """Return the model on the weights of the golden outputs.

    An untrained gate has keys too small to choose by; drawn weights are all of order one.
    """
    if not isinstance(module, BigMoe):
        raise TypeError(f"expected BIG-MoE, found {type(module).__name__}")
    shapes = {name: list(value.shape) for name, value in module.state_dict().items()}
    weights = {n: torch.from_numpy(v) for n, v in seeded_state_dict(shapes, 5).items()}
    module.load_state_dict(weights)
    return module.eval()


def _compare(module: BigMoe, session: Any, names: list[str], seed: int) -> dict[str, Any]:
    family = get_family("bigmoe")
    inputs = family.example_inputs(module.config, batch=1, seed=seed)
    with torch.no_grad(), recording(module) as places:
        published = module(*inputs)[0][0].tolist()
        expected = recorded_experts(places)
    named = {n: x.numpy() for n, x in zip(family.input_names, inputs, strict=True)}
    logits, *found = session.run(["logits", *names], named)
    picked = [torch.from_numpy(chosen) for chosen in found]
    # The last adapter reaches no logit, so the graph has none.
    differ = sum(count_differing(a, b) for a, b in zip(picked, expected, strict=False))
    led, score_deficit = published, 0.0
    if differ:
        with torch.no_grad(), forced_experts(module, picked) as places:
            led = module(*inputs)[0][0].tolist()
            score_deficit = max(place.score_deficit for place in places)
    return {
        "seed": seed,
        "published": published,
        "graph": logits[0].tolist(),
        "picked": sum(chosen.numel() for chosen in picked),
        "differ": differ,
        "led": led,
        "score_deficit": score_deficit,
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    published = np.array([row["published"] for row in rows], np.float32)
    graph = np.array([row["graph"] for row in rows], np.float32)
    led = np.array([row["led"] for row in rows], np.float32)
    live = get_family("bigmoe").live_index
    scores = np.array([class_scores(row)[live] for row in published])
    graph_scores = np.array([class_scores(row)[live] for row in graph])
    # Between two captures: on one of them, the last bit of a score would decide.
    middle = max(len(scores) // 2, 1)
    threshold = float(np.sort(scores)[middle - 1 : middle + 1].mean())
    flips = int((published.argmax(axis=1) != graph.argmax(axis=1)).sum())
    median_flips = int(((scores > threshold) != (graph_scores > threshold)).sum())
    differences = np.abs(published - graph)
    return {
        "inputs": len(rows),
        "decision_flips": flips,
        "decision_flips_at_median_score": median_flips,
        "expert_choices": sum(row["picked"] for row in rows),
        "expert_choices_differ": sum(row["differ"] for row in rows),
        "inputs_with_other_experts": sum(row["differ"] > 0 for row in rows),
        "largest_logit_difference": float(differences.max()),
        "largest_logit_difference_same_experts": float(np.abs(led - graph).max()),
        "largest_cost_of_other_experts": max(row["score_deficit"] for row in rows),
        "median_logit_difference": float(np.median(differences.max(axis=1))),
        "logit_standard_deviation": float((published[:, live] - published[:, 1 - live]).std()),
        "score_range": [float(scores.min()), float(scores.max())],
        "largest_score_difference": float(np.abs(scores - graph_scores).max()),
        "ok": flips == 0 and median_flips == 0,
    }


if __name__ == "__main__":
    raise SystemExit(main())
