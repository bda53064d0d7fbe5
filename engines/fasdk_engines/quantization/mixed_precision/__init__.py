"""Mixed INT8 and float precision held to a liveness error-rate budget."""
