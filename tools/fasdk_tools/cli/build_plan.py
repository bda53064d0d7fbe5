"""Verb build-plan, which compiles a bundle's plan on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    from fasdk.bundle.trust import TrustPolicy


@app.command("build-plan", rich_help_panel=Panel.RUN)
def build_plan(
    bundle: BundleArgument,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build this machine's plan of a bundle and replay the golden captures on it."""
    document = _plan_and_replay(bundle, backend, trust_policy(key, unsigned))
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


def _plan_and_replay(bundle: Path, backend: str, trust: TrustPolicy) -> dict[str, Any]:
    """Open a bundle, which builds its plan or takes it from the cache, and replay its captures.

    Args:
        bundle: A .fasb file.
        backend: Backend name, or "auto".
        trust: Signatures the bundle must carry.

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
