"""Forms in which checkpoints of one network are published, and what becomes of each.

`form_rows()` writes every form, loads it as a build does, follows the fix of a refusal, and
compares the weights with those that were written.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import gzip
import io
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fasdk.errors import CheckpointError, ModelError
from fasdk_engines.models.checkpoint import load_checkpoint, load_into, resolve_config
from fasdk_engines.models.registry import get_family

State = dict[str, Tensor]
MODEL = "minifasnet-v2"


@dataclass(frozen=True)
class Form:
    """One form of a checkpoint.

    Attributes:
        name: What is special about it.
        write: Writes it into a folder and returns the path to load.
        expected: The weights that a load must give; None where the file holds none of the model.
        weights: Option --weights that is given.
        model: Option --model that is given.
        says: Regular expression that the refusal or the notes must match.
        repaired: Writes the file as "copy it again" would; None where nothing is to be copied.
    """

    name: str
    write: Callable[[Path], Path]
    expected: Callable[[], State] | None
    weights: str | None = None
    model: str = MODEL
    says: str = ""
    repaired: Callable[[Path], Path] | None = None


@dataclass(frozen=True)
class FormRow:
    """What became of one form.

    Attributes:
        name: Name of the form.
        outcome: "right", "right after" a fix, "refused", or "wrong".
        message: The notes of the load, or the refusal.
    """

    name: str
    outcome: str
    message: str

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong."""
        return not self.outcome.startswith("wrong")


@dataclass
class Attempt:
    """Options of a load, changed by following a refusal."""

    path: Path
    weights: str | None
    model: str
    config: str | None = None
    messages: list[str] = field(default_factory=list)


def form_rows(folder: Path) -> list[FormRow]:
    """Return a row for every form, each written into a folder of its own."""
    rows = []
    for number, form in enumerate(FORMS):
        place = folder / f"{number:03d}"
        place.mkdir(parents=True)
        rows.append(form_row(form, place))
    return rows


def form_row(form: Form, folder: Path) -> FormRow:
    """Write one form, load it, follow what a refusal advises, and compare."""
    attempt = Attempt(form.write(folder), form.weights, form.model)
    fixes: list[str] = []
    for _ in range(4):
        try:
            state, notes = _load(attempt)
        except (CheckpointError, ModelError) as error:
            attempt.messages.append(str(error))
            fix = _follow(form, attempt, folder)
            if fix is None:
                break
            fixes.append(fix)
            continue
        message = " | ".join((*attempt.messages, *notes))
        outcome = "right" if not fixes else f"right after {' and '.join(fixes)}"
        if form.expected is None:
            outcome = "wrong: loaded"
        elif not _equal(state, form.expected()):
            outcome = "wrong: other weights"
        return _judged(form, outcome, message)
    message = " | ".join(attempt.messages)
    return _judged(form, "refused" if form.expected is None else "wrong: refused", message)


def _judged(form: Form, outcome: str, message: str) -> FormRow:
    if not re.search(form.says, message):
        outcome = f"wrong: does not say {form.says!r}"
    if "\n" in message:
        outcome = "wrong: more than one line"
    return FormRow(form.name, outcome, message)


def _load(attempt: Attempt) -> tuple[State, tuple[str, ...]]:
    family = get_family(attempt.model)
    checkpoint = load_checkpoint(attempt.path, attempt.weights)
    module = family.build(resolve_config(family, checkpoint, attempt.config))
    notes = load_into(module, checkpoint, family)
    return dict(module.state_dict()), notes


def _equal(state: State, expected: State) -> bool:
    return state.keys() == expected.keys() and all(
        value.equal(expected[name].to(value.dtype)) for name, value in state.items()
    )


def _follow(form: Form, attempt: Attempt, folder: Path) -> str | None:
    """Do what the last refusal says; return a word for it, or None where it says nothing to do."""
    message = attempt.messages[-1]
    if form.expected is None:
        return None
    if form.repaired is not None and re.search(r"copy|download|git lfs pull", message):
        attempt.path = form.repaired(folder)
        return "another copy"
    return next((word for follow in _ADVICE if (word := follow(message, attempt, folder))), None)


