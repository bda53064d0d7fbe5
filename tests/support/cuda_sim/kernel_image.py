"""Image of the kernels for the simulated driver, which runs its own and asks only for the GPU."""

from __future__ import annotations


def image(compute_capability: str = "8.0") -> bytes:
    """Return PTX that names a GPU and nothing else."""
    target = compute_capability.replace(".", "")
    return f".version 8.0\n.target sm_{target}\n.address_size 64\n".encode()
