"""TensorRT and TensorRT-RTX backend: one builder and one runtime, parametrized by the module.

Only what every TensorRT in the range of `versions` and TensorRT-RTX offer is used, save for the few
RTX-only calls that go through `module.RtxModule`. `tests/tensorrt_bindings` holds the code to that.
"""
