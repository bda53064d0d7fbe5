"""Bundle build: checkpoint or ONNX file to verified bundle."""

from fasdk_engines.build.pipeline import build_bundle
from fasdk_engines.build.request import BuildRequest

__all__ = ["BuildRequest", "build_bundle"]
