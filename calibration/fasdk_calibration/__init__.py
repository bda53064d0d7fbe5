"""Captures with labels: where they come from, and what the error rates on them are."""
