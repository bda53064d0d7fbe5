"""TensorRT and TensorRT-RTX: one builder and one runtime, parametrized by the module.

Only what TensorRT 10.3 to 11.4 and TensorRT-RTX all offer is used, save for the few RTX-only calls
that go through `module.RtxModule`. `tests/tensorrt_bindings` holds the code to that.
"""
