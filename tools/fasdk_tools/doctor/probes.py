"""Answers of the child process: what may crash, hang or be absent, tried one at a time.

Each probe takes plain values and returns plain values. Whatever a library prints goes to standard
error; the answer alone goes to standard output.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fasdk.core_dumps import forbid_core_dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BUILT_WITH = ("FFMPEG", "GStreamer", "v4l/v4l2")


def answer(asked: Mapping[str, Any]) -> None:
    """Run the probe that is asked for, and print its answer as JSON."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    forbid_core_dumps()
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    probe = PROBES[asked["probe"]]
    document = probe(**asked["question"])
    with os.fdopen(out, "w") as file:
        json.dump(document, file)
    # Closing a camera or a driver may hang or crash; the answer is out, and nothing is to be kept.
    sys.stderr.flush()
    os._exit(0)


def package(module: str) -> dict[str, Any]:
    """Import a package and return its version, or why it cannot be imported."""
    try:
        found: Any = import_module(module)
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"version": str(getattr(found, "__version__", "")), "file": _file_of(found)}


def opencv() -> dict[str, Any]:
    """Return which cv2 is imported and which readers it was built with."""
    found = package("cv2")
    if "error" in found:
        return found
    cv2: Any = import_module("cv2")
    return found | {"built_with": built_with(str(cv2.getBuildInformation()))}


def built_with(text: str) -> dict[str, bool]:
    """Return whether OpenCV has each of its readers, from what getBuildInformation prints."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if name in _BUILT_WITH:
            found[name] = value.strip().startswith("YES")
    return {
        ("V4L2" if name == "v4l/v4l2" else name): found.get(name, False) for name in _BUILT_WITH
    }


def _file_of(module: Any) -> str:
    return str(getattr(module, "__file__", "") or "")


def _other(name: str) -> Callable[..., dict[str, Any]]:
    """Return a probe of another module, imported when it runs."""
    module, _, function = name.partition(":")

    def run(**question: Any) -> dict[str, Any]:
        found: dict[str, Any] = getattr(import_module(f"fasdk_tools.doctor.{module}"), function)(
            **question
        )
        return found

    return run


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "package": package,
    "opencv": opencv,
    "gpu": _other("gpu_probes:gpu"),
    "kernels": _other("gpu_probes:kernels"),
    "conditions": _other("condition_probe:conditions"),
    "native": _other("native_probe:native"),
    "space": _other("account_probe:space"),
    "account": _other("account_probe:account"),
    "bundle": _other("bundle_probe:bundle"),
    "camera": _other("camera_probe:camera"),
}
"""Functions by the name of the question they answer."""