def _follow_command(message: str, attempt: Attempt, folder: Path) -> str | None:
    found = re.search(r"`([^`]+)`", message)
    if found is None:
        return None
    out = _run(found[1], folder)
    named = re.search(r"then build from (\S+)$", message)
    attempt.path = folder / named[1] if named else out
    return "its command"


def _follow_settings(message: str, attempt: Attempt, folder: Path) -> str | None:
    found = re.search(r"--config FILE\.json with (\{.*?\})(, and live_index)?", message)
    if found is None:
        return None
    told = json.loads(found[1]) | ({"live_index": 1} if found[2] else {})
    (folder / "FILE.json").write_text(json.dumps(told))
    attempt.config = str(folder / "FILE.json")
    return "--config"


def _follow_model(message: str, attempt: Attempt, _folder: Path) -> str | None:
    found = re.search(r"it looks like --model (\S+) --config (\S+)", message)
    if found is None:
        return None
    attempt.model, attempt.config = found[1], found[2]
    return "--model"


def _follow_weights(message: str, attempt: Attempt, _folder: Path) -> str | None:
    found = re.search(r"--weights (\S+)$", message)
    if found is None:
        return None
    attempt.weights = found[1]
    return "--weights"


def _follow_path(message: str, attempt: Attempt, _folder: Path) -> str | None:
    found = re.search(r"(?:is a folder: give a file, such as|shards: give) (\S+)$", message)
    if found is None:
        return None
    attempt.path = Path(found[1])
    return "the file in it"


_ADVICE = (_follow_command, _follow_settings, _follow_model, _follow_weights, _follow_path)


def _run(command: str, folder: Path) -> Path:
    """Run a command in a folder, Python's in this process; return the file that is new there."""
    before = set(folder.rglob("*"))
    words = shlex.split(command)
    if words[:2] == ["python", "-c"]:
        with _inside(folder), mock.patch.object(sys, "argv", ["-c", *words[3:]]):
            exec(words[2], {"__name__": "__main__"})  # noqa: S102 - the advice itself is tested
    else:
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    new = sorted(path for path in set(folder.rglob("*")) - before if path.is_file())
    return new[0] if new else folder


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@cache
def network(seed: int = 0, name: str = MODEL, **settings: object) -> torch.nn.Module:
    """Return a network with random weights and statistics, the same for a seed."""
    family = get_family(name)
    torch.manual_seed(seed)
    module = family.build(family.config_type(**settings)).eval()
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(0.01 * torch.rand_like(value))
    return module


def state(seed: int = 0, name: str = MODEL, **settings: object) -> State:
    """Return the state dict of `network`."""
    return OrderedDict(network(seed, name, **settings).state_dict())


def zeros() -> State:
    """Return weights that are all zero."""
    return {name: torch.zeros_like(value) for name, value in state().items()}


def prefixed(prefix: str, tensors: State | None = None) -> State:
    """Return weights with a prefix before every name."""
    return {prefix + name: value for name, value in (tensors or state()).items()}


def _saved(content: Callable[[], object], name: str = "net.pth", **options: object):
    def write(folder: Path) -> Path:
        torch.save(content(), folder / name, **options)
        return folder / name

    return write


def _made(content: Callable[[], bytes], name: str):
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return write


def _bare(folder: Path) -> Path:
    return _saved(state, "again.pth")(folder)


def serialized(content: object, **options: object) -> bytes:
    """Return what torch.save writes of an object."""
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


def _safetensors(name: str, tensors: Callable[[], State] = state, **metadata: str):
    def write(folder: Path) -> Path:
        kept = {n: v.contiguous() for n, v in tensors().items()}
        save_file(kept, folder / name, metadata or None)
        return folder / name

    return write


def _sharded(suffix: str, index: str, *, lost: bool = False):
    def write(folder: Path) -> Path:
        names = list(state())
        shards = {"1": names[::2], "2": names[1::2]}
        where = {}
        for shard, held in shards.items():
            file = f"model-0000{shard}-of-00002.{suffix}"
            where.update(dict.fromkeys(held, file))
            part = {name: state()[name].contiguous() for name in held}
            if suffix == "safetensors":
                save_file(part, folder / file)
            else:
                torch.save(part, folder / file)
        if lost:
            (folder / f"model-00002-of-00002.{suffix}").unlink()
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": where}))
        return folder / index

    return write


