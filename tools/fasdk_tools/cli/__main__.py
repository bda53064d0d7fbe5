"""`python -m fasdk_tools.cli`: the `fasdk` script by another name."""

from fasdk_tools.cli import run

run()
