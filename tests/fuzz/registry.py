"""Every fuzz target by name."""

from __future__ import annotations

from fuzz.target import Target
from fuzz.targets import bundles, captures, lists, models, state

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (bundles, captures, lists, models, state)
    for target in module.TARGETS
}
