"""Range of TensorRT releases that fasdk supports."""

from typing import Final

OLDEST: Final = "10.3"
"""Oldest release supported, JetPack 6's: graphs keep to what its parser takes."""
NEWEST: Final = "11.4"
"""Newest release whose bindings the code is held to."""
DLA = (
    "up to 10.7, not from 10.8 to 11.3, and again from 11.4.1 on Jetson AGX Orin with JetPack "
    "7.2.2 or later, but not on Thor"
)
"""Releases that run on the deep learning accelerator of a Jetson; plans here never do."""
