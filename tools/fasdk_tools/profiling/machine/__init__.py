"""What the machine did while latencies were measured, and whether they can be trusted."""
