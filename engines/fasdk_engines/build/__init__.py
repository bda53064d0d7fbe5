"""Bundle build: checkpoint or ONNX file to verified bundle."""
