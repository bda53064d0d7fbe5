"""Terminal output of comparisons of a bundle with another, and with a stored profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import count_of, format_share
from fasdk_tools.terminal.output import print_answer, print_fields

if TYPE_CHECKING:
    from fasdk_tools.profiling.against import Against, ComparedBundle
    from fasdk_tools.profiling.baseline import BaselineAnswer
    from fasdk_tools.profiling.interleaved import Ratio


def print_against(found: Against) -> None:
    """Print how a bundle compares with another on stdout."""
    print_answer(_sentence(found.slower, found.median, found.tolerance, found.against.bundle))
    print_fields(
        "",
        {
            "median ratio": ratio_text(found.median),
            "p99 ratio": ratio_text(found.p99),
            "bundle": _bundle_text(found.bundle),
            "compared with": _bundle_text(found.against),
            "measured": f"{count_of(found.calls, 'call')} of each in "
            f"{count_of(found.rounds, 'round')} of turns",
        },
    )


def print_baseline(found: BaselineAnswer) -> None:
    """Print how a profile compares with a stored one on stdout."""
    if found.slower is None:
        print_answer(f"Not comparable with {found.baseline}: {moved_text(found)}")
    else:
        print_answer(_sentence(found.slower, found.median, found.tolerance, found.baseline))
    print_fields(
        "",
        {
            "median ratio": ratio_text(found.median),
            "p99 ratio": ratio_text(found.p99),
            "yardstick": f"computation {found.compute_ratio:.3f}, memory copy "
            f"{found.copy_ratio:.3f}, p99 {found.tail_ratio:.3f} of the time it took then",
            "measured then": f"bundle {found.bundle_id[:16]}",
        },
    )


def moved_text(found: BaselineAnswer) -> str:
    """Return what of the yardstick takes another time than when the baseline was stored."""
    return "the yardstick moved: " + ", ".join(
        f"its {name} takes {ratio:.2f} times as long" for name, ratio in found.moved.items()
    )


def ratio_text(ratio: Ratio) -> str:
    """Return a ratio with its interval, or how many more calls it needs."""
    if ratio.ratio is None:
        return f"{count_of(ratio.missing_calls, 'more call')} of each needed"
    return f"{ratio.ratio:.3f} (95 % interval {ratio.lower:.3f} to {ratio.upper:.3f})"


def _sentence(is_slower: bool, median: Ratio, tolerance: float, other: str) -> str:
    verdict = "Slower than" if is_slower else "Not slower than"
    shown = "" if median.ratio is None else f": {median.ratio:.3f} times its median"
    return f"{verdict} {other} by more than {format_share(tolerance)}{shown}"


def _bundle_text(bundle: ComparedBundle) -> str:
    return f"{bundle.bundle}, {bundle.precision}, {bundle.backend}"
