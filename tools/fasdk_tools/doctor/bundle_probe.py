"""Answers about a bundle, in the child process: opened as other verbs do, and judged for a second.

Nothing is written: no plan is built or deleted, no proof is kept, and no revision is recorded.
"""

from __future__ import annotations

import math
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.errors import (
    BackendError,
    BundleError,
    FasdkError,
    HomeError,
    PlanError,
    RollbackError,
    StateError,
    TrustError,
)
from fasdk_tools.doctor.findings import Finding, Group, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk.backends.engine import Engine
    from fasdk.backends.tensorrt.cache import PlanCache
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.trust import TrustPolicy

_JUDGED_SECONDS = 1.0


def bundle(
    path: str, keys: list[str], unsigned: bool, allow: list[str], backend: str | None
) -> dict[str, Any]:
    """Return the findings on a bundle, and what it needs of the cameras."""
    found: dict[str, Any] = {"findings": [], "modalities": [], "required": []}

    def tell(findings: Iterator[Finding]) -> None:
        found["findings"] += [each.to_json() for each in findings]

    try:
        opened, trust, signature = _opened(Path(path), [Path(key) for key in keys], unsigned)
    except BundleError as error:
        tell(iter([_damaged(error)]))
        return found
    manifest = opened.manifest
    found["modalities"] = [m.value for m in manifest.modalities]
    found["required"] = [m.value for m in manifest.required]
    tell(iter([_identity(opened), signature]))
    tell(_caches(opened.path))
    if signature.level is Level.FAIL:
        text = "not asked: the bundle is not trusted"
        for group, check in ((Group.BUNDLE, "revision"), (Group.SELF_TEST, "golden captures")):
            tell(iter([Finding(group, check, Level.UNKNOWN, text)]))
        return found
    tell(_revision(opened, trust, allow))
    tell(_self_test(opened, trust, backend))
    return found


def _opened(path: Path, keys: list[Path], unsigned: bool) -> tuple[Bundle, TrustPolicy, Finding]:
    """Open a bundle by the policy of other verbs, and without one where that refuses it.

    Raises:
        BundleError: It is no whole bundle.
    """
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.trust import TrustPolicy

    without = TrustPolicy.unsigned()
    if unsigned:
        opened = open_bundle(path, without)
        found = "not checked: whoever wrote the file is trusted"
        fix = (
            "leave --unsigned out, and let the vendor sign it (`--sign-key` of build-engine, tune)"
        )
        return opened, without, Finding(Group.BUNDLE, "signature", Level.WARN, found, fix)
    try:
        trust = TrustPolicy.from_files(*keys) if keys else TrustPolicy.installed()
        opened = open_bundle(path, trust)
    except (TrustError, HomeError) as error:
        opened = open_bundle(path, without)
        fix = (
            "where its signer is to be trusted, `fasdk trust add KEY.pub` or --key KEY.pub; else "
            "take the bundle from its vendor again"
            if opened.has_signature
            else "let its vendor sign it: `--sign-key` of build-engine and tune"
        )
        return opened, without, Finding(Group.BUNDLE, "signature", Level.FAIL, str(error), fix)
    found = f"by trusted key {opened.signed_by}"
    return opened, trust, Finding(Group.BUNDLE, "signature", Level.OK, found)


def _damaged(error: BundleError) -> Finding:
    return Finding(
        Group.BUNDLE,
        "bundle",
        Level.FAIL,
        str(error),
        "copy it again from where it was made and compare `sha256sum` of both; an older schema is "
        "built again by this release",
    )


def _identity(opened: Bundle) -> Finding:
    manifest = opened.manifest
    levels = sorted({point.level for point in manifest.operating_points})
    found = (
        f"{manifest.product} revision {manifest.revision}, {manifest.model.family} in "
        f"{manifest.precision.value}"
    )
    if not levels:
        return Finding(
            Group.BUNDLE,
            "bundle",
            Level.WARN,
            f"{found}, without a threshold: it never answers LIVE",
            "`fasdk tune` it on labeled captures",
        )
    return Finding(Group.BUNDLE, "bundle", Level.OK, f"{found}, levels {', '.join(levels)}")


def _revision(opened: Bundle, trust: TrustPolicy, allow: list[str]) -> Iterator[Finding]:
    from fasdk.bundle.revisions import RevisionState
    from fasdk.bundle.succession import allowed_changes, allowing

    state = RevisionState.installed()
    try:
        state.check(opened, [key.id for key in trust.keys], allowed_changes(allowing(allow)))
    except (RollbackError, StateError, TrustError, HomeError) as error:
        yield Finding(
            Group.BUNDLE,
            "revision",
            Level.FAIL,
            str(error),
            "take the newest bundle; where this one is meant, --allow the change, or `fasdk accept "
            "BUNDLE --reset`",
        )
        return
    found = "one that this machine may take"
    if not state.covers(opened):
        found = "not remembered: unsigned, or signed by this account's own build key"
    yield Finding(Group.BUNDLE, "revision", Level.OK, found)


