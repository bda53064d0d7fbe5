"""P1, P2 and P3 protocol tables on synthetic domains."""
