"""Eight bits held to liveness error rates: calibration set, judgement, search, and the record."""
