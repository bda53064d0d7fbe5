"""Checks of Python, and of the packages of the base install and of every extra."""

from __future__ import annotations

import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    distributions,
    requires,
    version,
)
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from fasdk.extras import EXTRAS, how_to_install
from fasdk_tools.doctor.findings import Finding, Group, Level, worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fasdk_tools.doctor.child import Answer
    from fasdk_tools.doctor.place import Place, Request

IMPORT_SECONDS = 10.0
BASE = "base"
_OURS = "fasdk"
# Distributions by the name they are imported by, where a registry has them under another.
_DISTRIBUTIONS = {
    "cv2": "opencv-python",
    "pkcs11": "python-pkcs11",
    "typing_extensions": "typing-extensions",
}
_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
# What an extension module says that was compiled for another NumPy.
_OTHER_NUMPY = (
    "numpy.core.multiarray failed to import",
    "_ARRAY_API not found",
    "compiled using NumPy 1",
    "numpy.dtype size changed",
)


@dataclass(frozen=True)
class PackageState:
    """One package as it was found.

    Attributes:
        module: Name it is imported by.
        version: Its version, or None where it is not installed.
        trouble: What is wrong with it; "" where nothing is.
        fix: How to fix that.
        hung: Whether its import took too long, which may be the machine's fault.
    """

    module: str
    version: str | None
    trouble: str = ""
    fix: str = ""
    hung: bool = False


def python_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield what Python and this installation of fasdk are."""
    del place, request
    found = f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    try:
        stated = distribution(_OURS).metadata.get_all("Requires-Python")
        wanted = SpecifierSet(stated[0] if stated else "")
    except (PackageNotFoundError, InvalidSpecifier):
        wanted = SpecifierSet()
    is_known = platform.python_version() in wanted or sys.version_info.releaselevel != "final"
    if sys.platform != "linux":
        yield Finding(
            Group.PACKAGES,
            "python",
            Level.FAIL,
            f"{found} on {sys.platform}",
            "run fasdk on Linux: cameras, locks and clocks are read as Linux has them",
        )
    elif not is_known:
        yield Finding(
            Group.PACKAGES,
            "python",
            Level.FAIL,
            f"{found}; fasdk needs {wanted}",
            "make a virtual environment of a Python in that range and install fasdk there",
        )
    else:
        yield Finding(Group.PACKAGES, "python", Level.OK, found)
    try:
        found = f"{version(_OURS)} at {Path(__file__).parents[1]}"
        yield Finding(Group.PACKAGES, _OURS, Level.OK, found)
    except PackageNotFoundError:
        yield Finding(
            Group.PACKAGES,
            _OURS,
            Level.UNKNOWN,
            "copied here without its metadata: which versions its packages must have is not known",
        )


def package_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield one finding on the base install's packages and one on those of every extra."""
    del request
    wanted = requirements()
    base = [module_of(each) for each in wanted.get("", [])] or ["numpy", "pydantic", "cryptography"]
    groups = {BASE: sorted(base)}
    for module, extra in sorted(EXTRAS.items()):
        groups.setdefault(extra, []).append(module)
    bounds = {module_of(each): each.specifier for lines in wanted.values() for each in lines}
    present = [m for modules in groups.values() for m in modules if is_present(m)]
    with ThreadPoolExecutor(max(1, len(present))) as threads:  # the place says how many at once
        answers = dict(
            zip(present, threads.map(lambda m: imported(place, m), present), strict=True)
        )
    for group, modules in groups.items():
        states = [_state(m, answers.get(m), bounds.get(m, SpecifierSet())) for m in modules]
        yield _finding_of(group, states)


def requirements() -> dict[str, list[Requirement]]:
    """Return what this installation of fasdk requires, by extra; the base install's under ""."""
    found: dict[str, list[Requirement]] = {}
    try:
        lines = requires(_OURS) or []
    except PackageNotFoundError:
        return {}
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        extras = ["", *sorted(set(EXTRAS.values()))]
        marker = requirement.marker
        fitting = [e for e in extras if marker is None or marker.evaluate({"extra": e})]
        if fitting and requirement.name != _OURS:
            found.setdefault(fitting[0], []).append(requirement)
    return found


def module_of(requirement: Requirement) -> str:
    """Return the name that a requirement's package is imported by."""
    name = canonicalize_name(requirement.name)
    for module, owner in _DISTRIBUTIONS.items():
        if owner == name:
            return module
    return name.replace("-", "_")


def is_present(module: str) -> bool:
    """Return whether a package is installed, importing nothing.

    A folder of that name on the path is a package without an origin, not the library.
    """
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def imported(place: Place, module: str) -> Answer:
    """Import a package in a process of its own."""
    return place.ask("package", {"module": module}, IMPORT_SECONDS)


