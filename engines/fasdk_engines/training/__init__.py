"""Training on a workstation, on tensors made by the deployment's own preprocessing."""

from fasdk_engines.training.supervised import (
    Epoch,
    TrainingResult,
    TrainingSettings,
    score_captures,
    train_supervised,
)

__all__ = [
    "Epoch",
    "TrainingResult",
    "TrainingSettings",
    "score_captures",
    "train_supervised",
]
