"""calibration.json says what was decided and why, as JSON any reader takes."""

from __future__ import annotations

import json

from fasdk_calibration.calibration_set.selection import Stratum, StratumShare
from fasdk_engines.quantization import ActivationRange, Layer
from fasdk_engines.quantization.mixed_precision.record import CalibrationCapture, CalibrationRecord
from fasdk_engines.quantization.mixed_precision.search import Level, Trial
from fasdk_engines.quantization.mixed_precision.sensitivity import LayerCost


def record() -> CalibrationRecord:
    trial = Trial(("l1",), ("l0",), 0.9, 20, 20, Level.HOLDS, 0.0001, 0.001, ())
    return CalibrationRecord(
        kind="int8",
        precision="int8",
        list="cal.jsonl",
        listed=9,
        captures=(CalibrationCapture("c1", "ann"), CalibrationCapture("c2", "ann")),
        subjects=("ann",),
        strata=(StratumShare(Stratum("door", "attack", "print", "rgb"), 9, 2),),
        coverage_radius=1.5,
        method="mse",
        ranges=(ActivationRange("x", ("l0",), 0.1, "plain", 0.0),),
        layers=(
            Layer("l0", "MatMul", 90, True, "", two_terms=True),
            Layer("l1", "MatMul", 10, False, "given back for accuracy"),
        ),
        given_back=("l1",),
        int8_share=0.9,
        searched=True,
        costs=(LayerCost("l0", 90, float("inf"), 0.5),),
        trials=(trial,),
        development=None,
        budget=None,
    )


def test_what_is_no_number_becomes_null_and_equal_records_equal_bytes():
    document = json.loads(record().to_bytes())
    assert document["costs"] == [{"name": "l0", "macs": 90, "error": None, "fine_error": 0.5}]
    assert document["trials"][0]["level"] == "holds"
    assert document["subjects"] == ["ann"]
    assert record().to_bytes() == record().to_bytes()


def test_the_summary_counts_what_the_record_lists():
    summary = record().summary()
    assert (summary.captures, summary.subjects, summary.trials) == (2, 1, 1)
    assert (summary.layers, summary.layers_in_int8, summary.layers_in_two_terms) == (2, 1, 1)
    assert summary.judged == "not judged: built without --development captures"
