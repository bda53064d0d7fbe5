"""Training of the packaged checkpoint from seeds: `make demo-checkpoint`.

    python -m fasdk_tools.training.recipe --out FOLDER [--captures N] [--epochs N] [--resume]

Writes demo.safetensors and its record, demo.json. Captures are generated as they are read, so no
data set is needed. On the CPU and torch release of the record the same bytes come out; on others
the weights differ in rounding.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError
from fasdk_calibration.synthetic import Population, Species, Split, taking_turns
from fasdk_calibration.synthetic.on_demand import captures_on_demand
from fasdk_engines.models.checkpoint import save_checkpoint
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import Epoch, TrainingSettings, train
from fasdk_tools.terminal.output import STDERR
from fasdk_tools.training.packaged import CHECKPOINT, RECORD, SCENE, CheckpointRecord


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights.

    Attributes:
        model: Registered name of the model.
        base: Named settings of the model that `config` differs from.
        config: Settings of the model that differ from them.
        first_seed: Seed of the first population; no demo of a smaller seed shares a person with it.
        populations: Number of populations, each of 300 people to train on and 100 to stop by.
        train: Number of training captures.
        again: Species of attack that each round of training captures shows once more for every
            time it is named: makeup, whose relief is a live face's, is learned last.
        development: Number of captures by which the epoch is chosen.
        settings: Settings of the training.
    """

    model: str = "mmdg"
    base: str = "tiny"
    # Depth 3 leaves two layers of attention after the adapters first join depth and infrared; faces
    # lie within 700 mm, so the 8-bit depth planes resolve finer steps.
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "depth": 3,
            "adapter_dim": 16,
            "adapter_heads": 4,
            "adapter_dropout": 0.0,
            "depth_far_mm": 700,
        }
    )
    first_seed: int = 1_000_000
    populations: int = 20
    train: int = 14_000  # the most whose tensors stay in memory
    again: tuple[Species, ...] = 4 * (Species.MAKEUP,)
    development: int = 720
    settings: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            epochs=40,
            batch=64,
            learning_rate=2e-3,
            warmup=0.1,
            weight_decay=0.05,
            modality_dropout=0.0,
            brightness=0.2,
            shift=0.03,
            patience=40,
            seed=0,
            threads=1,
        )
    )

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            **asdict(self),
            "again": [species.value for species in self.again],
            "frame_size": [SCENE.width, SCENE.height],
            "settings": self.settings.model_dump(mode="json", exclude_unset=True),
        }


def train_checkpoint(recipe: Recipe, out: Path, *, resume: bool = False) -> CheckpointRecord:
    """Train a checkpoint in a folder and return its record.

    Args:
        recipe: What decides the weights.
        out: Folder for the checkpoint, its record, and the state a killed training resumes from.
        resume: Continue a training of the same folder that was cut short.

    Raises:
        FasdkError: The training diverged, there is nothing to resume, or `out` is not writable.
    """
    family = get_family(recipe.model)
    base = family.configs[recipe.base].model_dump()
    config = family.config_type.model_validate(base | recipe.config)
    seeds = range(recipe.first_seed, recipe.first_seed + recipe.populations)
    populations = [Population(seed, SCENE) for seed in seeds]
    scene = replace(SCENE, turns=SCENE.turns + taking_turns(*recipe.again))
    learned = [Population(seed, scene) for seed in seeds]
    out.mkdir(parents=True, exist_ok=True)
    state = out / f"{CHECKPOINT}.training"
    start = time.process_time()
    result = train(
        family,
        config,
        "plain",
        captures_on_demand(learned, recipe.train, Split.TRAIN),
        captures_on_demand(populations, recipe.development, Split.DEVELOPMENT),
        recipe.settings,
        state=state,
        resume=resume,
        log=out / "demo.csv",
        on_epoch=_show_epoch,
        on_read=_show_read,
    )
    checkpoint = out / CHECKPOINT
    save_checkpoint(checkpoint, result.module, family, config)
    data = checkpoint.read_bytes()
    record = CheckpointRecord(
        file=CHECKPOINT,
        sha256=sha256(data).hexdigest(),
        size_bytes=len(data),
        license="Apache-2.0",
        data="synthetic captures alone, generated from the recipe's seeds by "
        "fasdk_calibration.synthetic: no recording of a person, no data set, no pretrained weights",
        command=command_of(recipe),
        model=family.name,
        recipe=recipe.described(),
        versions={name: version(name) for name in ("fasdk", "torch", "numpy", "opencv-python")},
        cpu_seconds=round(time.process_time() - start, 1),
        epochs=len(result.history),
        best_epoch=result.best.number,
        development_auc=result.best.development_auc,
        development_loss=result.best.development_loss,
    )
    with atomic_write(out / RECORD) as file:
        file.write(record.model_dump_json(indent=1).encode() + b"\n")
    state.unlink(missing_ok=True)
    return record


def command_of(recipe: Recipe) -> str:
    """Return the command that trains by a recipe."""
    usual = Recipe()
    options = {
        "--captures": (recipe.train, usual.train),
        "--epochs": (recipe.settings.epochs, usual.settings.epochs),
    }
    given = [f"{name} {own}" for name, (own, of_usual) in options.items() if own != of_usual]
    if not given:
        return "make demo-checkpoint"
    return " ".join(["python -m fasdk_tools.training.recipe --out FOLDER", *given])


def sized(captures: int, epochs: int) -> Recipe:
    """Return the recipe with another number of training captures and of epochs."""
    usual = Recipe()
    settings = usual.settings.model_copy(update={"epochs": epochs, "patience": epochs})
    return replace(usual, train=captures, settings=settings)


def _show_epoch(epoch: Epoch) -> None:
    STDERR.print(
        f"epoch {epoch.number} of {epoch.of}: loss {epoch.loss:.4f}, development "
        f"{epoch.development_loss:.4f}, AUC {epoch.development_auc:.5f}",
        soft_wrap=True,
    )


def _show_read(done: int, total: int) -> None:
    if done % 960 == 0 or done == total:
        STDERR.print(f"captures: {done} of {total}", soft_wrap=True)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and print the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    usual = Recipe()
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--captures", type=_count, default=usual.train, help="training captures")
    parser.add_argument("--epochs", type=_count, default=usual.settings.epochs, help="epochs")
    parser.add_argument("--resume", action="store_true", help="continue a killed training")
    given = parser.parse_args(arguments)
    try:
        recipe = sized(given.captures, given.epochs)
        record = train_checkpoint(recipe, given.out, resume=given.resume)
    except FasdkError as error:
        STDERR.print(f"fasdk: {error}", soft_wrap=True)
        return 2
    print(record.model_dump_json(indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
