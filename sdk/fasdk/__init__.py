"""Device package of fasdk: verified bundles, and decisions of which LIVE alone opens a door.

    import fasdk

    with fasdk.open("lobby.fasb") as liveness:
        decision = liveness.check(fasdk.Capture(rgb=rgb, depth=depth_mm, ir=ir, face=(x, y, w, h)))
        if decision.is_live:
            ...

The public names are those of `fasdk._public`, loaded when the first of them is used, so that
importing fasdk costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fasdk._public import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """Load a public name and return it (PEP 562)."""
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module 'fasdk' has no attribute {name!r}")
        names = _names()
        if name == "__all__":
            return sorted(names)
        if name not in names:
            raise AttributeError(f"module 'fasdk' has no attribute {name!r}")
        return globals().setdefault(name, names[name])

    def __dir__() -> list[str]:
        return sorted({*globals(), *_names()})


def _names() -> dict[str, object]:
    """Return the public names and what they stand for."""
    public = vars(import_module("fasdk._public"))
    return {name: value for name, value in public.items() if not name.startswith("_")}
