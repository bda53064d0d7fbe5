"""TensorRT bindings of the supported releases, as attribute lists."""
