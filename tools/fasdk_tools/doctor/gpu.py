"""Checks of the NVIDIA driver, CUDA, the TensorRT flavors and preprocessing on the GPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from fasdk.backends.tensorrt.versions import NEWEST, OLDEST
from fasdk.extras import how_to_install
from fasdk_tools.doctor.findings import Finding, Group, Level
from fasdk_tools.doctor.packages import imported, is_present, names_of
from fasdk_tools.profiling.machine.jetson import is_jetson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk_tools.doctor.place import Place, Request
    from fasdk_tools.profiling.machine.files import SystemFiles

GPU_SECONDS = 8.0
OLDEST_CUDA = (11, 4)
_DRIVER = "proc/driver/nvidia/version"
_DRIVER_VERSION = re.compile(r"\b(\d{3}\.\d+(?:\.\d+)?)\b")
_RELEASE = "etc/nv_tegra_release"
_RELEASE_LINE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
# Majors of JetPack by that of Jetson Linux (docs.nvidia.com, Jetson Linux archive).
_JETPACKS = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}
_OLDEST_JETPACK = 6
_JETPACK_6 = 36  # release of Jetson Linux
_NOT_ON_JETPACK_6 = 11  # TensorRT's major
_CUDA_USERS = ("tensorrt-cu",)  # TensorRT-RTX and torch are builders, which need no driver
_NEEDED = re.compile(r"tensorrt-cu(\d+)")
_SYSTEM_PACKAGES = ("usr/lib/python3/dist-packages", "usr/lib/python3.*/dist-packages")


def jetpack_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield the JetPack release, or that this is no Jetson."""
    del request
    files = place.files
    if not is_jetson(files):
        yield Finding(Group.GPU, "JetPack", Level.UNKNOWN, "not a Jetson")
        return
    board = files.text("proc/device-tree/model") or "a Jetson"
    release = _RELEASE_LINE.search(files.text(_RELEASE) or "")
    if release is None:
        found = f"{board}; /{_RELEASE} does not say which Jetson Linux this is"
        yield Finding(Group.GPU, "JetPack", Level.UNKNOWN, found)
        return
    linux = f"R{release[1]}.{release[2]}"
    jetpack = _JETPACKS.get(int(release[1]))
    found = f"{board}, Jetson Linux {linux}"
    if jetpack is not None and jetpack >= _OLDEST_JETPACK:
        yield Finding(Group.GPU, "JetPack", Level.OK, f"{found} (JetPack {jetpack})")
    elif jetpack is None:
        yield Finding(
            Group.GPU,
            "JetPack",
            Level.WARN,
            f"{found}, which fasdk was not written for",
            "use JetPack 6.2 or 7.2, or `fasdk verify --backend tensorrt` the bundle first",
        )
    else:
        yield Finding(
            Group.GPU,
            "JetPack",
            Level.FAIL,
            f"{found} (JetPack {jetpack}); fasdk needs JetPack {_OLDEST_JETPACK} or later",
            "flash JetPack 6.2 or 7.2 (docs/guide/jetson.md)",
        )


