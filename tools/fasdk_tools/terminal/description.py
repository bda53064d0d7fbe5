"""Terminal output of an ONNX file's description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import (
    print_answer,
    print_document,
    print_fields,
    print_json,
    print_notes,
    print_rows,
)
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk_engines.onnx_import.describe import FileDescription
    from fasdk_engines.onnx_import.reference_trial import Setting, Trial, TrialTable

_ROWS = 8


def show_description(
    source: Path, found: FileDescription, out: Path | None, *, as_json: bool, wide: bool = False
) -> None:
    """Print a description on stdout: what must be told, the settings tried, the document."""
    if as_json:
        print_json(_document(source, found, out))
        return
    missing, guesses = found.draft.missing, found.draft.guesses
    asked = f"{count_of(len(missing), 'field')} to be told" if missing else "nothing to be told"
    guessed = f", {count_of(len(guesses), 'guess', 'guesses')} to check" if guesses else ""
    where = f"; wrote {out}" if out is not None else ""
    print_answer(f"{source}: {asked}{guessed}{where}")
    if missing:
        print_fields("To be told", {field.name: field.comment for field in missing})
    if found.table is not None:
        _print_table(found.table, wide=wide)
    if found.problem is not None:
        print_notes([f"nothing was tried: {found.problem}"])
    if out is None:
        print_document("Description", found.draft.text())


def _print_table(table: TrialTable, *, wide: bool) -> None:
    near = {id(trial) for trial in table.near_ties}
    alone = len(table.trials[0].setting.modalities) == 1
    print_rows(
        f"Tried on {count_of(table.captures, 'capture')} of {table.name}, "
        f"{count_of(table.attacks, 'attack')} among them",
        (
            *("", Column("units", label=True), "planes", "crop", "live", "AUC", "log loss"),
            *(Column("divergence", wide=True), Column("inputs", wide=alone)),
        ),
        [
            (
                "best"
                if trial is table.chosen
                else "near tie"
                if id(trial) in near
                else "weights say no"
                if trial.against
                else "",
                trial.setting.units.name,
                trial.setting.order.value,
                trial.setting.crop_name,
                trial.live_index,
                f"{trial.auc:.4f}",
                f"{trial.log_loss:.4f}",
                None if trial.divergence is None else f"{trial.divergence:.2f}",
                _inputs(trial.setting),
            )
            for trial in (table.trials if wide else table.trials[:_ROWS])
        ],
        wide=wide,
    )
    if table.chosen is None:
        print_fields(
            "",
            {
                "chosen": "none: no setting separates the captures better than chance; is the "
                "network trained, and do the list's labels hold?"
            },
        )


def _inputs(setting: Setting) -> str:
    """Return what feeds each input, and how depth is drawn where it is one of them."""
    from fasdk.capture import Modality
    from fasdk.preprocess import DepthPolarity

    names = "+".join(m.value for m in setting.modalities)
    far = Modality.DEPTH in setting.modalities and setting.polarity is DepthPolarity.FAR_BRIGHT
    return f"{names}, {setting.polarity.value}" if far else names


def _document(source: Path, found: FileDescription, out: Path | None) -> dict[str, Any]:
    table = found.table
    return {
        "file": str(source),
        "written": None if out is None else str(out),
        "problem": found.problem,
        "missing": {field.name: field.comment for field in found.draft.missing},
        "guesses": {field.name: field.comment for field in found.draft.guesses},
        "toml": found.draft.text(),
        "reference": None
        if table is None
        else {
            "list": table.name,
            "captures": table.captures,
            "attacks": table.attacks,
            "chosen": None if table.chosen is None else _trial(table.chosen),
            "near_ties": [_trial(trial) for trial in table.near_ties],
            "trials": [_trial(trial) for trial in table.trials],
        },
    }


def _trial(trial: Trial) -> dict[str, Any]:
    setting = trial.setting
    return {
        "modalities": [m.value for m in setting.modalities],
        "units": setting.units.name,
        "channel_order": setting.order.value,
        "crop": setting.crop.value,
        "crop_scale": setting.crop_scale,
        "depth_polarity": setting.polarity.value,
        "live_index": trial.live_index,
        "auc": trial.auc,
        "log_loss": trial.log_loss,
        "divergence": trial.divergence,
        "against_weights": trial.against,
    }
