"""Placeholders for objects that checkpoints hold beside their weights.

Nothing that a checkpoint names is imported or called: torch's restricted unpickler gets an inert
object in the place of each name listed here, and refuses every other name.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

# Settings, figures and log entries that training scripts and frameworks save with their weights.
_SETTINGS = re.compile(
    r"argparse\.Namespace"
    r"|types\.SimpleNamespace"
    r"|datetime\.\w+"
    r"|zoneinfo\.\w+(\.\w+)?"
    r"|pathlib\.\w+"
    r"|pathlib\._local\.\w+"
    r"|decimal\.Decimal"
    r"|fractions\.Fraction"
    r"|uuid\.UUID"
    r"|collections\.deque"
    r"|functools\.partial"
    r"|copyreg\._reconstructor"
    r"|typing\.\w+"
    r"|builtins\.(getattr|object|bool|int|float|str|bytes|list|tuple|dict|frozenset|range|slice)"
    r"|numpy\.(dtype|bool|bool_|u?int\d+|float\d+|complex\d+|str_|bytes_|datetime64|timedelta64)"
    r"|numpy\.dtypes\.\w+"
    r"|numpy\._?core\.multiarray\.scalar"
    r"|numpy\.random\._pickle\.\w+"
    r"|numpy\.random\._\w+\.\w+"
    r"|torch\.torch_version\.TorchVersion"
    r"|torch\.version\.\w+"
    r"|torch\.random\.\w+"
    r"|torch\._C\.Generator"
    r"|torch\.(optim|utils\.data|nn\.modules\.loss|nn\.functional)\.[\w.]+"
    r"|torch\.amp\.[\w.]+"
    r"|torch\.cuda\.amp\.[\w.]+"
    r"|(omegaconf|hydra|easydict|addict|yacs|munch|ml_collections|pydantic)\.[\w.]+"
    r"|(fvcore|iopath|detectron2\.config|timm\.(utils|data|optim|scheduler))\.[\w.]+"
    r"|(mmengine|mmcv)\.(config|utils|logging|runner)\.[\w.]+"
    r"|(pandas|scipy|sklearn|PIL|tqdm|albumentations|torchvision\.transforms)\.[\w.]+"
    r"|(lightning|pytorch_lightning|lightning_fabric|lightning_utilities)\.[\w.]+"
    r"|(accelerate|torchmetrics|wandb)\.[\w.]+"
    r"|transformers\.(?!models\.\w+\.modeling)[\w.]+"
)
_MAPPINGS = re.compile(
    r"(easydict\.EasyDict|addict\.(addict\.)?Dict|munch\.(\w+\.)?\w*Munch|yacs\.config\.CfgNode"
    r"|fvcore\.common\.config\.CfgNode|(lightning_fabric|pytorch_lightning|lightning)\.[\w.]*"
    r"AttributeDict|transformers\.[\w.]*(BatchEncoding|ModelOutput))"
)
_ARRAYS = re.compile(r"numpy\.ndarray|numpy\._?core\.multiarray\._reconstruct")
_SCRIPT = re.compile(r"__torch__\..+")
_SCRIPT_VALUES = re.compile(r"torch\.jit\._pickle\.\w+|torch\._utils\._rebuild_\w+")


class Setting:
    """Placeholder of an object beside the weights; what it held is dropped."""

    def __new__(cls, *_: object) -> Setting:
        """Return a placeholder, whatever the file would construct it from."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        """Take the arguments of any constructor."""

    def __setstate__(self, _: object) -> None:
        """Take any state."""


class Array(Setting):
    """Placeholder of a NumPy array, which is reported and not read."""


class ScriptModule(Setting):
    """Attributes of a module in a TorchScript archive.

    Attributes:
        attributes: Parameters, buffers, submodules and settings by name.
    """

    attributes: Mapping[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        """Keep the attributes."""
        self.attributes = state if isinstance(state, Mapping) else {}


def _mapping(*_: object) -> OrderedDict[Any, Any]:
    return OrderedDict()


def placeholder(name: str, *, script: bool = False) -> Callable[..., Any] | None:
    """Return what stands for a global of a checkpoint, or None where the global is refused.

    Args:
        name: Full name of a class or function, as the file has it.
        script: Whether the file is a TorchScript archive.
    """
    if script and _SCRIPT.fullmatch(name):
        return ScriptModule
    if script and _SCRIPT_VALUES.fullmatch(name):
        return _named(name)
    if name == "collections.defaultdict":
        return _mapping
    if _MAPPINGS.fullmatch(name):
        return OrderedDict
    if _ARRAYS.fullmatch(name):
        return Array
    return _named(name) if _SETTINGS.fullmatch(name) else None


def _named(name: str) -> type[Setting]:
    """Return a placeholder whose name in messages is that of the class it stands for."""
    return type(name.rpartition(".")[2], (Setting,), {})
