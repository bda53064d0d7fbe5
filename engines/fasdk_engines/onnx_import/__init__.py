"""A ready ONNX file as a model: its description, its weights, its graph under our names."""
