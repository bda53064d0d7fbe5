"""Evaluation of a bundle on test lists.

Read in this order: request.py (what is asked, and whether it may be), record.py (the document),
cases.py (from scores to figures), run.py (all of it).
"""

from fasdk_tools.evaluation.record import Evaluation, ProtocolFamily
from fasdk_tools.evaluation.request import EvaluationRequest, parse_family, parse_missing
from fasdk_tools.evaluation.run import EvaluationRun, run_evaluation

__all__ = [
    "Evaluation",
    "EvaluationRequest",
    "EvaluationRun",
    "ProtocolFamily",
    "parse_family",
    "parse_missing",
    "run_evaluation",
]
