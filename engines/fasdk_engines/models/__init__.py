"""Model families: published and deployed forms, checkpoints and the registry."""

from fasdk_engines.models.base import Family, ModelConfig, PublishedModule

__all__ = ["Family", "ModelConfig", "PublishedModule"]