def _shard(folder: Path) -> Path:
    _sharded("safetensors", "model.safetensors.index.json")(folder)
    return folder / "model-00002-of-00002.safetensors"


def _fake_class(module: str, name: str, base: type = object) -> type:
    """Return a class that pickles under a name of another package, which is not installed."""
    made = type(name, (base,), {"__module__": module})
    package = types.ModuleType(module)
    setattr(package, name, made)
    parts = module.split(".")
    for end in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    sys.modules[module] = package
    return made


def _with_classes(*classes: tuple[str, str, type]):
    """Return a checkpoint with objects of packages that are gone when it is loaded."""

    def write(folder: Path) -> Path:
        before = dict(sys.modules)
        try:
            beside = []
            for module, name, base in classes:
                made = _fake_class(module, name, base)()
                if isinstance(made, dict):
                    made["lr"] = 0.1
                else:
                    made.lr = 0.1
                beside.append(made)
            torch.save({"state_dict": state(), "hyper_parameters": beside}, folder / "net.ckpt")
        finally:
            for module in set(sys.modules) - set(before):
                del sys.modules[module]
        return folder / "net.ckpt"

    return write


class OwnSettings:
    """Settings of a training script's own class."""

    def __init__(self) -> None:
        self.lr = 0.1


class Attack:
    """Content of a hostile checkpoint: unpickling it would write a file."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


class Holder(torch.nn.Module):
    """A network inside another module, as Lightning or a wrapper for export holds it."""

    def __init__(self, name: str = "net") -> None:
        super().__init__()
        self.name = name
        setattr(self, name, network())
        self.register_buffer("mean", torch.rand(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        return getattr(self, self.name)(x)[0]


def _script(how: Callable[[], torch.jit.ScriptModule], name: str = "net.pt"):
    def write(folder: Path) -> Path:
        how().save(str(folder / name))
        return folder / name

    return write


@cache
def _traced() -> torch.jit.ScriptModule:
    with torch.no_grad():
        return torch.jit.trace(network(), torch.rand(1, 3, 80, 80), check_trace=False)


@cache
def _traced_gated() -> torch.jit.ScriptModule:
    with torch.no_grad():
        return torch.jit.trace(
            network(squeeze_excite=True), torch.rand(1, 3, 80, 80), check_trace=False
        )


@cache
def _traced_inside() -> torch.jit.ScriptModule:
    with torch.no_grad():
        return torch.jit.trace(Holder().eval(), torch.rand(1, 3, 80, 80), check_trace=False)


def _compressed(folder: Path) -> Path:
    plain = serialized(state())
    (folder / "plain.pth").write_bytes(plain)
    with (
        zipfile.ZipFile(folder / "plain.pth") as given,
        zipfile.ZipFile(folder / "net.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for member in given.namelist():
            small.writestr(member, given.read(member))
    (folder / "plain.pth").unlink()
    return folder / "net.pth"


def _zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "net.zip", "w") as archive:
        archive.writestr("weights/best.pth", serialized(state()))
    return folder / "net.zip"


def _tarred(folder: Path) -> Path:
    inner = folder / "best.pth"
    torch.save(state(), inner)
    with tarfile.open(folder / "net.tar", "w") as archive:
        archive.add(inner, "best.pth")
    inner.unlink()
    return folder / "net.tar"


def _npz(folder: Path) -> Path:
    np.savez(folder / "net.npz", **{name: v.numpy() for name, v in state().items()})
    return folder / "net.npz"


def _pickled(folder: Path) -> Path:
    (folder / "net.pkl").write_bytes(pickle.dumps(state()))
    return folder / "net.pkl"


def _onnx(folder: Path) -> Path:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", value[:1], value[1:]))
    (folder / "net.bin").write_bytes(model.SerializeToString())
    return folder / "net.bin"


def _in_folder(folder: Path) -> Path:
    (folder / "run").mkdir()
    _safetensors("model.safetensors")(folder / "run")
    return folder / "run"


def _state(seed: int = 0, name: str = MODEL, **settings: object) -> Callable[[], State]:
    return lambda: state(seed, name, **settings)


def _converted(dtype: torch.dtype) -> State:
    return {n: v.to(dtype) if v.is_floating_point() else v for n, v in state().items()}


def _without_counts() -> State:
    return {n: v for n, v in state().items() if not n.endswith("num_batches_tracked")}


def _nested() -> dict[str, object]:
    tree: dict[str, object] = {}
    for name, value in state().items():
        *parents, leaf = name.split(".")
        place = tree
        for part in parents:
            place = place.setdefault(part, {})
        place[leaf] = value
    return tree


def _lightning() -> dict[str, object]:
    beside = {"criterion.weight": torch.rand(3), "train_acc.total": torch.zeros(())}
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**prefixed("model."), **beside},
        "optimizer_states": [_optimizer_state()],
        "hyper_parameters": {"lr": np.float64(0.1), "size": torch.Size([3, 80, 80])},
    }


@cache
def _optimizer_state() -> dict[str, object]:
    """State of an optimizer of another, small network: its tensors have names of their own."""
    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def _aliased() -> State:
    tensors = state()
    tensors["stem.copy"] = tensors.pop("conv1.conv.weight")
    return tensors


def _own_tied() -> State:
    tensors = state(name="mmdgpp", **TINY)
    tensors["class_token_1"] = tensors.pop("model.visual.class_embedding")
    return tensors


TINY = get_family("mmdgpp").configs["tiny"].model_dump()


def _random_state() -> dict[str, object]:
    return {"numpy": np.random.default_rng(0).bit_generator.state, "torch": torch.get_rng_state()}


def _averaged_model() -> State:
    averaged = torch.optim.swa_utils.AveragedModel(network())
    averaged.update_parameters(network())
    return averaged.state_dict()


def _quantized() -> State:
    tensors = state()
    tensors["linear.weight"] = torch.quantize_per_tensor(
        tensors["linear.weight"], 0.01, 0, torch.qint8
    )
    return tensors


def _changed(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[], State]:
    return lambda: {n: value(v) if n == name else v for n, v in state().items()}


_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "module", "net", "params", "weights", "network"),
    *("generator", "model_state", "student", "model_ema", "netG", "backbone_state"),
)
_PREFIXES = (
    *("module.", "_orig_mod.", "net.", "model.", "module.model.", "module._orig_mod."),
    *("_orig_mod.module.", "backbone.", "student.net.", "_forward_module.module."),
)
_SUFFIXES = ("net.pth", "net.pth.tar", "net.pkl", "net", "net.t7", "net.weights", "net.ckpt")

FORMS: tuple[Form, ...] = (
    *(Form(f"file called {n}", _saved(state, n), state) for n in _SUFFIXES),
    *(
        Form(f"under {key!r}", _saved(lambda key=key: {key: state(), "epoch": 3}), state, says=key)
        for key in _WRAPPERS
    ),
    *(
        Form(f"names with {p!r}", _saved(lambda p=p: prefixed(p)), state, says="weights are those|")
        for p in _PREFIXES
    ),
    Form("safetensors", _safetensors("net.safetensors"), state),
    Form("safetensors called .bin", _safetensors("pytorch_model.bin"), state),
    Form("torch file called .safetensors", _saved(state, "net.safetensors"), state),
    Form("sharded safetensors", _sharded("safetensors", "model.safetensors.index.json"), state),
    Form("sharded torch files", _sharded("bin", "pytorch_model.bin.index.json"), state),
    Form(
        "a shard is lost",
        _sharded("bin", "pytorch_model.bin.index.json", lost=True),
        state,
        says="lists the shard model-00002-of-00002.bin, which is not beside it",
        repaired=_bare,
    ),
    Form("one shard", _shard, state, says="is one of 2 shards"),
    Form("older format", _saved(state, _use_new_zipfile_serialization=False), state),
    Form("older format, wrapped", _saved(lambda: {"net": prefixed("module.")}), state),
    Form("nested wrappers", _saved(lambda: {"ckpt": {"model": {"state_dict": state()}}}), state),
    Form("list of state dict and epoch", _saved(lambda: [state(), 7]), state),
    Form("tuple of epoch and state dict", _saved(lambda: (7, {"net": state()})), state),
    Form("tree of dictionaries", _saved(_nested), state),
    Form(
        "parameters",
        _saved(lambda: {n: torch.nn.Parameter(v, False) for n, v in state().items()}),
        state,
    ),
    Form(
        "channels last",
        _saved(
            lambda: {
                n: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v
                for n, v in state().items()
            }
        ),
        state,
    ),
    Form(
        "names of compiled submodules",
        _saved(lambda: {n.replace("conv_4.", "conv_4._orig_mod."): v for n, v in state().items()}),
        state,
        says="_orig_mod",
    ),
    Form(
        "names of FSDP",
        _saved(
            lambda: {
                n.replace("conv_4.", "_fsdp_wrapped_module.conv_4."): v for n, v in state().items()
            }
        ),
        state,
    ),
    Form(
        "submodules in DataParallel",
        _saved(lambda: {n.replace("conv_4.", "conv_4.module."): v for n, v in state().items()}),
        state,
        says="without 'module'",
    ),
    Form(
        "Lightning",
        _saved(_lightning, "epoch=3.ckpt"),
        state,
        says=r"dropped criterion\.weight",
    ),
    Form(
        "auxiliary network of training",
        _saved(
            lambda: {
                **prefixed("module.model."),
                "module.FTGenerator.ft.0.weight": torch.rand(4, 8, 3, 3),
            }
        ),
        state,
        says=r"dropped module\.FTGenerator",
    ),
    Form(
        "two networks in one file",
        _saved(
            lambda: {
                "MiniFASNetV1SE": prefixed("module.", state(1, "minifasnet-v1se")),
                "MiniFASNetV2": prefixed("module."),
            },
            "both.pth.tar",
        ),
        state,
        says=r"MiniFASNetV2\.module",
    ),
    Form(
        "two networks in one file, the other",
        _saved(
            lambda: {
                "MiniFASNetV1SE": prefixed("module.", state(1, "minifasnet-v1se")),
                "MiniFASNetV2": prefixed("module."),
            }
        ),
        _state(1, "minifasnet-v1se"),
        model="minifasnet-v1se",
    ),
    Form(
        "generator and discriminator",
        _saved(lambda: {"D": {"conv.weight": torch.rand(4, 3, 3, 3)}, "G": state()}),
        state,
    ),
    Form("optimizer", _saved(lambda: {"net": state(), "optim": _optimizer_state()}), state),
    Form(
        "EMA beside raw",
        _saved(lambda: {"model": state(), "model_ema": state(1)}),
        state,
        says="averaged weights of minifasnet-v2 under 'model_ema' and raw ones under 'model', "
        "which differ: choose with --weights ema or --weights raw",
    ),
    Form(
        "EMA beside raw, as timm names them",
        _saved(lambda: {"state_dict": state(), "state_dict_ema": state(1)}),
        state,
        says="under 'state_dict_ema' and raw ones under 'state_dict'",
    ),
    Form(
        "EMA beside raw, raw asked for",
        _saved(lambda: {"model": state(), "ema": {"module": state(1)}}),
        state,
        weights="raw",
    ),
    Form(
        "EMA beside raw, EMA asked for",
        _saved(lambda: {**state(), "ema": state(1)}),
        _state(1),
        weights="ema",
    ),
    Form(
        "EMA beside raw in one state dict",
        _saved(lambda: {"state_dict": {**prefixed("net."), **prefixed("net_ema.", state(1))}}),
        state,
        says="state_dict.net_ema",
    ),
    Form(
        "EMA without buffers",
        _saved(
            lambda: {
                "model": state(),
                "ema": {n: v for n, v in state(1).items() if "running" not in n},
            }
        ),
        state,
        says="ema is left: it lacks",
    ),
    Form(
        "raw weights all zero beside EMA",
        _saved(lambda: {"model": zeros(), "ema": state(1)}),
        _state(1),
        says="are constant.*--weights ema",
    ),
    Form(
        "EMA all zero beside raw weights",
        _saved(lambda: {"model": state(), "ema": zeros()}),
        state,
        says="under 'ema' and raw ones under 'model', which differ",
    ),
    Form(
        "EMA called by a word of its own",
        _saved(lambda: {"net": state(), "netEMA": state(1)}),
        state,
        says="under 'netEMA' and raw ones under 'net'",
    ),
    Form("average of torch.optim.swa_utils", _saved(_averaged_model), state, says="n_averaged"),
    Form("one set under two keys", _saved(lambda: {"model": state(), "best": state()}), state),
    Form(
        "two sets",
        _saved(lambda: {"last": state(), "best": state(1)}),
        state,
        says="holds 2 sets of weights that fit minifasnet-v2: last, best; choose one",
    ),
    Form(
        "two sets, one asked for",
        _saved(lambda: {"last": state(), "best": state(1)}),
        _state(1),
        weights="best",
    ),
    Form("NumPy scalar", _saved(lambda: {"net": state(), "best": np.float64(0.01)}), state),
    Form(
        "NumPy scalar, older format",
        _saved(
            lambda: {"net": state(), "best": np.float32(0.01)},
            _use_new_zipfile_serialization=False,
        ),
        state,
    ),
    Form("NumPy array", _saved(lambda: {"net": state(), "roc": np.arange(3.0)}), state),
    Form(
        "Namespace",
        _saved(lambda: {"net": state(), "args": argparse.Namespace(lr=0.1, out=Path("x"))}),
        state,
    ),
    Form(
        "times",
        _saved(
            lambda: {
                "net": state(),
                "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
                if hasattr(datetime, "UTC")
                else datetime.date(2026, 1, 1),
            }
        ),
        state,
    ),
    Form(
        "dtype, size and device",
        _saved(
            lambda: {
                "net": state(),
                "a": torch.float16,
                "b": torch.Size([1]),
                "c": torch.device("cpu"),
                "d": OrderedDict(x=1),
                "e": {1, 2},
                "f": torch.__version__,
            }
        ),
        state,
    ),
    Form(
        "defaultdict",
        _saved(lambda: {"net": defaultdict(None, state()), "h": defaultdict(list)}),
        state,
    ),
    Form(
        "schedule, loss and history",
        _saved(
            lambda: {
                "net": state(),
                "schedule": {"anneal": torch.optim.lr_scheduler.OneCycleLR._annealing_cos},
                "criterion": torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0])),
                "lambda": functools.partial(pow, 2),
            }
        ),
        state,
    ),
    Form("SimpleNamespace", _saved(lambda: {"n": state(), "c": types.SimpleNamespace(a=1)}), state),
    Form("random states", _saved(lambda: {"net": state(), "rng": _random_state()}), state),
    Form(
        "settings of packages that are not installed",
        _with_classes(
            ("omegaconf.dictconfig", "DictConfig", object),
            ("easydict", "EasyDict", dict),
            ("pytorch_lightning.utilities.parsing", "AttributeDict", dict),
            ("mmengine.logging.history_buffer", "HistoryBuffer", object),
        ),
        state,
    ),
    Form(
        "float16",
        _saved(lambda: _converted(torch.half)),
        lambda: _converted(torch.half),
        says="converted from float16 to float32",
    ),
    Form(
        "bfloat16",
        _saved(lambda: _converted(torch.bfloat16)),
        lambda: _converted(torch.bfloat16),
        says="converted from bfloat16",
    ),
    Form("float64", _saved(lambda: _converted(torch.float64)), state, says="from float64"),
    Form("batch counts of older torch", _saved(_without_counts), state, says="set to 0"),
    Form("TorchScript, traced", _script(_traced), state),
    Form("TorchScript, the network inside", _script(_traced_inside), state, says="dropped mean"),
    Form(
        "tied weights, one name in the metadata",
        _safetensors("net.safetensors", _aliased, **{"conv1.conv.weight": "stem.copy"}),
        state,
        says="its other name",
    ),
    Form("whole module", _saved(network), state, says=r"contains code \(\S*minifasnet"),
    Form("whole module under 'model'", _saved(lambda: {"model": network()}), state, says="code"),
    Form(
        "whole module, older format",
        _saved(network, _use_new_zipfile_serialization=False),
        state,
        says="contains code",
    ),
    Form(
        "settings of the script's own class",
        _saved(lambda: {"net": state(), "cfg": OwnSettings()}),
        state,
        says=r"contains code \(support\.checkpoint_forms\.OwnSettings\)",
    ),
    Form("plain pickle", _pickled, state, says="plain pickle"),
    Form("pickle protocol 4", _saved(state, pickle_protocol=4), state, says="protocol"),
    Form(
        "NumPy arrays by name",
        _saved(lambda: {n: v.numpy() for n, v in state().items()}),
        state,
        says="NumPy arrays and no tensors",
    ),
    Form("NumPy archive", _npz, state, says="NumPy archive"),
    Form("compressed members", _compressed, state, says="compressed members"),
    Form(
        "gzip", _made(lambda: gzip.compress(serialized(state())), "net.pth.gz"), state, says="gzip"
    ),
    Form("zip archive of a folder", _zipped, state, says=r"give weights/best\.pth"),
    Form("tar archive", _tarred, state, says="tar xf"),
    Form("folder", _in_folder, state, says="is a folder"),
    Form(
        "truncated",
        _made(lambda: serialized(state())[:-999], "net.pth"),
        state,
        says="truncated",
        repaired=_bare,
    ),
    Form(
        "truncated, older format",
        _made(lambda: serialized(state(), _use_new_zipfile_serialization=False)[:-999], "net.pth"),
        state,
        says="truncated",
        repaired=_bare,
    ),
    Form("empty", _made(bytes, "net.pth"), state, says="empty", repaired=_bare),
    Form(
        "Git LFS pointer",
        _made(lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "net.pth"),
        state,
        says="git lfs pull",
        repaired=_bare,
    ),
    Form(
        "web page",
        _made(lambda: b"<!DOCTYPE html><html>Sign in</html>", "net.pth"),
        state,
        says="web page",
        repaired=_bare,
    ),
    Form(
        "MiniFASNetV2SE of the project's training",
        _saved(lambda: prefixed("module.model.", state(squeeze_excite=True))),
        _state(squeeze_excite=True),
        says='"squeeze_excite": true',
    ),
    Form(
        "two classes at 128 pixels",
        _saved(state_128 := lambda: state(image_size=128, classes=2, live_index=1)),
        state_128,
        says="and live_index, which weights do not tell",
    ),
    Form(
        "MiniFASNetV2SE in TorchScript",
        _script(_traced_gated),
        _state(squeeze_excite=True),
        says='"squeeze_excite": true',
    ),
    Form(
        "another model",
        _saved(_state(1, "minifasnet-v1se")),
        _state(1, "minifasnet-v1se"),
        says="it looks like --model minifasnet-v1se",
    ),
    Form(
        "tied weights of MMDG++",
        _saved(_own_tied),
        _state(name="mmdgpp", **TINY),
        model="mmdgpp",
        says="class_token_1",
    ),
    # What holds no weights of the model stays refused, and the refusal says what it is.
    Form(
        "hostile",
        _saved(lambda: {"net": state(), "x": Attack()}),
        None,
        says=r"code \(\S*system\) that no checkpoint needs",
    ),
    Form("all zero", _saved(zeros), None, says="are constant"),
    Form("NaN", _saved(_changed("linear.weight", lambda v: v * torch.nan)), None, says="NaN"),
    Form("quantized", _saved(_quantized), None, says="is quantized"),
    Form("integers", _saved(_changed("linear.weight", Tensor.char)), None, says="torch.int8"),
    Form("sparse", _saved(_changed("linear.weight", Tensor.to_sparse)), None, says="is sparse"),
    Form(
        "a head that the model lacks",
        _saved(lambda: {**state(), "depth_head.weight": torch.rand(2, 2)}),
        None,
        says="1 unknown: depth_head.weight; if only the training uses",
    ),
    Form(
        "optimizer alone",
        _saved(lambda: {"optimizer": _optimizer_state()}),
        None,
        says="no tensors|does not fit",
    ),
    Form(
        "parameters without names",
        _saved(lambda: list(state().values())),
        None,
        says="no tensors by name but a list",
    ),
    Form(
        "frozen TorchScript",
        _script(lambda: torch.jit.freeze(copy.deepcopy(_traced()))),
        None,
        says="frozen",
    ),
    Form("ONNX", _onnx, None, says="use --model onnx"),
    Form("Keras", _made(lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "net.h5"), None, says="HDF5"),
    Form("TFLite", _made(lambda: b"\x1c\0\0\0TFL3" + bytes(99), "net.tflite"), None, says="Lite"),
    Form("JSON", _made(lambda: b'{"lr": 0.1}', "config.json"), None, says="JSON without"),
    Form("text", _made(lambda: b"epoch,loss\n1,0.5\n", "log.csv"), None, says="text file"),
)
