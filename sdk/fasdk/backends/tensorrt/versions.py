"""Range of TensorRT releases that fasdk supports."""

from typing import Final

OLDEST: Final = "10.3"
"""Oldest release supported, JetPack 6's: graphs keep to what its parser takes."""
NEWEST: Final = "11.4"
"""Newest release whose bindings the code is held to."""