def _caches(path: Path) -> Iterator[Finding]:
    """Yield whether plans and timings beside a bundle can be another account's native code."""
    from fasdk.backends.tensorrt.cache import PlanCache
    from fasdk.backends.tensorrt.sealed import KEY_FILE, SealedFolder
    from fasdk.backends.tensorrt.timing import TimingCache
    from fasdk.file_access import is_own_or_roots, is_writable_by_others

    folders = {
        "plan cache": PlanCache.beside(path).folder,
        "timing cache": TimingCache.beside(path).folder,
    }
    for name, folder in folders.items():
        fix = (
            f"`rm -r '{folder}'`, then `fasdk build-plan` as the account that installs: who could "
            "write there may have put native code there"
        )
        try:
            if not SealedFolder(folder, name).require_sound():
                found = "none yet" if name == "timing cache" else "none yet; build-plan makes it"
                yield Finding(Group.BUNDLE, name, Level.OK, found)
                continue
        except PlanError as error:
            yield Finding(Group.BUNDLE, name, Level.FAIL, str(error), fix)
            continue
        bad = ""
        for file in sorted(folder.iterdir()):
            state = file.lstat()
            shown = f"{file.name} has mode {stat.S_IMODE(state.st_mode):04o}"
            if not stat.S_ISREG(state.st_mode) or not is_own_or_roots(state):
                bad = f"{file.name} is no file of this account or root"
            elif is_writable_by_others(state):
                bad = f"{shown}, others can write it"
            elif file.name == KEY_FILE and state.st_mode & stat.S_IROTH:
                bad = f"{shown}, others can read the key and forge plans"
        if bad:
            yield Finding(Group.BUNDLE, name, Level.FAIL, f"{folder}: {bad}", fix)
        else:
            yield Finding(Group.BUNDLE, name, Level.OK, f"{folder}, which no other can write")


def _self_test(opened: Bundle, trust: TrustPolicy, backend: str | None) -> Iterator[Finding]:
    try:
        engine = _engine(opened, backend)
    except FasdkError as error:
        fix = (
            "`fasdk build-plan BUNDLE`, in the power mode the door runs in"
            if isinstance(error, PlanError)
            else "install the extra of the backend it names, or choose one that is installed with "
            "--backend"
        )
        yield Finding(Group.SELF_TEST, "golden captures", Level.FAIL, str(error), fix)
        return
    name = f"{engine.backend.value} {engine.version}"
    try:
        yield from _judged(opened, engine, trust, name)
    except (BackendError, BundleError) as error:
        yield Finding(
            Group.SELF_TEST,
            "golden captures",
            Level.FAIL,
            f"on {name}: {error}",
            "build the bundle again with this release, or use the backend's release it was built "
            "with: what it answers here is not what was tuned",
        )


def _engine(opened: Bundle, backend: str | None) -> Engine:
    """Open a bundle on a backend as `fasdk.open` does, but with no plan built or deleted.

    Raises:
        FasdkError: No backend can run it.
    """
    from fasdk.backends.engine import Backend
    from fasdk.backends.registry import installed_backends, open_engine
    from fasdk.backends.specs import spec_of
    from fasdk.backends.tensorrt.opening import open_tensorrt_engine

    chosen = Backend(backend) if backend else None
    if chosen is None:
        automatic = [each for each in installed_backends() if spec_of(each).automatic]
        chosen = automatic[0] if automatic else None
    if chosen is None or not spec_of(chosen).builds_plans:
        return open_engine(opened, chosen)
    return open_tensorrt_engine(opened, chosen, cache=read_only_cache(opened.path))


def read_only_cache(path: Path) -> PlanCache:
    """Return a bundle's plan cache, from which nothing is deleted and into which nothing goes."""
    from fasdk.backends.tensorrt.cache import PlanCache

    class ReadOnlyCache(PlanCache):
        @property
        def is_writable(self) -> bool:
            return False

        def require_writable(self) -> None:
            raise PlanError(
                f"plan cache {self.folder} holds no plan for this machine, GPU and release"
            )

    return ReadOnlyCache.beside(path)


def _judged(opened: Bundle, engine: Engine, trust: TrustPolicy, name: str) -> Iterator[Finding]:
    """Yield whether the golden captures are reproduced, and how many are judged in a second.

    Raises:
        BackendError: The engine does not reproduce them, or fails.
    """
    from fasdk.bundle.revisions import RevisionState
    from fasdk.decision import MissingModalities
    from fasdk.session.session import Liveness

    levels = sorted({point.level for point in opened.manifest.operating_points})
    level = "standard" if "standard" in levels or not levels else levels[0]
    with Liveness(
        opened,
        engine,
        level,
        missing=MissingModalities.DEGRADE,
        trust=trust,
        revisions=RevisionState.unchecked(),
    ) as liveness:
        drift = liveness.replay_golden()
        golden = [each.capture for each in opened.iter_golden()]
        yield Finding(
            Group.SELF_TEST,
            "golden captures",
            Level.OK,
            f"{len(golden)} reproduced on {name}, largest score drift {drift:.2g}",
        )
        liveness.start()
        scored = judged = 0
        start_s = time.perf_counter()
        while time.perf_counter() - start_s < _JUDGED_SECONDS or not judged:
            decision = liveness.check(golden[judged % len(golden)])
            judged += 1
            scored += math.isfinite(decision.score)
        seconds = time.perf_counter() - start_s
    if scored:
        found = f"{scored / seconds:.1f} captures/s, one at a time, {os.cpu_count()} processors"
        yield Finding(Group.SELF_TEST, "rate", Level.OK, found)
        return
    yield Finding(
        Group.SELF_TEST,
        "rate",
        Level.FAIL,
        f"none of {judged} golden captures got a score: {'; '.join(decision.reasons)}",
        "build the bundle again with captures that a door has",
    )
