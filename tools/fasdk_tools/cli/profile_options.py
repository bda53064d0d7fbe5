"""Options of the verb profile that go together."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from fasdk.errors import UsageError
from fasdk_tools.profiling.load import Load

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import typer


class Question(str, Enum):
    """What is asked for instead of the figures of a load."""

    AGAINST = "--against"
    FIND = "--find"
    DOORS = "--doors"


_ONE_PROFILE: Final = (
    *("--load", "--rate", "--arrivals", "--cameras", "--calls", "--soak", "--quick", "--until"),
    *("--samples", "--trace", "--html", "--layers", "--baseline"),
)
# An option that would change nothing is a mistake of whoever gave it: the figures are of
# something else than was meant. Options of length and chance (--seconds, --warmup, --seed) are not
# here: a default of a script may name them.
_UNUSED: Final[Mapping[Question | Load, Collection[str]]] = {
    Question.AGAINST: (
        *_ONE_PROFILE,
        *("--deadline", "--fps", "--batch", "--lanes", "-o", "--find", "--doors"),
    ),
    Question.FIND: (
        *_ONE_PROFILE,
        *("--deadline", "--fps", "--batch", "--lanes", "--threads", "--tolerance", "--doors"),
    ),
    Question.DOORS: (*_ONE_PROFILE, "-o", "--tolerance"),
    Load.CLOSED: ("-o", "--cameras", "--calls"),
    Load.CONSTANT: ("-o", "--calls"),
    Load.POISSON: ("-o", "--calls"),
    Load.REPLAY: ("-o", "--calls"),
    Load.OFFLINE: ("-o",),
    Load.IDLE: ("-o", "--cameras", "--calls", "--rate", "--batch", "--lanes"),
    Load.COLD: ("-o", "--cameras", "--calls", "--rate", "--fps", "--batch", "--lanes"),
}


def require_used(context: typer.Context, load: Load, question: Question | None) -> None:
    """Check that every option on the command line has a use for what is asked for.

    Raises:
        UsageError: One has none.
    """
    given = _given(context)
    for option in _UNUSED[load if question is None else question]:
        if option in given:
            what = f"--load {load.value}" if question is None else question.value
            raise UsageError(f"{option} does not go together with {what}: leave it out")
    if "--tolerance" in given and question is None and "--baseline" not in given:
        raise UsageError(
            "--tolerance is for a comparison: give --baseline or --against, or leave it out"
        )


def _given(context: typer.Context) -> frozenset[str]:
    """Return the options that are on the command line, by their names there."""
    return frozenset(
        name
        for parameter in context.command.params
        if parameter.name is not None
        and getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
        for name in parameter.opts
    )
