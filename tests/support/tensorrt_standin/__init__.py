"""Stand-in for the TensorRT modules, on any CUDA driver of the tests."""
