"""Logs of a training: CSV always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.errors import TrainingError
from fasdk_engines.training.settings import Epoch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_FIELDS = ("number", "loss", "development_loss", "development_accuracy", "development_auc")


def write_csv(path: Path, history: Sequence[Epoch]) -> None:
    """Write one line per epoch, the parts of the loss last; an existing file is replaced.

    Raises:
        FasdkError: It cannot be written.
    """
    parts = list(history[0].losses) if history else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, *(f"loss {name}" for name in parts)])
    for epoch in history:
        fields = [getattr(epoch, name) for name in _FIELDS]
        writer.writerow([*fields, *(epoch.losses[name] for name in parts)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


class TensorBoardLog:
    """Scalars by epoch for TensorBoard.

    Args:
        folder: Folder for its event files.

    Raises:
        TrainingError: The `tensorboard` package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise TrainingError(
                "--tensorboard needs the tensorboard package: pip install tensorboard, or read "
                "the CSV log, which is always written"
            )
        from torch.utils.tensorboard import SummaryWriter

        self._writer: SummaryWriter = SummaryWriter(str(folder))

    def write(self, epoch: Epoch) -> None:
        """Write one epoch."""
        for name in _FIELDS[1:]:
            self._writer.add_scalar(name, getattr(epoch, name), epoch.number)
        for name, value in epoch.losses.items():
            self._writer.add_scalar(f"loss/{name}", value, epoch.number)
        self._writer.flush()

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()
