"""BIG-MoE's training: cross-entropy with modality dropout (ICASSP 2025).

The model drops modalities itself in training, since its prompt must know which are missing.
"""

from __future__ import annotations

from fasdk_engines.training.method import Method


class ModalityDropout(Method):
    """Cross-entropy training of a model that drops modalities itself."""

    name = "bigmoe"
    families = ("bigmoe",)
    module_drops = True

    def frozen(self) -> tuple[str, ...]:
        """The patch embedding and all blocks but the last stay as pretrained."""
        depth = len(list(self.task.module.get_submodule("ViT_Encoder").children()))
        blocks = "|".join(str(index) for index in range(depth - 1))
        return (r"conv_proj\..*", *((rf"ViT_Encoder\.(?:{blocks})\..*",) if depth > 1 else ()))
