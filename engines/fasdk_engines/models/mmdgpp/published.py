"""Published form of MMDG++: CLIP's visual tower shared by RGB, depth and IR, with U-Adapter++.

Lin et al., MMDG++, IEEE TPAMI 47(9), 2025. Every adapter takes each token's query from whichever of
two modalities is surer of it. The published evaluation draws 50 Gaussian samples a token to find
how sure; here their mean and variance stand for them, where many samples end, so a score is a
function of the capture alone.

Training computes the same function. The published training differs in three ways: it draws; it
compares its draw with a probability that is never below 1, so that it always takes the modality
that is asked and never trains the other query; and it keeps gradients out of the certainty, so that
the variance learns from the sampling noise alone. Here the surer one is taken, and the variance
learns through the certainty.

A modality that is absent reaches nothing: its pixels are replaced before the first layer, adapters
that would ask it ask their own modality instead, and its feature is zero. The text tower and the
prompts only steer training and are no part of this module.

`certainty` says for each sensor how sure the model is of what that sensor shows, from 0 (absent) to
1. It does not tell whether the sensor works. It is no probability of being genuine, and figures of
two models do not compare.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.base import PublishedModule
from fasdk_engines.models.clip import ClipTransformer
from fasdk_engines.models.layers import CentralDifferenceConv, QuickGelu, convolve_tokens
from fasdk_engines.models.mmdgpp.config import DIRECTIONS, MODALITIES, MmdgppConfig
from fasdk_engines.models.mmdgpp.deployed import DeployedMmdgpp


class TokenSelection(nn.Module):
    """Attention whose every query comes from whichever of two modalities is surer of the token."""

    def __init__(self, dim: int, heads: int, exp_rate: float) -> None:
        super().__init__()
        self.heads = heads
        self.exp_rate = exp_rate
        for name in ("q_linear_1", "q_linear_2", "k_linear", "v_linear"):
            setattr(self, name, nn.Linear(dim, dim, bias=False))
        self.proj = nn.Linear(dim, dim)
        for name in ("mean_mlp_1", "mean_mlp_2", "std_mlp_1", "std_mlp_2"):
            setattr(self, name, nn.Linear(dim, dim, bias=False))

    def forward(self, other: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Attend over `own`'s tokens; both are [B, N, dim].

        Returns:
            What was found [B, N, dim], and the variance [B, N, 2] of the other's and the own token.
        """
        batch, tokens, dim = own.shape
        first, variance_first = self._query(other, "1")
        second, variance_second = self._query(own, "2")
        # The smaller variance is the greater certainty, and compares without its rounding near 1.
        taken = torch.where(variance_first < variance_second, first, second)
        certainty = torch.exp(-self.exp_rate * torch.minimum(variance_first, variance_second))

        def split(x: Tensor) -> Tensor:
            return x.reshape(batch, tokens, self.heads, -1).transpose(1, 2)

        # One factor a query scales its whole row of scores, so it may scale the query itself.
        mixed = functional.scaled_dot_product_attention(
            split(taken * certainty),
            split(self._linear("k_linear", own)),
            split(self._linear("v_linear", own)),
        )
        found: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return found, torch.cat([variance_first, variance_second], dim=-1)

    def _query(self, x: Tensor, which: str) -> tuple[Tensor, Tensor]:
        """Return the mean query [B, N, dim] and its mean variance [B, N, 1]."""
        query = self._linear(f"q_linear_{which}", x)
        log_variance = self._linear(f"std_mlp_{which}", query)
        variance = log_variance.exp().mean(dim=-1, keepdim=True)
        return self._linear(f"mean_mlp_{which}", query), variance

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.get_submodule(name).get_parameter("weight"))


