"""ONNX graphs: export, types, half precision, TensorRT lint and comparison."""