def driver_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield the NVIDIA driver and the GPUs, and whether the driver is new enough for CUDA here."""
    del request
    files = place.files
    jetson = is_jetson(files)
    loaded = files.text(_DRIVER)
    if loaded is None and not jetson:
        found = "no NVIDIA driver is loaded: bundles run on the CPU"
        yield Finding(Group.GPU, "driver", Level.UNKNOWN, found)
        yield Finding(Group.GPU, "CUDA", Level.UNKNOWN, "not known without a driver")
        return
    version = _DRIVER_VERSION.search(loaded or "")
    named = f"driver {version[1]}" if version else "the Jetson's driver"
    answer = place.ask("gpu", {}, GPU_SECONDS)
    document = answer.document or {}
    error = str(document.get("error") or answer.trouble)
    gpus = document.get("gpus") or []
    if error or not gpus:
        yield Finding(
            Group.GPU,
            "driver",
            Level.FAIL,
            f"{named} is loaded, and CUDA shows no GPU ({error or 'none is there'})",
            "restart the machine after a driver update; in a container run it with --gpus all, on "
            "a Jetson with --runtime nvidia; else install the driver again",
        )
    else:
        yield Finding(Group.GPU, "driver", Level.OK, f"{named}; {'; '.join(gpus)}")
    cuda = document.get("cuda")
    if cuda is None:
        yield Finding(Group.GPU, "CUDA", Level.UNKNOWN, "the driver does not say")
        return
    yield _cuda_finding(str(cuda), named, document.get("pycuda"), jetson=jetson)


def _cuda_finding(cuda: str, named: str, pycuda: str | None, *, jetson: bool) -> Finding:
    """Return whether a driver knows the CUDA that packages here were made for."""
    fix = (
        "install the JetPack that brings it"
        if jetson
        else "install a newer driver (nvidia.com/drivers), or packages for the driver's CUDA"
    )
    if Version(cuda).release[:2] < OLDEST_CUDA:
        found = f"{named} knows CUDA {cuda}; fasdk needs {OLDEST_CUDA[0]}.{OLDEST_CUDA[1]} or later"
        return Finding(Group.GPU, "CUDA", Level.FAIL, found, fix)
    needed = {name: int(m[1]) for name in names_of(_CUDA_USERS) if (m := _NEEDED.match(name))}
    if pycuda is not None:
        needed["pycuda"] = int(pycuda.partition(".")[0])
    beyond = [name for name, major in needed.items() if major > int(cuda.partition(".")[0])]
    if beyond:
        most = max(needed[name] for name in beyond)
        found = f"{named} knows CUDA {cuda}; {', '.join(beyond)} here needs CUDA {most}"
        return Finding(Group.GPU, "CUDA", Level.FAIL, found, fix)
    return Finding(Group.GPU, "CUDA", Level.OK, f"{cuda} by the driver")


def tensorrt_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield each TensorRT flavor: whether it loads, its release, and whether it can run here."""
    del request
    files = place.files
    has_driver = is_jetson(files) or files.text(_DRIVER) is not None
    yield from _tensorrt(place, has_driver=has_driver)
    yield from _tensorrt_rtx(place)
    others = [name for name in ("tensorrt_lean", "tensorrt_dispatch") if is_present(name)]
    kinds = names_of(_CUDA_USERS)
    majors = {m[1] for name in kinds if (m := _NEEDED.match(name))}
    if len(majors) > 1:
        yield Finding(
            Group.GPU,
            "TensorRT flavors",
            Level.WARN,
            f"{', '.join(sorted(kinds))} are installed side by side",
            "keep the one for the driver's CUDA: `pip uninstall` the other",
        )
    elif others:
        found = f"{', '.join(others)} too, which run plans of other builders; fasdk uses neither"
        yield Finding(Group.GPU, "TensorRT flavors", Level.OK, found)
    else:
        yield Finding(Group.GPU, "TensorRT flavors", Level.OK, "no other is in the way")


def _tensorrt(place: Place, *, has_driver: bool) -> Iterator[Finding]:
    if not is_present("tensorrt"):
        hidden = _hidden_tensorrt(place.files)
        if hidden is not None:
            yield Finding(
                Group.GPU,
                "TensorRT",
                Level.FAIL,
                f"JetPack's TensorRT at {hidden} is not seen by this Python",
                "make the virtual environment of the system's Python with --system-site-packages "
                "(docs/guide/jetson.md)",
            )
        elif is_jetson(place.files):
            yield Finding(
                Group.GPU,
                "TensorRT",
                Level.FAIL,
                "this Jetson has no TensorRT for Python",
                "`sudo apt-get install nvidia-jetpack`",
            )
        else:
            yield Finding(Group.GPU, "TensorRT", Level.UNKNOWN, "not installed")
        return
    answer = imported(place, "tensorrt")
    document = answer.document or {}
    error = str(document.get("error") or answer.trouble)
    if error:
        yield Finding(
            Group.GPU,
            "TensorRT",
            Level.WARN if answer.hung else Level.FAIL,
            f"installed and not usable: {error}",
            "install the libraries of the same release (libnvinfer; JetPack's nvidia-jetpack, or "
            "`pip install tensorrt`), or remove the bindings: `pip uninstall tensorrt`",
        )
        return
    version = str(document["version"])
    yield _release_finding(version, place.files, has_driver=has_driver)


