"""Commissioning of a door on its site: steps, what is counted in them, and the verdict."""
