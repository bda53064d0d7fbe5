"""Quantizable layers of a graph, and graphs with Q/DQ nodes."""
