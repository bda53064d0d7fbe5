"""Import of an ONNX file as a model: its description, its weights and its graph."""
