"""Evaluation of a bundle on test lists.

Read in this order: request.py (what is asked, and whether it may be), record.py (the document),
cases.py (from scores to figures), schemes.py and evidence.py (what a testing scheme asks for),
run.py (all of it), joining.py (several bundles' documents as one protocol).
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
from fasdk_tools.evaluation.schemes import Scheme, parse_scheme

__all__ = [
    "Evaluation",
    "EvaluationRequest",
    "EvaluationRun",
    "ProtocolFamily",
    "Scheme",
    "ScoredRequest",
    "evaluate_scored",
    "parse_family",
    "parse_missing",
    "parse_scheme",
    "parse_unit",
    "run_evaluation",
    "score_request",
]
