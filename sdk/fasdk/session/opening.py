"""Opening of a session: a bundle is verified, loaded on a backend and proven."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.backends.engine import Backend, Preprocessing
from fasdk.backends.registry import open_engine
from fasdk.bundle.succession import allowed_changes
from fasdk.core_dumps import forbid_core_dumps
from fasdk.decision import MissingModalities
from fasdk.errors import BackendError, FasdkError
from fasdk.quality import QualityLimits
from fasdk.session.admission import Admission
from fasdk.session.engine_calls import unexpected
from fasdk.session.session import Liveness
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fasdk.backends.plan_options import PlanOptions
    from fasdk.batching import BatchingPolicy
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.revisions import RevisionState
    from fasdk.bundle.succession import AllowedChanges
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.progress import Progress
    from fasdk.site.profile import SiteProfile

_log = logging.getLogger("fasdk.session")


def open(  # noqa: A001 - `fasdk.open` is the word a caller expects
    path: str | Path,
    *,
    backend: Backend | str | None = None,
    level: str = "standard",
    trust: TrustPolicy | None = None,
    revisions: RevisionState | None = None,
    threads: int = 0,
    progress: Progress | None = None,
    batching: BatchingPolicy | str | Path | None = None,
    limits: QualityLimits | None = None,
    site: SiteProfile | str | Path | None = None,
    missing: MissingModalities | str = MissingModalities.REQUIRE,
    cuda_graphs: bool = True,
    device_times: bool = False,
    preprocess: Preprocessing | str = Preprocessing.AUTO,
    plan: PlanOptions | None = None,
    allow_core_dumps: bool = False,
    **allow: Unpack[AllowedChanges],
) -> Liveness:
    """Verify a bundle, load it on a backend and return a session.

    Args:
        path: Path of the `.fasb` file.
        backend: Backend to load it on, such as "onnxruntime", or None for TensorRT where installed
            and ONNX Runtime elsewhere.
        level: Security level whose thresholds to use.
        trust: Signatures required of the bundle; None for `TrustPolicy.installed()`, the keys of
            this machine's trust store. `TrustPolicy.unsigned()` asks for none.
        revisions: Memory of the bundles that this machine took, by which an older one is refused;
            None for this machine's own. `RevisionState.unchecked()` has none.
        threads: CPU threads for ONNX Runtime; 0 for those of the file that `batching` names, else
            one per core.
        progress: Receiver of the phases of a TensorRT plan's build, where one is needed.
        batching: Settings by which captures from several threads share the engine, or a JSON file
            of them, as `fasdk profile --find` writes it; None for the defaults.
        limits: Quality limits on captures; `QualityLimits()` for a person in front of a camera,
            None only against stale or skewed frames and depth that cannot be millimeters.
        site: Profile of this site, or its file, as `fasdk commission` writes it: its limits are put
            in the place of those of `limits`, each of which it may only tighten. They stay in force
            when another bundle is swapped in.
        missing: Treatment of a capture that lacks one of the model's modalities.
        cuda_graphs: Whether TensorRT's lanes replay recorded CUDA graphs; off only for debugging.
        device_times: Whether TensorRT's lanes time upload, engine and download on the device, for
            profiling; off, the whole call is `engine`.
        preprocess: Where frames become tensors, with the same bits: "host"; "device", by a kernel
            on the GPU, which a TensorRT backend alone has; or "auto", the device where its kernel
            fits.
        plan: How a TensorRT plan must have been built; None takes one however it was built, as
            `fasdk build-plan` left it, and builds by the defaults where there is none.
        allow_core_dumps: Whether this process may leave core dumps, which hold frames of people,
            and be looked into by debuggers of the same account; see `forbid_core_dumps`.
        allow: Changes against the bundles that this machine took before that are accepted, such as
            `allow_rollback=True`; see `AllowedChanges`. What is accepted is remembered.

    Raises:
        BundleError: The bundle is truncated, altered or malformed.
        TrustError: A required signature is absent or does not hold, or the trust store cannot be
            read.
        RollbackError: It falls short of a bundle that this machine took before, by a change that
            was not allowed.
        StateError: The memory of the bundles taken before is damaged or open to others.
        HomeError: The account's folder is not its own.
        SiteError: The site's profile is unreadable, edited, of another bundle, or would loosen a
            limit.
        UsageError: The policy asks for larger batches than the engine takes or its file is wrong,
            `backend` is no backend's name, `preprocess` is none of `Preprocessing`, `missing` is
            none of `MissingModalities`, or `path` is no path.
        BackendError: The backend is not installed, refuses the graph, cannot preprocess on the
            device and was asked to, or fails in a way that no backend should.
        PlanError: The engine does not reproduce the bundle's golden captures, or it holds none.
    """
    missing = as_choice("missing", missing, MissingModalities)  # before a plan takes minutes
    preprocess = as_choice("preprocess", preprocess, Preprocessing)
    if isinstance(batching, (str, Path)):
        from fasdk.batching.policy_file import PolicyFile

        read = PolicyFile.load(batching)
        batching, threads = read.batching, threads or read.threads
    if not allow_core_dumps:
        forbid_core_dumps()
    if backend is not None:
        backend = as_choice("backend", backend, Backend)
    allowed = allowed_changes(allow)
    admission = Admission.of(trust, revisions)
    bundle = admission.verify(path)
    admission.check(bundle, allowed)  # before a plan takes minutes
    limits = _limits_at(site, bundle, limits)
    _log.log(
        logging.WARNING if bundle.signed_by is None else logging.INFO,
        "%s: opened with trust: %s",
        bundle.path,
        bundle.trust,
    )
    load = partial(
        open_engine,
        threads=threads,
        progress=progress,
        cuda_graphs=cuda_graphs,
        device_times=device_times,
        preprocess=preprocess,
        plan=plan,
    )
    try:
        engine = load(bundle, backend)
    except FasdkError:
        raise
    except Exception as error:
        raise BackendError(f"{bundle.path} cannot be loaded: {unexpected(error)}") from error
    liveness = Liveness(
        bundle,
        engine,
        level,
        batching=batching,
        limits=limits,
        missing=missing,
        trust=admission.trust,
        revisions=admission.revisions,
        loader=partial(load, backend=engine.backend),
    )
    try:
        liveness.prove()
        liveness.start()
        admission.record(bundle, allowed)  # last: what does not open here locks nothing out
        return liveness
    except BaseException:
        liveness.close()
        raise


def _limits_at(
    site: SiteProfile | str | Path | None, bundle: Bundle, limits: QualityLimits | None
) -> QualityLimits | None:
    """Return a session's limits, tightened by a site's profile where there is one."""
    if site is None:
        return limits
    from fasdk.site.profile import SiteProfile

    profile = site if isinstance(site, SiteProfile) else SiteProfile.load(site)
    profile.require_bundle(bundle.id)
    return profile.tightened(limits or QualityLimits.faults())
