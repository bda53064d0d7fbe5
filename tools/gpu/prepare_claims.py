"""Preparation of the models of a proof, several at once."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from typing import TYPE_CHECKING

from claims import Claim
from proof_models import PRECISIONS, ProofModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from setting import Setting

    from fasdk.bundle.manifest import Precision

_CORES_A_MODEL = 3


def precisions_for(setting: Setting) -> tuple[Precision, ...]:
    """Return the precisions that are of use here: INT8 needs TensorRT, the others PyTorch alone."""
    flavors = ("tensorrt", "tensorrt_rtx")
    if setting.dry_run or any(find_spec(flavor) is not None for flavor in flavors):
        return PRECISIONS
    return tuple(each for each in PRECISIONS if "int8" not in each.value)


def prepare_claims(setting: Setting) -> Iterator[Claim]:
    """Prepare the models that are not there yet."""
    wanted = precisions_for(setting)
    models = {name: ProofModel.of(name, setting) for name in setting.models}
    missing = [name for name, model in models.items() if model.missing(wanted)]
    for name in models.keys() - set(missing):
        yield Claim(f"{name}: files missing after preparation", 0, "==", 0, "were there")
    if not missing:
        return
    at_once = max(1, min(len(missing), len(os.sched_getaffinity(0)) // _CORES_A_MODEL))
    with ThreadPoolExecutor(at_once) if at_once == 1 else _processes(at_once) as pool:
        started = {name: pool.submit(_prepare, models[name], wanted) for name in missing}
        for name, future in started.items():
            try:
                note = f"{future.result():.0f} seconds, {at_once} at once"
            except Exception as error:  # noqa: BLE001 - the other models go on
                note = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            left = [path.name for path in models[name].missing(wanted)]
            yield Claim(f"{name}: files missing after preparation", len(left), "==", 0, note)


def _processes(at_once: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(at_once, mp_context=get_context("spawn"))


def _prepare(model: ProofModel, wanted: tuple[Precision, ...]) -> float:
    """Prepare one model in a process of its own and return how long it took, in seconds."""
    import torch

    torch.set_num_threads(max(1, min(_CORES_A_MODEL, len(os.sched_getaffinity(0)))))
    start_s = time.perf_counter()
    model.prepare(wanted)
    return time.perf_counter() - start_s
