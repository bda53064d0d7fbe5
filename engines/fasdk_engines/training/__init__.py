"""Training of registered models, on tensors of the deployment's own preprocessing."""

from fasdk_engines.training.data import TrainingCapture, captures_of
from fasdk_engines.training.initial import Initialized, InitialWeights
from fasdk_engines.training.methods import (
    PUBLISHED,
    get_method,
    method_names,
    require_sentences_read,
)
from fasdk_engines.training.sentences import SentenceFile
from fasdk_engines.training.settings import (
    Epoch,
    EpochChoice,
    Step,
    TrainingResult,
    TrainingSettings,
)
from fasdk_engines.training.trainer import score_captures, train, train_supervised

__all__ = [
    "PUBLISHED",
    "Epoch",
    "EpochChoice",
    "InitialWeights",
    "Initialized",
    "SentenceFile",
    "Step",
    "TrainingCapture",
    "TrainingResult",
    "TrainingSettings",
    "captures_of",
    "get_method",
    "method_names",
    "require_sentences_read",
    "score_captures",
    "train",
    "train_supervised",
]
