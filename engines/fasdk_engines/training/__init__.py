"""Training of registered models, on tensors of the deployment's own preprocessing."""

from fasdk_engines.training.data import TrainingCapture, captures_of
from fasdk_engines.training.initial import Initialized, InitialWeights
from fasdk_engines.training.methods import (
    PUBLISHED,
    get_method,
    method_names,
    require_sentences_read,
)
from fasdk_engines.training.published_training import (
    ChosenSetting,
    ChosenSettings,
    SetBy,
    choose_settings,
    has_published_size,
    published_systems,
    published_training,
)
from fasdk_engines.training.sentences import SentenceFile
from fasdk_engines.training.settings import (
    Augmentation,
    Epoch,
    EpochChoice,
    Freeze,
    Optimizer,
    Schedule,
    Step,
    TrainingResult,
    TrainingSettings,
)
from fasdk_engines.training.trainer import score_captures, train, train_supervised

__all__ = [
    "PUBLISHED",
    "Augmentation",
    "ChosenSetting",
    "ChosenSettings",
    "Epoch",
    "EpochChoice",
    "Freeze",
    "InitialWeights",
    "Initialized",
    "Optimizer",
    "Schedule",
    "SentenceFile",
    "SetBy",
    "Step",
    "TrainingCapture",
    "TrainingResult",
    "TrainingSettings",
    "captures_of",
    "choose_settings",
    "get_method",
    "has_published_size",
    "method_names",
    "published_systems",
    "published_training",
    "require_sentences_read",
    "score_captures",
    "train",
    "train_supervised",
]
