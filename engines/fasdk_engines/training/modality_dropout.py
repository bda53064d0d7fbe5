"""BIG-MoE's training: cross-entropy, each modality left out at random (ICASSP 2025).

The model does the leaving out itself while it trains, so that its prompt is told what is missing.
"""

from __future__ import annotations

from fasdk_engines.training.method import Method


class ModalityDropout(Method):
    """Cross-entropy on a model that leaves modalities out by itself."""

    name = "bigmoe"
    families = ("bigmoe",)
    module_drops = True

    def frozen(self) -> tuple[str, ...]:
        """The patch embedding and all blocks but the last stay as pretrained."""
        depth = len(list(self.task.module.get_submodule("ViT_Encoder").children()))
        blocks = "|".join(str(index) for index in range(depth - 1))
        return (r"conv_proj\..*", *((rf"ViT_Encoder\.(?:{blocks})\..*",) if depth > 1 else ()))
