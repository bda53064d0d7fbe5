"""Claims about structure and documents, measured: `make verify-structure`.

Run from the project's root in its virtual environment; the clone needs its whole history, because
behavior is compared with an earlier revision. `--only GROUP` measures one group, `--work FOLDER`
is where models and bundles are kept for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from claims import Claim, report
from import_graph import find_modules, module_cycles, read_imports, sibling_cycles
from measuring import (
    ROOT,
    SUPPORT_ENVIRONMENT,
    bench_json,
    demo_bundle,
    fasdk_json,
    pytest_claim,
    recorded_property,
    support_json,
)
from same_behavior import BASELINE, behavior_claims
from standalone import alone_claims
from suite_size import count_claims

PLANTED_BUGS = 35
README_BYTES = 7168
BITS_FLIPPED = 1000
LARGEST_ROOTS = {"engines/fasdk_engines": 8, "tools/fasdk_tools": 10}

# Test ids by what they show. A file that is not there is a missed claim.
FORGOTTEN_ENTRIES = {
    "a reason without a rank": (
        "tests/sdk/test_reasons.py::test_a_reason_without_a_remedy_cannot_be_defined"
    ),
    "a range method without an implementation": (
        "tests/calibration/calibration_set/test_ranges.py"
        "::test_a_planted_method_without_an_implementation_fails_the_type_check"
    ),
    "a backend without a builder": "tests/sdk/backends/test_registry.py",
    "a data set without a reader": "tests/calibration/datasets/readers/test_registry.py",
}
OPENVINO_TESTS = "tests/sdk/backends/test_openvino.py"
OPENVINO_MODELS = "tests/sdk/backends/test_openvino_models.py"
OUTPUT_TESTS = "tests/tools/cli/test_verb_output.py"
FORMAT_TESTS = "tests/sdk/bundle/test_format_reader.py"
DOCUMENT_TESTS = "tests/docs"

DRIFT_FLOAT, DRIFT_INT8 = 1e-4, 0.01
_QUICK_AND_SLOW = ("-m", "not gpu and not cuda_sim", "--timeout=900")


def golden_claims() -> Iterator[Claim]:
    """Every golden case, slow ones included."""
    yield pytest_claim("golden cases that fail or skip", "tests", "-k", "golden", *_QUICK_AND_SLOW)


def planted_claims() -> Iterator[Claim]:
    """The planted bugs of the TensorRT runtime, on the simulated CUDA driver."""
    build = [sys.executable, "-m", "support.cuda_sim.build"]
    subprocess.run(build, check=True, cwd=ROOT, stdout=sys.stderr, env=SUPPORT_ENVIRONMENT)
    found = support_json("support.planted")
    missed = ", ".join(found["missed"])
    yield Claim("planted synchronization bugs", found["planted"], "==", PLANTED_BUGS)
    yield Claim("planted synchronization bugs caught", found["caught"], "==", PLANTED_BUGS, missed)
    clean = found["holds_with_none_planted"]
    yield Claim("the same scenarios hold with none planted", clean, "==", True)


def layer_claims() -> Iterator[Claim]:
    """Components, packages and modules import one way; packages stay small at their root."""
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([linter], check=False, cwd=ROOT, capture_output=True, text=True)
    kept = [line for line in ran.stdout.splitlines() if line.startswith("Contracts: ")]
    yield Claim("layer check: exit status", ran.returncode, "==", 0, " ".join(kept))
    modules = find_modules(ROOT)
    imports = read_imports(modules)
    over = f"{len(imports)} imports of {len(modules)} modules"
    for kind, cycles in {
        "modules that import each other": module_cycles(imports),
        "sibling packages or modules that import each other": sibling_cycles(imports),
    }.items():
        note = "; ".join(", ".join(cycle.members) for cycle in cycles)[:400]
        yield Claim(f"cycles of {kind}, lazy imports included", len(cycles), "==", 0, note or over)
    for root, largest in LARGEST_ROOTS.items():
        entries = [e.name for e in sorted((ROOT / root).iterdir()) if e.name != "__pycache__"]
        yield Claim(f"{root}: entries", len(entries), "<=", largest, ", ".join(entries)[:200])


def forgotten_claims() -> Iterator[Claim]:
    """A forgotten entry of a list fails a type check or a test."""
    for entry, tests in FORGOTTEN_ENTRIES.items():
        yield _tests_claim(f"{entry} is noticed: tests that fail or skip", tests)


def openvino_claims(work: Path) -> Iterator[Claim]:
    """The OpenVINO backend's drift on golden captures, and its latency beside ONNX Runtime's."""
    yield _tests_claim("OpenVINO backend: tests that fail or skip", OPENVINO_TESTS)
    demo = demo_bundle(work)
    yield _drift_claim("demo bundle, fp16", demo, DRIFT_FLOAT)
    yield _drift_claim("demo checkpoint in fp32", _demo_in_fp32(demo), DRIFT_FLOAT)
    found = recorded_property(OPENVINO_MODELS, "golden_drift", *_QUICK_AND_SLOW)
    yield Claim("OpenVINO: models whose golden drift was measured", len(found), ">=", 10)
    for test, drift in sorted(found.items()):
        limit = DRIFT_INT8 if "int8" in test else DRIFT_FLOAT
        yield Claim(f"OpenVINO, golden drift of {test}", float(drift), "<=", limit)
    timed = bench_json("backends.py", "mmdg")
    note = json.dumps(timed)
    yield Claim(
        "make bench: latency beside ONNX Runtime's",
        "openvino_over_onnxruntime" in timed,
        "==",
        True,
        note,
    )


def output_claims() -> Iterator[Claim]:
    """Claims about every verb's output, at 80 and at 120 columns."""
    claim = "no word broken and no line cut at 80 and 120 columns: tests that fail or skip"
    yield _tests_claim(claim, OUTPUT_TESTS)


