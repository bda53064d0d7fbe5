"""Verbs on keys: keygen, and trust for the keys whose bundles this machine accepts."""

from __future__ import annotations

import sys
from datetime import date
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import JsonOption, Panel, WideOption, app
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_answer, print_fields, print_json, print_rows
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from fasdk.bundle.trust_store import StoredKey, TrustScope

trust = typer.Typer()
app.add_typer(trust, name="trust", rich_help_panel=Panel.RUN)

SystemOption = Annotated[
    bool, typer.Option("--system", help="For every account of this machine; needs root.")
]


@trust.callback()
def _group() -> None:
    """Manage the keys whose bundles this machine accepts."""


@app.command(rich_help_panel=Panel.BUILD)
def keygen(
    private_key: Annotated[Path, typer.Argument(metavar="KEY", help="PEM file to write.")],
    encrypt: Annotated[
        bool,
        typer.Option(
            "--encrypt",
            help="Encrypt it with a passphrase, asked for or from FASDK_KEY_PASSPHRASE or the file "
            "FASDK_KEY_PASSPHRASE_FILE.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate an Ed25519 key pair: KEY signs bundles, KEY.pub goes to the devices."""
    from fasdk.bundle.signing import generate_key

    passphrase = _new_passphrase(private_key) if encrypt else None
    public, identity = generate_key(private_key, passphrase)
    document = {
        "private_key": str(private_key),
        "public_key": str(public),
        "key_id": identity,
        "encrypted": encrypt,
    }
    if as_json:
        print_json(document)
    else:
        print_answer(f"Wrote {private_key} (private, signs bundles) and {public} (for devices)")
        print_fields("", {"key id": identity, "encrypted": encrypt})


def _new_passphrase(private_key: Path) -> bytes:
    """Return the passphrase of a new key, asked for twice where the environment has none."""
    from fasdk.bundle.signer import ask_for

    def ask_twice(what: str) -> bytes:
        first = getpass(f"New passphrase of {what}: ")
        if first != getpass("The same again: "):
            raise UsageError("the two passphrases differ: run it again")
        return first.encode()

    return ask_for(f"private key {private_key}", ask_twice if sys.stdin.isatty() else None)


@trust.command("add")
def add(
    public_key: Annotated[Path, typer.Argument(metavar="KEY.pub", help="PEM public key.")],
    expires: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="Last day, in UTC, on which it is trusted."),
    ] = None,
    system: SystemOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accept bundles that a key has signed."""
    from fasdk.bundle.trust_store import add_key

    stored = add_key(public_key, expires=_day(expires), scope=_scope(system=system))
    if as_json:
        print_json(_document(stored))
    else:
        print_answer(f"Trusted: bundles signed by key {stored.key.id} are accepted")
        print_fields("", _shown(stored))


@trust.command("list")
def show(wide: WideOption = False, as_json: JsonOption = False) -> None:
    """Show the trusted keys, with those that are revoked or expired."""
    from fasdk.bundle.trust_store import read_store

    store = read_store()
    if as_json:
        keys = [_document(stored) for stored in store.keys]
        print_json({"keys": keys, "revoked": sorted(store.revoked)})
        return
    valid = [s for s in store.keys if not s.is_revoked and not s.key.is_expired()]
    print_answer(
        f"{len(valid)} of {count_of(len(store.keys), 'key')} trusted"
        if store.keys
        else "No key is trusted: every bundle is refused until `fasdk trust add KEY.pub` or a build"
    )
    if store.keys:
        print_rows(
            "Keys",
            ("key id", "scope", "state", "expires", Column("file", wide=True)),
            [
                (
                    stored.key.id,
                    stored.scope.value,
                    _state(stored),
                    _expiry(stored) or "never",
                    str(stored.key.source),
                )
                for stored in store.keys
            ],
            wide=wide,
        )


@trust.command("revoke")
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="PEM public key, key id, or whole fingerprint.")
    ],
    system: SystemOption = False,
    as_json: JsonOption = False,
) -> None:
    """Refuse bundles that a key has signed, even where --key names it."""
    from fasdk.bundle.trust_store import revoke_key

    added = revoke_key(key, scope=_scope(system=system))
    if as_json:
        print_json({"revoked": list(added)})
    else:
        print_answer(
            f"Revoked: bundles signed by {', '.join(f[:16] for f in added)} are refused"
            if added
            else f"{key} was revoked before"
        )


def _scope(*, system: bool) -> TrustScope:
    from fasdk.bundle.trust_store import TrustScope

    return TrustScope.SYSTEM if system else TrustScope.ACCOUNT


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--expires {text!r} is no day such as 2030-12-31") from None


def _state(stored: StoredKey) -> str:
    if stored.is_revoked:
        return "revoked"
    return "expired" if stored.key.is_expired() else "trusted"


def _expiry(stored: StoredKey) -> str | None:
    return None if stored.key.expires is None else stored.key.expires.isoformat()


def _shown(stored: StoredKey) -> dict[str, object]:
    return {
        "fingerprint": stored.key.fingerprint,
        "for": "every account" if stored.scope.value == "system" else "this account",
        "expires": _expiry(stored) or "never",
    }


def _document(stored: StoredKey) -> dict[str, object]:
    return {
        "key_id": stored.key.id,
        "fingerprint": stored.key.fingerprint,
        "scope": stored.scope.value,
        "state": _state(stored),
        "expires": _expiry(stored),
        "file": str(stored.key.source),
    }
