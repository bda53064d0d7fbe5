"""Trained checkpoint that comes with the package, and the record of how it was made."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fasdk.errors import CheckpointError
from fasdk_calibration.synthetic import SceneSettings

CHECKPOINT = "demo.safetensors"
RECORD = "demo.json"
FOLDER = Path(__file__).parent / "checkpoint"
# What the checkpoint was trained on: faces of 70 to 95 pixels, which a model of 64 pixels needs no
# larger and a door's quality gates accept.
SCENE = SceneSettings(width=256, height=192)
_FIX = "install fasdk again, or train it anew with `make demo-checkpoint`"


class CheckpointRecord(BaseModel):
    """Where a packaged checkpoint comes from.

    Attributes:
        file: Name of the checkpoint beside the record.
        sha256: SHA-256 of the checkpoint's bytes, in hexadecimal.
        size_bytes: Size of the checkpoint.
        license: SPDX identifier of the weights' license.
        data: What the weights were trained on.
        command: Command that trains them again.
        model: Registered name of the model.
        recipe: Seeds, numbers of captures and settings of the training.
        versions: Releases of the packages that numbers depend on, by name.
        cpu_seconds: Processor time of the training, generation of its captures included.
        epochs: Number of epochs trained.
        best_epoch: Number of the epoch whose weights were kept.
        development_auc: Area under the ROC curve on the development captures after that epoch.
        development_loss: Cross-entropy on them, in nats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    size_bytes: int
    license: str
    data: str
    command: str
    model: str
    recipe: dict[str, Any]
    versions: dict[str, str]
    cpu_seconds: float
    epochs: int
    best_epoch: int
    development_auc: float
    development_loss: float


def read_record(folder: Path = FOLDER) -> CheckpointRecord:
    """Return the record of a folder's checkpoint.

    Raises:
        CheckpointError: There is no record, or it cannot be read.
    """
    path = folder / RECORD
    try:
        return CheckpointRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: {_FIX}") from None
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} is no record of a checkpoint ({reason}): {_FIX}") from error


def copy_checkpoint(out: Path, folder: Path = FOLDER) -> CheckpointRecord:
    """Copy the packaged checkpoint and return its record.

    Raises:
        CheckpointError: Checkpoint or record is missing, or the checkpoint is not the one recorded.
    """
    record = read_record(folder)
    path = folder / record.file
    try:
        found = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): {_FIX}") from error
    if found != record.sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {found}, its record states {record.sha256}: {_FIX}"
        )
    shutil.copyfile(path, out)
    return record
