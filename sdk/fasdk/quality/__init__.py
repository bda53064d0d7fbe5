"""Quality gates on captures before they are scored.

`gates` holds the limits and makes the findings; `freshness` checks times, `pose` measures the
head's angles from five landmarks, `exposure` light, sharpness and depth on the middle of the face,
`agreement` whether the sensors show one face.
"""

from fasdk.quality.gates import QualityLimits, assess

__all__ = ["QualityLimits", "assess"]
