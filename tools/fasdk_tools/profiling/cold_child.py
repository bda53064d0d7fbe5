"""Process of one cold start: opens a bundle, decides once, prints one JSON line.

Started by `fasdk_tools.profiling.cold`; nothing is imported at the top that fasdk itself would not.
"""

from __future__ import annotations

import json
import sys
import time


def main(arguments: list[str]) -> int:
    """Make one cold start and return its exit status.

    Args:
        arguments: One JSON document: `spawned_ns` of CLOCK_MONOTONIC, `bundle`, `backend`,
            `threads`, `keys` and `unsigned`.
    """
    marks_ns = [time.monotonic_ns()]
    request = json.loads(arguments[0])

    from pathlib import Path

    from fasdk.backends.registry import installed_backends, open_engine, parse_backend
    from fasdk.backends.specs import spec_of
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.revisions import RevisionState
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.errors import FasdkError
    from fasdk.session.session import Liveness

    backend = parse_backend(request["backend"])
    automatic = [each for each in installed_backends() if spec_of(each).automatic]
    chosen = backend or next(iter(automatic), None)
    if chosen is not None:
        __import__(spec_of(chosen).module)
    marks_ns.append(time.monotonic_ns())
    try:
        if request["unsigned"]:
            trust = TrustPolicy.unsigned()
        elif request["keys"]:
            trust = TrustPolicy.from_files(*map(Path, request["keys"]))
        else:
            trust = TrustPolicy.installed()
        bundle = open_bundle(Path(request["bundle"]), trust)
        marks_ns.append(time.monotonic_ns())
        engine = open_engine(bundle, backend, threads=request["threads"])
        marks_ns.append(time.monotonic_ns())
        with Liveness(bundle, engine, trust=trust, revisions=RevisionState.unchecked()) as liveness:
            liveness.prove()
            marks_ns.append(time.monotonic_ns())
            decision = liveness.check(bundle.golden[0].capture)
            marks_ns.append(time.monotonic_ns())
            plan = getattr(engine, "plan_source", None)
    except FasdkError as error:
        print(str(error), file=sys.stderr)
        return 2
    print(
        json.dumps(
            {
                "times_ns": [request["spawned_ns"], *marks_ns],
                "score": decision.score,
                "reasons": list(decision.reasons),
                "backend": engine.backend.value,
                "version": engine.version,
                "plan": "none" if plan is None else str(getattr(plan, "value", plan)),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
