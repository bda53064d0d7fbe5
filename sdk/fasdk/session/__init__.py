"""Liveness sessions and the scoring of captures by one bundle."""
