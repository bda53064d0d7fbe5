"""Training runs, the demo among them."""
