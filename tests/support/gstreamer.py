"""GStreamer for tests, by the PyGObject of this Python or by Debian's."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

from fasdk.cameras.gst_library import GStreamer, require_gstreamer
from fasdk.errors import UsageError

from support.requirements import Requirement

_DEBIANS = Path("/usr/lib/python3/dist-packages")


def gstreamer() -> GStreamer:
    """Return GStreamer, or skip the test where it is not installed."""
    _find_pygobject()
    try:
        return require_gstreamer()
    except UsageError as error:
        Requirement.PYGOBJECT.skip(str(error))


def _find_pygobject() -> None:
    """Load Debian's PyGObject where this Python has none, and nothing else of that folder."""
    if "gi" in sys.modules or PathFinder.find_spec("gi") is not None:
        return
    spec = PathFinder.find_spec("gi", [str(_DEBIANS)])
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["gi"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError:  # it was compiled for another Python
        del sys.modules["gi"]
