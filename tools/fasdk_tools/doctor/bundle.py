"""Checks of the bundle that is to run here, of its caches, and of what answers on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasdk_tools.doctor.cameras import camera_answers, camera_findings
from fasdk_tools.doctor.findings import Finding, Group, Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fasdk_tools.doctor.place import Place, Request

BUNDLE_SECONDS = 30.0
NATIVE_SECONDS = 8.0
_NATIVE_FIX = (
    "install a C++17 compiler (build-essential), then fasdk again: `pip install --force-reinstall "
    "--no-deps .` in a checkout"
)


def native_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield whether the native preprocessing is there, and makes the very bits that NumPy makes."""
    del request
    answer = place.ask("native", {}, NATIVE_SECONDS)
    document = answer.document or {}
    if answer.document is None:
        yield Finding(
            Group.SELF_TEST,
            "native preprocessing",
            Level.WARN if answer.hung else Level.FAIL,
            f"trying it {answer.trouble}" if answer.hung else f"it failed: {answer.trouble}",
            _NATIVE_FIX,
        )
    elif not document["built"]:
        yield Finding(
            Group.SELF_TEST,
            "native preprocessing",
            Level.WARN,
            "not built: NumPy gives the same bits, several times slower",
            _NATIVE_FIX,
        )
    elif "error" in document:
        yield Finding(
            Group.SELF_TEST,
            "native preprocessing",
            Level.WARN,
            f"built, and cannot be loaded ({document['error']}): NumPy takes its place, slower",
            _NATIVE_FIX,
        )
    else:
        yield difference_finding(document["differ"])


def difference_finding(differ: dict[str, float]) -> Finding:
    """Return whether the native pass makes NumPy's bits, by the share that differs."""
    wrong = {name: share for name, share in differ.items() if share > 0}
    if not wrong:
        found = f"the bits of NumPy, for {', '.join(differ)}"
        return Finding(Group.SELF_TEST, "native preprocessing", Level.OK, found)
    told = ", ".join(f"{name} in {share:.2%} of its values" for name, share in wrong.items())
    return Finding(
        Group.SELF_TEST,
        "native preprocessing",
        Level.FAIL,
        f"differs from NumPy: {told}: scores here are not those that were tuned",
        _NATIVE_FIX,
    )


def asked_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield what the cameras give, then bytes, trust and caches of the bundle, and its answers.

    One after the other, so that neither rate is of a machine that is busy with the other.
    """
    answers = camera_answers(place, request.cameras)
    yield from camera_findings(request.cameras, answers)
    if request.bundle is None:
        return
    question: dict[str, Any] = {
        "path": str(request.bundle.absolute()),
        "keys": [str(key.absolute()) for key in request.keys],
        "unsigned": request.unsigned,
        "allow": list(request.allow),
        "backend": request.backend,
    }
    answer = place.ask("bundle", question, BUNDLE_SECONDS)
    if answer.document is None:
        yield Finding(
            Group.SELF_TEST,
            "golden captures",
            Level.WARN if answer.hung else Level.FAIL,
            f"opening and judging {request.bundle.name}: {answer.trouble}",
            f"try `fasdk verify {request.bundle}`; see the packages above",
        )
        return
    yield from (Finding.of(each) for each in answer.document["findings"])
    if answers and answer.document["modalities"]:
        given = {m for each in answers for m in (each.document or {}).get("modalities", ())}
        yield _sensors(given, answer.document)


def _sensors(given: set[str], needs: Mapping[str, Any]) -> Finding:
    """Return whether the cameras give what the bundle sees."""
    absent = [m for m in needs["modalities"] if m not in given]
    required = [m for m in absent if m in needs["required"]]
    fix = "name every camera of the door by --camera, such as realsense or pair:rgb=SPEC;ir=SPEC"
    if required:
        found = f"no camera gives {', '.join(required)}, without which the bundle refuses a capture"
        return Finding(Group.CAMERAS, "what the bundle sees", Level.FAIL, found, fix)
    if absent:
        found = f"no camera gives {', '.join(absent)}, which the model sees too"
        fix += "; without it, --missing-modalities degrade and a threshold tuned for that"
        return Finding(Group.CAMERAS, "what the bundle sees", Level.WARN, found, fix)
    found = f"given: {', '.join(needs['modalities'])}"
    return Finding(Group.CAMERAS, "what the bundle sees", Level.OK, found)
