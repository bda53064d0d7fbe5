"""Backends: what runs a bundle's graph, behind one pair of protocols."""
