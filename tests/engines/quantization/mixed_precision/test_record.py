"""Calibration record: contents and JSON form."""

from __future__ import annotations

import json

from fasdk.bundle.calibration import CALIBRATION_SCHEMA
from fasdk_calibration.calibration_set.selection import Stratum, StratumShare
from fasdk_calibration.datasets.pseudonyms import PseudonymRule
from fasdk_engines.quantization import ActivationForm, ActivationRange, ExclusionReason, Layer
from fasdk_engines.quantization.mixed_precision.record import CalibrationCapture, CalibrationRecord
from fasdk_engines.quantization.mixed_precision.search import BudgetStatus, Trial
from fasdk_engines.quantization.mixed_precision.sensitivity import LayerSensitivity


def record() -> CalibrationRecord:
    trial = Trial(("l1",), ("l0",), 0.9, 20, 20, BudgetStatus.HOLDS, 0.0001, 0.001, ())
    return CalibrationRecord(
        precision="int8",
        list="cal.jsonl",
        listed=9,
        captures=(CalibrationCapture("c1", "ann"), CalibrationCapture("c2", "ann")),
        subjects=("ann",),
        pseudonyms=PseudonymRule("hmac-sha256", "00" * 16, "11" * 8),
        strata=(StratumShare(Stratum("door", "attack", "print", "rgb"), 9, 2),),
        coverage_radius=1.5,
        method="mse",
        ranges=(ActivationRange("x", ("l0",), 0.1, ActivationForm.PLAIN, 0.0),),
        layers=(
            Layer("l0", "MatMul", 90, is_residual=True),
            Layer("l1", "MatMul", 10, ExclusionReason.REVERTED),
        ),
        reverted=("l1",),
        int8_share=0.9,
        searched=True,
        sensitivities=(LayerSensitivity("l0", 90, float("inf"), 0.5),),
        trials=(trial,),
        development=None,
        budget=None,
    )


def test_infinity_becomes_null_and_equal_records_give_equal_bytes():
    document = json.loads(record().to_bytes())
    assert document["sensitivities"] == [
        {"name": "l0", "macs": 90, "error": None, "residual_error": 0.5}
    ]
    assert document["trials"][0]["status"] == "holds"
    assert document["subjects"] == ["ann"]
    assert document["schema_version"] == CALIBRATION_SCHEMA
    assert [(x["quantized"], x["reason"]) for x in document["layers"]] == [
        (True, None),
        (False, "reverted"),
    ]
    assert record().to_bytes() == record().to_bytes()


def test_the_summary_counts_what_the_record_lists():
    summary = record().summary()
    assert (summary.captures, summary.subjects, summary.trials) == (2, 1, 1)
    assert (summary.layers, summary.int8_layers, summary.residual_layers) == (2, 1, 1)
    assert summary.budget_note == "not evaluated: built without --development captures"
