"""Recording of labeled presentations from a door's camera."""
