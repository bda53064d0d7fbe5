"""Verb accept, which records the bundle that a machine takes from now on."""

from __future__ import annotations

from typing import Annotated

import typer

from fasdk_tools.cli.root import (
    AllowOption,
    BundleArgument,
    JsonOption,
    KeyOption,
    Panel,
    app,
    trust_policy,
)
from fasdk_tools.terminal.output import print_answer, print_fields, print_json


@app.command(rich_help_panel=Panel.RUN)
def accept(
    bundle: BundleArgument,
    key: KeyOption = None,
    allow: AllowOption = None,
    system: Annotated[
        bool,
        typer.Option(
            "--system", help="For every account: in root's state file, which binds them too."
        ),
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget all that the state file holds, or is damaged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Record a bundle as taken, so that this machine opens no older one in its place."""
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.revisions import RevisionState
    from fasdk.bundle.succession import allowed_changes, allowing

    allowed = allowed_changes(allowing(allow or []))
    trust = trust_policy(key, unsigned=False)
    opened = open_bundle(bundle, trust)
    file = RevisionState.installed().accept(
        opened, [trusted.id for trusted in trust.keys], allowed, system=system, reset=reset
    )
    manifest = opened.manifest
    document = {
        "bundle": str(bundle),
        "bundle_id": opened.id,
        "product": manifest.product,
        "revision": manifest.revision,
        "signed_by": opened.signed_by,
        "state_file": str(file),
    }
    if as_json:
        print_json(document)
        return
    print_answer(f"Revision {manifest.revision} of {manifest.product} is what this machine takes")
    print_fields(
        "",
        {
            "bundle": str(bundle),
            "bundle id": opened.id,
            "signed by": opened.signed_by,
            "state file": "root's, for every account" if system else "this account's",
        },
    )
