"""Quality gates: what a capture must be like before a model looks at it.

`gates` holds the limits and what misses them; `freshness` measures times, `pose` the head's turn
from five landmarks, `exposure` light, sharpness and distance on the middle of the face.
"""

from fasdk.quality.gates import QualityLimits, assess

__all__ = ["QualityLimits", "assess"]
