"""Evaluation of a bundle on test lists.

Read in this order: request.py (what is asked, and whether it may be), record.py (the document),
cases.py (from scores to figures), run.py (all of it),
joining.py (several bundles' documents as one protocol).
"""

from fasdk_tools.evaluation.record import Evaluation, ProtocolFamily
from fasdk_tools.evaluation.request import (
    EvaluationRequest,
    parse_family,
    parse_missing,
    parse_unit,
)
from fasdk_tools.evaluation.run import (
    EvaluationRun,
    ScoredRequest,
    evaluate_scored,
    run_evaluation,
    score_request,
)

__all__ = [
    "Evaluation",
    "EvaluationRequest",
    "EvaluationRun",
    "ProtocolFamily",
    "ScoredRequest",
    "evaluate_scored",
    "parse_family",
    "parse_missing",
    "parse_unit",
    "run_evaluation",
    "score_request",
]
