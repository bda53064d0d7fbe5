"""Backends that run a bundle's graph, behind one pair of protocols."""
