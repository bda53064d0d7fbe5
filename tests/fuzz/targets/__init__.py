"""Targets by the kind of what is read."""
