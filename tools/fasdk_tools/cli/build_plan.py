"""Verb build-plan, which compiles a bundle's plan on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import (
    BackendOption,
    BundleArgument,
    JsonOption,
    KeyOption,
    Panel,
    UnsignedOption,
    app,
    trust_policy,
)
from fasdk_tools.terminal.output import print_answer, print_fields, print_json, progress_view

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk.backends.plan_options import PlanOptions
    from fasdk.bundle.trust import TrustPolicy


@app.command("build-plan", rich_help_panel=Panel.RUN)
def build_plan(
    bundle: BundleArgument,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    workspace_mib: Annotated[
        int | None, typer.Option(help="Scratch memory a TensorRT layer may use, in MiB (1024).")
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option(help="Effort of TensorRT's search for fast kernels, from 0 to 5 (3)."),
    ] = None,
    aux_streams: Annotated[
        int | None,
        typer.Option(help="Streams besides a lane's own on which TensorRT may run layers (0)."),
    ] = None,
    timing_cache: Annotated[
        bool,
        typer.Option(help="Take and keep times of kernels, which later builds start from."),
    ] = True,
    dla: Annotated[
        bool, typer.Option("--dla", help="Refused: says which TensorRT releases have DLA.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build this machine's plan of a bundle and replay the golden captures on it."""
    if dla:
        from fasdk.backends.tensorrt.versions import DLA

        raise UsageError(
            f"--dla: plans are built for the GPU alone (TensorRT has DLA {DLA}): leave --dla out"
        )
    options = _options(workspace_mib, optimization_level, aux_streams, timing_cache)
    document = _plan_and_replay(bundle, backend, trust_policy(key, unsigned), options)
    if as_json:
        print_json(document)
    else:
        print_answer(
            f"{bundle} is ready on {document['backend']} {document['version']}: "
            f"{document['golden_captures']} golden captures are reproduced"
        )
        print_fields(
            "",
            {
                "bundle id": document["bundle_id"],
                "trust": document["trust"],
                "plan": document["plan"],
                "largest score drift": document["golden_drift"],
            },
        )


def _options(
    workspace_mib: int | None,
    optimization_level: int | None,
    aux_streams: int | None,
    timing_cache: bool,
) -> PlanOptions | None:
    """Return the options of the plan, or None where none was given and any plan will do."""
    from fasdk.backends.plan_options import PlanOptions

    if timing_cache and workspace_mib is optimization_level is aux_streams is None:
        return None
    usual = PlanOptions()
    return PlanOptions(
        usual.workspace_mib if workspace_mib is None else workspace_mib,
        usual.optimization_level if optimization_level is None else optimization_level,
        usual.aux_streams if aux_streams is None else aux_streams,
        timing_cache,
    )


def _plan_and_replay(
    bundle: Path, backend: str, trust: TrustPolicy, options: PlanOptions | None
) -> dict[str, Any]:
    """Open a bundle, which builds its plan or takes it from the cache, and replay its captures.

    Args:
        bundle: A .fasb file.
        backend: Backend name, or "auto".
        trust: Signatures the bundle must carry.
        options: How the plan must have been built; None for however it was.

    Returns:
        What `build-plan --json` prints.

    Raises:
        FasdkError: The bundle, its signature, the backend, the plan or a golden capture fails.
    """
    from fasdk.backends.registry import parse_backend
    from fasdk.bundle.revisions import RevisionState
    from fasdk.session.opening import open as open_session

    with (
        progress_view() as view,
        open_session(
            bundle,
            backend=parse_backend(backend),
            trust=trust,
            revisions=RevisionState.unchecked(),
            progress=view,
            plan=options,
        ) as liveness,
    ):
        view.phase("golden captures")
        drift = liveness.replay_golden()
        engine = liveness.engine
        return {
            "bundle": str(bundle),
            "bundle_id": liveness.bundle.id,
            "trust": liveness.bundle.trust,
            "backend": engine.backend.value,
            "version": engine.version,
            "plan": getattr(engine, "plan_source", None) or "none needed",
            "golden_captures": len(liveness.bundle.golden),
            "golden_drift": drift,
        }
