"""Settings of a TensorRT plan's build."""

from __future__ import annotations

from dataclasses import dataclass

from fasdk.errors import UsageError

_LIMITS = {
    "workspace_mib": (0, 2**20, "MiB"),
    "optimization_level": (0, 5, "levels"),
    "aux_streams": (0, 64, "streams"),
}


@dataclass(frozen=True)
class PlanOptions:
    """How TensorRT builds a plan; the defaults suit 8 GB that CPU and GPU share.

    A plan answers alike whatever they are, which its golden captures prove; they decide how fast it
    is, how much memory it takes, and how long the build takes.

    Attributes:
        workspace_mib: Scratch memory a layer may use, in MiB.
        optimization_level: Effort of the search for fast kernels, from 0 to 5; 3 is TensorRT's own
            default, and more takes longer to build.
        aux_streams: Streams besides the lane's own on which layers of one call may run at once;
            each needs memory of its own, so that 0 takes the least.
        timing_cache: Whether times of kernels are taken from earlier builds on this machine, and
            kept for later ones. It decides on nothing but the time of the build.

    Raises:
        UsageError: A number is not whole or out of its range.
    """

    workspace_mib: int = 1024
    optimization_level: int = 3
    aux_streams: int = 0
    timing_cache: bool = True

    def __post_init__(self) -> None:
        """Check every number on construction."""
        for name, (least, most, unit) in _LIMITS.items():
            value = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if not is_whole or not least <= value <= most:
                raise UsageError(
                    f"a plan's {name} is {value!s:.24}, expected {least} to {most} {unit}"
                )
