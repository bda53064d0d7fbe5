"""Local service that gives a session's verdicts to kiosks of other languages."""
