"""ONNX graphs: export, types, half precision, parity, TensorRT lint and comparison."""
