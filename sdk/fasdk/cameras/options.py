"""Words of a camera specification: kind, target in quotes or bare, and options."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from fasdk.cameras.address import without_credentials
from fasdk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
_QUOTES = ("'", '"')
_ADDRESS_HINT = "; a ? that belongs to the address itself needs the whole address in quotes"
_MEMBER_HINT = "; put quotes around a member that has options of its own"


class SpecOptions:
    """Options of a specification; each is taken once, and what is left over is a mistake.

    Attributes:
        shown: The specification without credentials, for errors.
    """

    def __init__(self, shown: str, values: Mapping[str, str], hint: str = "") -> None:
        self.shown = shown
        self._left = dict(values)
        self._known: list[str] = []
        self._hint = hint

    def take(self, name: str, convert: Callable[[str], T], expected: str) -> T | None:
        """Return an option's value, or None where it is not given.

        Args:
            name: Name of the option.
            convert: Function that makes the value of its text; ValueError and KeyError are wrong
                texts.
            expected: What the text should be, for the error.

        Raises:
            UsageError: The text is wrong.
        """
        self._known.append(name)
        text = self._left.pop(name, None)
        if text is None:
            return None
        try:
            return convert(text)
        except (ValueError, KeyError):
            raise UsageError(
                f"camera {self.shown!r}: {name} is {text!r}, expected {expected}"
            ) from None

    def require_all_taken(self) -> None:
        """Refuse an option that nothing asked for.

        Raises:
            UsageError: There is one.
        """
        if not self._left:
            return
        raise UsageError(
            f"camera {self.shown!r} has no option {next(iter(self._left))!r}: "
            f"choose among {', '.join(self._known)}{self._hint}"
        )


def split_target(text: str, spec: str) -> tuple[str, SpecOptions]:
    """Return the target and the options of `TARGET?OPTION=VALUE&...`.

    A target in single or double quotes ends at the next of the same; a bare one at the first `?`.

    Raises:
        UsageError: A quote is not closed, or what follows is no list of options.
    """
    target, rest = _word(text, spec, "?")
    return target, options_of(rest, spec, _ADDRESS_HINT if "://" in target else "")


def split_members(text: str, spec: str) -> tuple[dict[str, str], SpecOptions]:
    """Return the members and the options of `NAME=SPEC;NAME=SPEC?OPTION=VALUE&...`.

    A nested specification in single or double quotes ends at the next of the same; a bare one at
    the first `;` or `?`.

    Raises:
        UsageError: A quote is not closed, a member has no name or comes twice, or what follows is
            no list of options.
    """
    members: dict[str, str] = {}
    rest = text
    while True:
        name, found, rest = rest.partition("=")
        if not found or not name.isidentifier() or name in members:
            raise UsageError(
                f"camera {without_credentials(spec)!r}: expected NAME=SPEC;NAME=SPEC, each name "
                "once, and quotes around a SPEC that has options of its own, as in "
                "pair:rgb='opencv:0?width=1280&height=720';ir=opencv:2?skew_ms=20"
            )
        members[name], rest = _word(rest, spec, ";?")
        if not rest.startswith(";"):
            return members, options_of(rest, spec, _MEMBER_HINT)
        rest = rest[1:]


def options_of(text: str, spec: str, hint: str = "") -> SpecOptions:
    """Return the options of a text that is empty or begins with `?`.

    Raises:
        UsageError: An option comes twice or has no `=`, or an address was cut by a `?`.
    """
    shown = without_credentials(spec)
    if hint and "@" in text:
        raise UsageError(
            f"camera {shown!r}: a ? before the @; write the signs ?, #, / and % of a name or "
            "password as %3F, %23, %2F and %25"
        )
    values: dict[str, str] = {}
    for word in text[1:].split("&") if len(text) > 1 else ():
        name, found, value = word.partition("=")
        if not found or not name or name in values:
            raise UsageError(
                f"camera {shown!r}: {'option ' + repr(name) + ' twice' if name in values else ''}"
                f"{'' if name in values else repr(word)}, expected ?OPTION=VALUE&OPTION=VALUE with "
                "each option once"
            )
        values[name] = unquote(value)
    return SpecOptions(shown, values, hint)


def _word(text: str, spec: str, ends: str) -> tuple[str, str]:
    """Return the first word of a text, without its quotes, and what follows it."""
    if text.startswith(_QUOTES):
        quote = text[0]
        end = text.find(quote, 1)
        if end < 0 or (text[end + 1 : end + 2] or ends[0]) not in ends:
            raise UsageError(
                f"camera {without_credentials(spec)!r}: the quote {quote} opens and does not "
                f"close before the end or {' or '.join(ends)}; inside quotes use the other kind"
            )
        return text[1:end], text[end + 1 :]
    end = min((at for at in map(text.find, ends) if at >= 0), default=len(text))
    return text[:end], text[end:]
