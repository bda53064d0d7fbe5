"""Root command, its help, and options shared by several verbs."""

from __future__ import annotations

import sys
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from fasdk.errors import CaptureError, UsageError
from fasdk.extras import how_to_install, require_package

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasdk.bundle.signer import Signer
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.capture import FaceBox, Modality
    from fasdk.decision import MissingModalities


class Panel(str, Enum):
    """A group of verbs in `fasdk --help`, in the order shown."""

    BUILD = "Build a bundle"
    MEASURE = "Measure and tune"
    RUN = "Run on a device"
    DATA = "Prepare data"


class GroupedHelp(TyperGroup):
    """A command whose help lists its verbs by task, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for every panel that has verbs."""
        verbs = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        panels = {name: getattr(verb, "rich_help_panel", None) for name, verb in verbs.items()}
        for panel in [*Panel, None]:
            rows = [
                (name, verb.get_short_help_str(limit=_WHOLE_SENTENCE))
                for name, verb in sorted(verbs.items())
                if verb is not None and panels[name] == panel
            ]
            if rows:
                with formatter.section("Commands" if panel is None else panel.value):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="fasdk",
    cls=GroupedHelp,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

EXIT_NO, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_WHOLE_SENTENCE = 1_000  # characters; a sentence of help is never cut

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .fasb file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
WideOption = Annotated[bool, typer.Option("--wide", help="Show every column of the tables.")]
BackendOption = Annotated[
    str,
    typer.Option(
        help="auto (TensorRT if installed), tensorrt, tensorrt-rtx, onnxruntime or openvino."
    ),
]
LevelOption = Annotated[str, typer.Option(help="Security level.")]
GatesOption = Annotated[
    bool,
    typer.Option(
        "--gates/--no-gates",
        help="Answer RETRY for a capture too far, blurred or dark, or without a face.",
    ),
]
BatchingOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="JSON file of a batching policy and the engine's threads."),
]
MissingOption = Annotated[
    str,
    typer.Option(
        "--missing-modalities",
        help="A capture without one of the model's modalities: require (RETRY), degrade (decided "
        "on what is there) or refuse (ERROR).",
    ),
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        help="PEM public key to trust instead of those of `fasdk trust list`. Repeatable.",
    ),
]
UnsignedOption = Annotated[
    bool,
    typer.Option("--unsigned", help="Ask for no signature: whoever wrote the file is trusted."),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        help="Change against the bundle taken before that is intended: rollback, rewrite, product, "
        "model, modalities or levels. Repeatable.",
    ),
]
SignKeyOption = Annotated[
    str | None,
    typer.Option(
        help="PEM private key to sign with, or a pkcs11: address; by default this account's "
        "build key."
    ),
]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"fasdk {version('fasdk')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Turn face-liveness checkpoints into verified TensorRT bundles, and ask for verdicts."""


def missing_policy(name: str) -> MissingModalities:
    """Return the treatment of missing modalities that `--missing-modalities` names."""
    from fasdk.decision import MissingModalities
    from fasdk.settings import as_choice

    return as_choice("--missing-modalities", name, MissingModalities)


def trust_policy(keys: list[Path] | None, unsigned: bool) -> TrustPolicy:
    """Return the policy of --key and --unsigned; that of the trust store where neither was given.

    Raises:
        UsageError: Both were given.
        TrustError: A key or the trust store cannot be read.
    """
    from fasdk.bundle.trust import TrustPolicy

    if keys and unsigned:
        raise UsageError("--key and --unsigned exclude each other: give one of them")
    if unsigned:
        return TrustPolicy.unsigned()
    return TrustPolicy.from_files(*keys) if keys else TrustPolicy.installed()


def signer_of(where: str | None) -> Signer:
    """Return the key that --sign-key names; a passphrase is asked for on a terminal.

    Raises:
        TrustError: The key cannot be used.
    """
    from fasdk.bundle.signing import open_signer

    return open_signer(where, _ask if sys.stdin.isatty() else None)


def _ask(what: str) -> bytes:
    from getpass import getpass

    return getpass(f"Passphrase of {what}: ").encode()


def require_build_half() -> None:
    """Refuse a workstation's verb on a device install, in one line."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this verb needs {' and '.join(missing)}, which a device install leaves out: "
            f"{how_to_install('build')}, on a workstation"
        )


def require_templates(option: str) -> None:
    """Refuse an option that makes an HTML page where Jinja2 is missing, in one line."""
    require_package("jinja2", option)


def parse_modalities(text: str | None, option: str) -> tuple[Modality, ...]:
    """Return the modalities a comma separated list names; none for None.

    Raises:
        UsageError: One of them is no modality; `option` is named.
    """
    from fasdk.capture import Modality

    known = {m.value: m for m in Modality}
    names = [] if text is None else [part.strip() for part in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"{option} {text!r}: {unknown[0]!r} is no modality: choose among {', '.join(known)}"
        )
    return tuple(known[name] for name in names)


def parse_face(text: str) -> FaceBox:
    """Return the box that --face gives as x,y,w,h.

    Raises:
        CaptureError: It is not four whole numbers, or has no area.
    """
    from fasdk.capture import FaceBox

    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise CaptureError(
            f"--face {text!r} is not x,y,w,h in whole pixels, such as 106,147,207,213"
        ) from None
    return FaceBox.of(values)


def parse_landmarks(text: str) -> NDArray[np.float32]:
    """Return the points that --landmarks gives as x,y of five, float32 [5, 2].

    Raises:
        CaptureError: They are not ten finite numbers.
    """
    import numpy as np

    try:
        points = np.array([float(part) for part in text.split(",")], np.float32).reshape(5, 2)
    except ValueError:
        points = np.full((5, 2), np.nan, np.float32)
    if not np.isfinite(points).all():
        raise CaptureError(
            f"--landmarks {text!r} is not x,y of five points, such as "
            "160,230,250,230,205,285,170,330,240,330"
        )
    return points
