"""Stand-ins, fixtures and data that tests of several components share."""
