"""Commands that write the weights of another kind of file as a checkpoint."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path

# Keeps what a checkpoint may hold: mappings of names to tensors, a module's as its state dict.
_KEEP = (
    "f = lambda v: f(v.state_dict()) if hasattr(v, 'state_dict') "
    "else {k: f(w) for k, w in v.items()} if hasattr(v, 'items') "
    "else v if isinstance(v, torch.Tensor) "
    "else torch.tensor(v) if type(v).__name__ == 'ndarray' else None"
)


class Loader(Enum):
    """Python expression that loads a file of one kind; all but NumPy's run code of the file."""

    TORCH = "torch.load(sys.argv[1], map_location='cpu', weights_only=False)"
    TORCHSCRIPT = "torch.jit.load(sys.argv[1], map_location='cpu')"
    PICKLE = "pickle.load(open(sys.argv[1], 'rb'))"
    NUMPY = "dict(numpy.load(sys.argv[1]))"

    @property
    def runs_code(self) -> bool:
        """Whether loading runs what the file says."""
        return self is not Loader.NUMPY


def conversion(path: Path, loader: Loader) -> str:
    """Return advice with the shell command that writes a file's weights as plain tensors."""
    imports = {Loader.PICKLE: "pickle, ", Loader.NUMPY: "numpy, "}.get(loader, "")
    program = f"import {imports}sys, torch; {_KEEP}; torch.save(f({loader.value}), sys.argv[2])"
    out = f"{path.name.split('.')[0] or 'checkpoint'}-weights.pth"
    command = f'python -c "{program}" {shlex.quote(str(path))} {shlex.quote(out)}'
    trust = "only if you trust it, since this runs its code" if loader.runs_code else "convert it"
    return f"{trust}: `{command}`, then build from {out}"
