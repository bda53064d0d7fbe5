"""Registration of a face's box between cameras.

`rig` is a kiosk's calibration and what it does to a capture; `optics` is one camera's geometry.
"""

from fasdk.registration.rig import Rig

__all__ = ["Rig"]