def format_claims(work: Path) -> Iterator[Claim]:
    """The bundle format, read by a program written from its page."""
    claim = (
        f"the format reader opens the demo bundle and refuses {BITS_FLIPPED} bit flips: "
        "tests that fail or skip"
    )
    yield _tests_claim(claim, FORMAT_TESTS, FASDK_BUNDLE=str(demo_bundle(work)))


def document_claims() -> Iterator[Claim]:
    """The README's size, reachable pages, and `make docs` without network."""
    size = (ROOT / "README.md").stat().st_size
    yield Claim("README.md: bytes", size, "<=", README_BYTES)
    yield _tests_claim("documents: tests that fail or skip", DOCUMENT_TESTS)
    isolated = ("unshare", "--map-root-user", "--net")
    off = subprocess.run([*isolated, "true"], check=False, capture_output=True).returncode == 0
    # Without namespaces a proxy that nothing listens on stops what honors proxies.
    words = [*(isolated if off else ()), "make", "docs"]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = dict(os.environ) if off else os.environ | proxies
    ran = subprocess.run(
        words, check=False, cwd=ROOT, capture_output=True, text=True, env=environment
    )
    how = "in a network namespace of its own" if off else "behind a proxy that does not answer"
    last = " ".join((ran.stderr or ran.stdout).split())[-200:] if ran.returncode else ""
    note = f"{how}; {last}".removesuffix("; ")
    yield Claim("make docs without network: exit status", ran.returncode, "==", 0, note)


def _tests_claim(claim: str, tests: str, **environment: str) -> Claim:
    """Run the tests of a file or folder; a claim whose tests do not exist is missed."""
    if not (ROOT / tests.partition("::")[0]).exists():
        return Claim(claim, None, "==", 0, f"{tests} does not exist")
    return pytest_claim(claim, tests, *_QUICK_AND_SLOW, **environment)


def _demo_in_fp32(demo: Path) -> Path:
    """Build the demo's checkpoint in FP32, without a plan."""
    bundle = demo.with_name("demo-fp32.fasb")
    if not bundle.is_file():
        checkpoint = demo.with_name("checkpoint.safetensors")
        words = ["build-engine", checkpoint, "-o", bundle, "--model", "mmdg"]
        fasdk_json(*words, "--precision", "fp32", "--backend", "onnxruntime")
    return bundle


def _drift_claim(name: str, bundle: Path, limit: float, note: str = "") -> Claim:
    """Replay a bundle's golden captures in OpenVINO."""
    found = fasdk_json("build-plan", bundle, "--backend", "openvino")
    claim = f"OpenVINO, {name}: largest score drift on golden captures"
    return Claim(claim, found["golden_drift"], "<=", limit, note)


def _behavior_claims() -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as folder:
        yield from behavior_claims(Path(folder))


def _groups(work: Path) -> dict[str, Callable[[], Iterator[Claim]]]:
    return {
        "behavior": _behavior_claims,
        "golden": golden_claims,
        "planted": planted_claims,
        "count": partial(count_claims, BASELINE),
        "layers": layer_claims,
        "forgotten": forgotten_claims,
        "openvino": partial(openvino_claims, work),
        "alone": alone_claims,
        "output": output_claims,
        "format": partial(format_claims, work),
        "docs": document_claims,
    }


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_groups(Path())))
    parser.add_argument("--work", type=Path, default=ROOT / ".verify")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    groups = _groups(arguments.work.resolve())
    return report(groups if arguments.only is None else {arguments.only: groups[arguments.only]})


if __name__ == "__main__":
    sys.exit(main())
