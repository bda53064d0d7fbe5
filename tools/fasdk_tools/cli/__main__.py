"""Entry point of `python -m fasdk_tools.cli`, the same as the `fasdk` script."""

from fasdk_tools.cli import run

run()
