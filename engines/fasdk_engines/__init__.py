"""The workstation half: checkpoint → module → graph → plan → bundle."""