def trouble_of(module: str, answer: Answer, fix: str) -> PackageState:
    """Return the state of a package that is installed, by how its import went."""
    if answer.hung and answer.document is None:
        return PackageState(
            module,
            "?",
            f"importing it {answer.trouble}",
            f"try `python -c 'import {module}'`; where that hangs, install it anew: {fix}",
            hung=True,
        )
    document = answer.document or {}
    error = str(document.get("error") or answer.trouble)
    if error:
        is_numpy = any(sign in error for sign in _OTHER_NUMPY)
        return PackageState(
            module,
            "?",
            f"cannot be imported ({error})",
            f"it was compiled for another NumPy: `pip install 'numpy<2'`, or install it anew: {fix}"
            if is_numpy
            else f"install it anew: {fix}",
        )
    return PackageState(module, str(document.get("version") or "of unknown version"))


def _state(module: str, answer: Answer | None, bound: SpecifierSet) -> PackageState:
    extra = EXTRAS.get(module)
    fix = "`pip install .` in a checkout of fasdk" if extra is None else how_to_install(extra)
    if answer is None:
        return PackageState(module, None, "is not installed", fix)
    state = trouble_of(module, answer, fix)
    if state.trouble:
        return state
    found = _installed_version(module) or state.version or ""
    try:
        fits = bound.contains(Version(found), prereleases=True)
    except InvalidVersion:
        fits = True
    if fits:
        return PackageState(module, found)
    return PackageState(module, found, f"{found} is not {_in_words(bound)}", fix)


def _in_words(bound: SpecifierSet) -> str:
    return " and ".join(str(each) for each in sorted(bound, key=str, reverse=True))


def _installed_version(module: str) -> str | None:
    """Return the version of the distribution that a module comes from, where there is one."""
    names = _OPENCV if module == "cv2" else (_DISTRIBUTIONS.get(module, module),)
    found = (_distribution(name) for name in names)
    return next((each.version for each in found if each is not None), None)


def _finding_of(group: str, states: list[PackageState]) -> Finding:
    """Return one finding on the packages of an extra, or of the base install."""
    name = "base packages" if group == BASE else f"extra {group}"
    absent = [each for each in states if each.version is None]
    if len(absent) == len(states) and group != BASE:
        fix = how_to_install(group)
        return Finding(Group.PACKAGES, name, Level.UNKNOWN, f"not installed; where needed: {fix}")
    broken = [each for each in states if each.trouble]
    levels = [
        Level.WARN if each.hung or (each.version is None and group != BASE) else Level.FAIL
        for each in broken
    ]
    texts = [f"{each.module} {each.trouble or each.version}" for each in states]
    fixes = dict.fromkeys(each.fix for each in broken)
    return Finding(Group.PACKAGES, name, worst(levels), ", ".join(texts), "; ".join(fixes))


def opencv_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield which cv2 is used, what it was built with, and whether others are in its way."""
    del request
    if not is_present("cv2"):
        yield Finding(
            Group.PACKAGES,
            "cv2",
            Level.UNKNOWN,
            "no OpenCV: PNG and JPEG files, opencv: cameras and face detection are not available; "
            f"where needed: {how_to_install('opencv')}",
        )
        return
    owners = [name for name in _OPENCV if _distribution(name) is not None]
    folders = cv2_folders()
    if len(owners) > 1:
        yield Finding(
            Group.PACKAGES,
            "cv2",
            Level.WARN,
            f"{' and '.join(owners)} are both installed and write the same files, so that one "
            "breaks the other at the next update",
            f"`pip uninstall -y {' '.join(owners)}`, then {how_to_install('opencv')}",
        )
        return
    answer = place.ask("opencv", {}, IMPORT_SECONDS)
    document = answer.document or {}
    if not document or document.get("error"):
        yield Finding(
            Group.PACKAGES,
            "cv2",
            Level.UNKNOWN,
            "what it was built with is not known: it cannot be imported",
        )
        return
    having = [name for name, built in document["built_with"].items() if built]
    lacking = [name for name, built in document["built_with"].items() if not built]
    found = f"{document['version']} at {document['file']}, with {', '.join(having) or 'no reader'}"
    found += f", without {', '.join(lacking)}" if lacking else ""
    if len(folders) > 1:
        yield Finding(
            Group.PACKAGES,
            "cv2",
            Level.WARN,
            f"{found}; it hides another one at {folders[1]}",
            f"where the hidden one is wanted, such as JetPack's with GStreamer: `pip uninstall "
            f"{' '.join(owners) or 'opencv-python'}`",
        )
        return
    yield Finding(Group.PACKAGES, "cv2", Level.OK, found)


def cv2_folders() -> tuple[str, ...]:
    """Return every folder of the module path that holds a cv2, the one that is used first."""
    found: dict[Path, str] = {}
    for entry in dict.fromkeys(sys.path):
        folder = Path(entry or ".")
        if any(folder.glob("cv2/__init__.py")) or any(folder.glob("cv2*.so")):
            found.setdefault(folder.resolve(), str(folder))
    return tuple(found.values())


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def names_of(beginnings: Iterable[str]) -> dict[str, str]:
    """Return name and version of every distribution whose name begins so."""
    starts = tuple(beginnings)
    found: dict[str, str] = {}
    for each in distributions():
        name = canonicalize_name(each.metadata["Name"] or "")
        if name.startswith(starts):
            found.setdefault(name, each.version)
    return found
