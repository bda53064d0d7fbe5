"""Forms of checkpoints: each loads as its author's network, or is refused with a fix that works."""

from __future__ import annotations

import argparse
import functools
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fasdk.errors import CheckpointError
from fasdk_engines.models.checkpoint import load_checkpoint, load_into
from fasdk_engines.models.registry import family_names, get_family

from support.checkpoint_forms import FORMS, Form, form_row, serialized


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_is_loaded_right_or_refused_with_a_fix_that_works(form: Form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = form_row(form, tmp_path)
    assert row.passed, f"{row.outcome}: {row.message}"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", family_names())
def test_every_models_weights_are_found_under_a_prefix_and_a_wrapper(name, tmp_path):
    family = get_family(name)
    config = list(family.configs.values())[-1]
    torch.manual_seed(0)
    module = family.build(config)
    wrapped = {f"module.net.{key}": value for key, value in module.state_dict().items()}
    aside = {"module.head.weight": torch.ones(2), "step": torch.zeros(())}
    torch.save({"epoch": 1, "nets": [{"model": {**wrapped, **aside}}]}, tmp_path / "a.tar")
    other = family.build(config)
    notes = load_into(other, load_checkpoint(tmp_path / "a.tar"), family)
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in module.state_dict().items())
    assert notes[0] == "weights are those under 'nets.0.model.module.net.'"
    assert "head" in notes[-1]


@pytest.mark.parametrize("name", ["mmdg", "minifasnet-v2"])
def test_a_tensor_that_is_missing_or_too_many_under_a_prefix_is_refused(name, tmp_path):
    family = get_family(name)
    config = list(family.configs.values())[-1]
    module = family.build(config)
    wrapped = {f"net.{key}": value for key, value in module.state_dict().items()}
    first = next(iter(wrapped))
    for change, complaint in (
        ({**wrapped, "net.extra.weight": torch.ones(2)}, r"1 unknown: extra\.weight"),
        ({n: v for n, v in wrapped.items() if n != first}, "1 missing: "),
    ):
        torch.save({"state_dict": change}, tmp_path / "a.pth")
        with pytest.raises(CheckpointError, match=complaint):
            load_into(module, load_checkpoint(tmp_path / "a.pth"), family)


def test_damaged_bytes_are_refused_in_one_line_and_never_crash(tmp_path):
    """Deterministic changes of one byte, cuts and insertions in every format."""
    weights = {"a.weight": torch.rand(3, 4), "n": torch.tensor(1)}
    formats = (
        serialized(weights),
        serialized({"net": weights, "args": argparse.Namespace(a=1)}),
        serialized(weights, _use_new_zipfile_serialization=False),
        safetensors.torch.save(weights),
        b'{"weight_map": {"a": "b.bin"}}',
    )
    chance = random.Random(0)  # noqa: S311 - a fixed sequence of damages
    path = tmp_path / "damaged"
    refused = 0
    for number in range(300):
        data = bytearray(formats[number % len(formats)])
        place = chance.randrange(len(data))
        match number % 3:
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + 9]
            case _:
                data[place:place] = chance.randbytes(9)
        path.write_bytes(data)
        try:
            load_checkpoint(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "call",
    [
        (os.system, ("touch pwned",)),
        (exec, ("open('pwned', 'w')",)),
        (subprocess.Popen, (["touch", "pwned"],)),
        (functools.partial, (os.system, "touch pwned")),
        (torch.load, ("pwned",)),
        (torch.hub.load, ("a/b", "c")),
    ],
    ids=lambda call: getattr(call[0], "__qualname__", str(call[0])),
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_call_in_a_checkpoint_is_refused_and_not_made(call, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Hostile:
        def __reduce__(self):
            return call

    content = {"net": {"a": torch.ones(1)}, "x": Hostile()}
    torch.save(content, "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="contains"):
        load_checkpoint(Path("net.pth"))
    assert not Path("pwned").exists()


@pytest.mark.slow
def test_the_command_of_a_refusal_works_in_a_shell(tmp_path):
    path = tmp_path / "it's a net.pth"
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 2)), path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    command = re.search(r"`(.+)`, then build from (.+)$", str(caught.value))
    assert command is not None
    shell = command[1].replace("python -c", f"{sys.executable} -c", 1)
    subprocess.run(["sh", "-c", shell], cwd=tmp_path, check=True)
    assert set(load_checkpoint(tmp_path / command[2]).tensors) == {"0.weight", "0.bias"}