def _release_finding(version: str, files: SystemFiles, *, has_driver: bool) -> Finding:
    """Return whether a TensorRT that loads is of a release that runs here."""
    try:
        release = Version(version)
    except InvalidVersion:
        return Finding(Group.GPU, "TensorRT", Level.UNKNOWN, f"of unknown release {version!r}")
    linux = _RELEASE_LINE.search(files.text(_RELEASE) or "")
    newest = Version(NEWEST)
    level, found, fix = Level.OK, version, ""
    if release < Version(OLDEST):
        level, found = Level.FAIL, f"{version}; fasdk needs {OLDEST} or later"
        fix = "update JetPack, or `pip install -U tensorrt`"
    elif not has_driver:
        level = Level.FAIL
        found += (
            ", and no NVIDIA driver is loaded: a bundle that is opened without naming a backend "
            "takes TensorRT and fails"
        )
        fix = "install the driver, or name another backend (--backend onnxruntime)"
    elif not is_present("pycuda"):
        level, found = Level.FAIL, f"{version}, without pycuda, which it is driven by"
        fix = how_to_install("cuda")
    elif linux is not None and int(linux[1]) <= _JETPACK_6 and release.major >= _NOT_ON_JETPACK_6:
        level, found = Level.FAIL, f"{version}, which does not run on JetPack 6"
        fix = (
            f"use JetPack 6's TensorRT {OLDEST}: `pip uninstall tensorrt`, and a virtual "
            "environment with --system-site-packages"
        )
    elif (release.major, release.minor) > (newest.major, newest.minor):
        level = Level.WARN
        found += f", newer than {NEWEST}, the newest that fasdk is held to"
        fix = "verify the bundle with `fasdk verify --backend tensorrt` before it goes out"
    return Finding(Group.GPU, "TensorRT", level, found, fix)


def _hidden_tensorrt(files: SystemFiles) -> str | None:
    """Return where the system has a TensorRT that this Python does not see, or None."""
    for folder in _SYSTEM_PACKAGES:
        found = files.find(f"{folder}/tensorrt/__init__.py")
        if found:
            return f"/{Path(found[0]).parent}"
    return None


def _tensorrt_rtx(place: Place) -> Iterator[Finding]:
    if not is_present("tensorrt_rtx"):
        found = f"not installed; where plans are built without a GPU: {how_to_install('rtx')}"
        yield Finding(Group.GPU, "TensorRT-RTX", Level.UNKNOWN, found)
        return
    answer = imported(place, "tensorrt_rtx")
    document = answer.document or {}
    error = str(document.get("error") or answer.trouble)
    if error:
        yield Finding(
            Group.GPU,
            "TensorRT-RTX",
            Level.WARN,  # it is never chosen by itself
            f"installed and not usable: {error}",
            f"install it anew: {how_to_install('rtx')}",
        )
    else:
        yield Finding(Group.GPU, "TensorRT-RTX", Level.OK, str(document["version"]))


def kernel_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield whether a GPU here would preprocess frames, and by which kernels."""
    del request
    files = place.files
    has_gpu = is_jetson(files) or files.text(_DRIVER) is not None
    answer = place.ask("kernels", {}, GPU_SECONDS)
    document = answer.document or {}
    source = document.get("source")
    error = str(document.get("error") or answer.trouble)
    if source is not None:
        found = f"kernels from {source}" + ("" if has_gpu else "; there is no GPU to run them")
        yield Finding(Group.GPU, "GPU preprocessing", Level.OK, found)
    elif has_gpu:
        yield Finding(
            Group.GPU,
            "GPU preprocessing",
            Level.WARN,
            f"frames are preprocessed on the CPU: {error}",
            "install fasdk again with nvcc on PATH, or install NVRTC (`pip install "
            "nvidia-cuda-nvrtc`, or the CUDA toolkit)",
        )
    else:
        found = f"no GPU, and no kernels for one: {error}"
        yield Finding(Group.GPU, "GPU preprocessing", Level.UNKNOWN, found)
