"""Entry point of the `fasdk` script, which needs only the base install to say what is missing."""

from __future__ import annotations

import json
import sys

from fasdk.extras import missing_package
from fasdk.plain_text import plain_line

_EXIT_USAGE = 2


def run() -> None:
    """Run the command line and exit; without its packages, say in one line what installs them."""
    try:
        from fasdk_tools.cli import main
    except ImportError as error:
        missing = missing_package(error, "the command line")
        if missing is None:
            raise
        line = plain_line(str(missing))
        print(f"fasdk: {line}", file=sys.stderr)
        if "--json" in sys.argv[1:]:
            print(json.dumps({"error": line}))
        sys.exit(_EXIT_USAGE)
    sys.exit(main())