class SelectiveAdapter(nn.Module):
    """U-Adapter++: what one modality takes over from another, token by token, or from itself."""

    def __init__(self, config: MmdgppConfig) -> None:
        super().__init__()
        dim = config.adapter_dim
        self.adapter_conv = CentralDifferenceConv(dim, config.adapter_theta)
        self.cross_attention = TokenSelection(dim, config.adapter_heads, config.exp_rate)
        self.ln_k_v = nn.LayerNorm(dim)
        self.ln_q = nn.LayerNorm(dim)
        self.adapter_down_k_v = nn.Linear(config.width, dim)
        self.adapter_down_q = nn.Linear(config.width, dim)
        self.adapter_mlp = nn.Linear(dim, dim)
        self.adapter_up = nn.Linear(dim, config.width)
        self.act = QuickGelu()
        for linear in (self.adapter_down_k_v, self.adapter_down_q, self.adapter_mlp):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        # An untrained adapter adds nothing.
        nn.init.zeros_(self.adapter_up.weight)
        nn.init.zeros_(self.adapter_up.bias)

    def forward(self, own: Tensor, other: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is added to `own`, and the variances [B, N, 2] of the other and the own.

        Args:
            own: [B, N, width], the modality that receives.
            other: [B, N, width], the modality that is asked.
            present: bool [B], whether the other is there; where it is not, `own` is asked.
        """
        keys = self.ln_k_v(self.act(self.adapter_down_k_v(own)))
        asked = self.ln_q(self.act(self.adapter_down_q(other)))
        asked = torch.where(present[:, None, None], asked, keys)
        found, variances = self.cross_attention(asked, keys)
        mixed = found + keys
        mixed = mixed + self.adapter_mlp(self.ln_q(mixed))
        joined = self.act(convolve_tokens(self.adapter_conv, mixed))
        return self.adapter_up(joined), variances


class _VisualTower(nn.Module):
    """The parts of CLIP's visual tower that all modalities share, under CLIP's names."""

    def __init__(self, config: MmdgppConfig) -> None:
        super().__init__()
        width, patch = config.width, config.patch_size
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        # RGB's class token: the published model holds this one parameter under two names, and the
        # other, class_token_1, is read first and then overwritten when a checkpoint is loaded.
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = ClipTransformer(width, config.heads, config.depth)
        self.ln_post = nn.LayerNorm(width)


class _SharedModel(nn.Module):
    """Holds the tower where the published model holds a whole CLIP."""

    def __init__(self, config: MmdgppConfig) -> None:
        super().__init__()
        self.visual = _VisualTower(config)


class Mmdgpp(PublishedModule):
    """MMDG++ under its published parameter names, without what only its training used.

    Args:
        config: Settings of the model.
    """

    def __init__(self, config: MmdgppConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _SharedModel(config)
        scale = config.width**-0.5
        for index in (1, 2, 3):
            position = nn.Parameter(scale * torch.randn(config.tokens, config.width))
            projection = nn.Parameter(scale * torch.randn(config.width, config.feature_width))
            if index > 1:
                class_token = nn.Parameter(scale * torch.randn(config.width))
                setattr(self, f"class_token_{index}", class_token)
            setattr(self, f"pos_{index}", position)
            setattr(self, f"visual_proj_{index}", projection)
            adapters = (SelectiveAdapter(config) for _ in range(config.depth))
            setattr(self, f"conv_pass_{index}", nn.ModuleList(adapters))
        self.fc_all = nn.Sequential(nn.Linear(3 * config.feature_width, 2))

    def adapter(self, receives: int, block: int) -> SelectiveAdapter:
        """Return a block's adapter of modality `receives` (0 RGB, 1 depth, 2 IR)."""
        adapter = self.get_submodule(f"conv_pass_{receives + 1}.{block}")
        if not isinstance(adapter, SelectiveAdapter):
            raise TypeError(f"conv_pass_{receives + 1}.{block} is a {type(adapter).__name__}")
        return adapter

    def class_token(self, index: int) -> Tensor:
        """Return the class token [width] of modality `index`."""
        if index == 0:
            return self.model.visual.class_embedding
        return self.get_parameter(f"class_token_{index + 1}")

    def embed(self, index: int, image: Tensor, present: Tensor) -> Tensor:
        """Return the tokens [B, N, width] of modality `index`.

        Args:
            index: 0 RGB, 1 depth, 2 IR.
            image: float32 [B, 3, H, W], normalized.
            present: bool [B]; where False, the image is not read, whatever it holds.
        """
        visual = self.model.visual
        image = torch.where(present[:, None, None, None], image, 0.0)
        patches = visual.conv1(image).flatten(2).transpose(1, 2)
        class_token = self.class_token(index).expand(len(image), 1, -1)
        position = self.get_parameter(f"pos_{index + 1}")
        embedded: Tensor = visual.ln_pre(torch.cat([class_token, patches], dim=1) + position)
        return embedded

    def encode(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Run the tower.

        Args:
            inputs: float32 [B, 3, H, W] for RGB, depth, IR, normalized, then `present` [B, 3].

        Returns:
            Each modality's feature [B, 3, feature_width], neither normalized nor zeroed, and the
            last block's variances [B, 6, N, 2], by direction: of the modality that is asked (or of
            the one that asks, where that is absent), and of the one that asks.
        """
        *images, presence = inputs
        present = presence > 0.5
        streams = [self.embed(i, image, present[:, i]) for i, image in enumerate(images)]
        variances: list[Tensor] = []
        for index, block in enumerate(self.model.visual.transformer.blocks):
            hidden = [tokens + block.attn(block.ln_1(tokens)) for tokens in streams]
            normed = [block.ln_2(h) for h in hidden]
            streams = [h + block.mlp(y) for h, y in zip(hidden, normed, strict=True)]
            variances = []
            for receives, asked in DIRECTIONS:
                # What an absent modality receives is not read by anyone.
                added, variance = self.adapter(receives, index)(
                    normed[receives], normed[asked], present[:, asked]
                )
                streams[receives] = streams[receives] + added
                variances.append(variance)
        features = [
            self.model.visual.ln_post(tokens[:, 0]) @ self.get_parameter(f"visual_proj_{index + 1}")
            for index, tokens in enumerate(streams)
        ]
        return torch.stack(features, dim=1), torch.stack(variances, dim=1)

    def features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the classifier sees and what ReGrad weighs gradients by.

        Args:
            inputs: float32 [B, 3, H, W] for RGB, depth, IR, normalized, then `present` [B, 3].

        Returns:
            Features [B, 3, feature_width] of length 1, zero where the modality is absent, and the
            certainty of each class token [B, 3] in [0, 1] (`class_certainty`).
        """
        features, variances = self.encode(*inputs)
        present = inputs[-1] > 0.5
        return _unit(features, present), self.class_certainty(variances, present)

    def class_certainty(self, variances: Tensor, present: Tensor) -> Tensor:
        """Return how sure the last block is of each class token, [B, 3] in [0, 1]; no gradient.

        The certainty of the modality that was taken, mean over the two adapters by which the
        modality receives, as published. 0 where the modality itself is absent.

        Args:
            variances: Variances of the last block, as `encode` returns them.
            present: Present modalities, bool [B, 3].
        """
        taken = torch.exp(-self.config.exp_rate * variances.detach()[:, :, 0].amin(dim=-1))
        certainties = [
            torch.stack([taken[:, i] for i, (to, _) in enumerate(DIRECTIONS) if to == index])
            for index in range(len(MODALITIES))
        ]
        return torch.where(present, torch.stack(certainties, dim=2).mean(dim=0), 0.0)

    def certainty(self, variances: Tensor, present: Tensor) -> Tensor:
        """Return how sure the last block is of each modality, [B, 3] in [0, 1]; no gradient.

        The mean of exp(-exp_rate * variance) over tokens and over the three adapters that read the
        modality's tokens: its own and the two that ask it. All three read nothing but these tokens,
        so an absent neighbor does not matter. 0 where the modality itself is absent.

        Args:
            variances: Variances of the last block, as `encode` returns them.
            present: Present modalities, bool [B, 3].
        """
        certainty = torch.exp(-self.config.exp_rate * variances.detach()).mean(dim=2)
        certainties = []
        for index in range(len(MODALITIES)):
            asking = [i for i, (_, asked) in enumerate(DIRECTIONS) if asked == index]
            own = next(i for i, (receives, _) in enumerate(DIRECTIONS) if receives == index)
            by = [certainty[:, own, 1], *(certainty[:, i, 0] for i in asking)]
            certainties.append(torch.stack(by).mean(dim=0))
        return torch.where(present, torch.stack(certainties, dim=1), 0.0)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model; see `PublishedModule.forward`."""
        features, variances = self.encode(*inputs)
        present = inputs[-1] > 0.5
        logits = self.fc_all(_unit(features, present).flatten(1))
        return logits, self.certainty(variances, present)

    def deployed(self) -> nn.Module:
        """Return the same function rearranged for speed."""
        return DeployedMmdgpp(self).eval()


def _unit(features: Tensor, present: Tensor) -> Tensor:
    """Return features [B, 3, width] of length 1, zero where `present` [B, 3] is False."""
    features = features / features.norm(dim=-1, keepdim=True)
    return torch.where(present[:, :, None], features, 0.0)
