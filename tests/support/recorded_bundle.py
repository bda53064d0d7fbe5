"""Tiny bundles with the records of a tuning and of an INT8 calibration, and files beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.members import CALIBRATION, EVALUATION
from fasdk.bundle.signing import open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk_tools.evaluation.evidence import evidence_sheet
from fasdk_tools.evaluation.schemes import Scheme

from support import counted_evaluation, profile_pages, tiny_bundle

LAYERS = [
    {"name": "/MatMul", "operator": "MatMul", "quantized": True, "reason": None},
    {"name": "/adapters/Conv", "operator": "Conv", "quantized": False, "reason": "reverted"},
    {"name": "/head/Gemm", "operator": "Gemm", "quantized": False, "reason": "matrix-vector"},
]


def write(
    folder: Path,
    name: str = "lobby.fasb",
    *,
    drifted: bool = False,
    tuned: dict | None = None,
    **changes,
) -> Path:
    """Write a tiny bundle whose members are those of a tuned INT8 bundle.

    Args:
        folder: Folder to write to.
        name: Name of its file.
        tuned: Its evaluation.json, instead of that of `tuning`.
        drifted: Whether its golden captures are of another graph.
        changes: Changes of the manifest.
    """
    point = tiny_bundle.point(calibrated=True)
    described = tiny_bundle.manifest(
        **{"operating_points": (point,), "score_calibrations": (tiny_bundle.calibration(),)}
        | changes
    )
    members = tiny_bundle.members(described)
    members[EVALUATION] = json.dumps(tuned or tuning()).encode()
    members[CALIBRATION] = calibration()
    if drifted:
        for member in [each for each in members if each.startswith("golden/")]:
            golden = GoldenCapture.from_bytes(memoryview(members[member]), member)
            members[member] = replace(golden, logits=golden.logits[::-1].copy()).to_bytes()
    path = folder / name
    write_bundle(path, described, members, open_signer(None))
    return path


def tuning() -> dict:
    """Return an evaluation.json of a tuning on two species."""

    def rate(errors: int, attempts: int) -> dict:
        return {
            "rate": errors / attempts,
            "one_sided_upper": 0.0495,
            "errors": errors,
            "attempts": attempts,
        }

    level = {
        "level": "standard",
        "apcer": {"print": rate(0, 59), "mask | <i>": rate(0, 60)},
        "bpcer": rate(3, 80),
    }
    refused = {"level": "strict", "reason": "needs 299 presentations of every species"}
    return {
        "kind": "tuned",
        "list": "tuning.jsonl",
        "list_sha256": "e" * 64,
        "captures": 199,
        "presentations": 199,
        "domains": ["lab"],
        "from_bundle": "f" * 64,
        "method": "made up for this test",
        "notes": ["the list states no domain"],
        "subjects": ["0123"],
        "pseudonyms": {"key_id": "0123"},
        "subsets": [
            {"modalities": ["rgb", "depth", "ir"], "levels": [level], "refused": [refused]}
        ],
    }


def calibration() -> bytes:
    """Return a calibration.json of three layers, one of them in INT8."""
    combination = {
        "modalities": "rgb+depth+ir",
        "captures": 756,
        "flips": 0,
        "largest_drift": 0.004,
        "mean_drift": 0.0001,
    }
    return tiny_bundle.calibration_json(
        kind="int8",
        list="calibration.jsonl",
        listed=126,
        captures=[{"id": "a", "subject": "0123"}],
        subjects=["0123", "4567"],
        method="mse",
        trials=[{}, {}, {}],
        development="development.jsonl",
        int8_share=0.9059,
        layers=[layer | {"is_residual": False, "detail": "", "macs": 9} for layer in LAYERS],
        budget={"combinations": [combination]},
    )


def records(folder: Path, bundle: Path) -> tuple[Path, Path]:
    """Write an evaluation with an evidence sheet and a profile of a bundle; return their files."""
    bundle_id = open_bundle(bundle, TrustPolicy.unsigned()).id
    attacks = {"print": (0, 150), "replay": (0, 100), "mask": (1, 63)}
    counted = counted_evaluation.evaluation(attacks, (2, 80), bundle_id=bundle_id)
    sheet = evidence_sheet(counted, Scheme.IBETA_L2)
    evaluation = folder / f"{bundle.stem}-evaluation.json"
    evaluation.write_text(json.dumps(asdict(replace(counted, evidence=sheet))))
    profile = folder / f"{bundle.stem}-profile.json"
    document = profile_pages.document(profile_pages.samples(400), bundle_id=bundle_id)
    profile.write_text(document.model_dump_json())
    return evaluation, profile
