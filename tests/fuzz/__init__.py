"""Fuzz targets for every parser of a file or a text that others wrote."""
