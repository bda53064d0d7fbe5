"""MMDA's training: alignment of captures with texts at every level of U-DSA (RS2).

The fused feature goes down through stages and up again, the texts of live and of attack go down
with it; at every level the class's logit is the greatest logit_scale * cos(feature, text) over its
texts. Choices made here:

- The published soft targets, 0.9 of the one-hot label plus 0.1, sum to 1.1. Those used are 0.9 and
  0.1, as the published ones for texts are: the optimum moves by 0.01, the loss shrinks by a tenth.
- The domain partner is a random other capture of the domain in the batch, not always its first.
- A capture attends to itself in every stage, as it will when deployed, not to its batch-mates;
  texts attend over the texts of their class, as published.

Routing to the second expert is random in training, as published. The texts are fasdk's own, as
many as published: 24 of attacks and 23 of live.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.mmda.published import Mmda, RefineLayer
from fasdk_engines.training.data import Batch
from fasdk_engines.training.method import CLASSIFICATION, Method, Task
from fasdk_engines.training.sentences import Sentences
from fasdk_engines.training.text import TextEncoder

TRUE, FALSE = 0.9, 0.1  # soft targets of the right and the wrong class
ATTACK_TEXTS = (
    "a faked face before the camera",
    "a printed picture of a person",
    "a face on the screen of a telephone",
    "a video of somebody played back",
    "a mask worn over the head",
    "somebody wears the face of another person",
    "paper and not skin",
    "a flat sheet without relief",
    "a face without its own shape",
    "glossy paper reflects the light",
    "the edge of a tablet is seen",
    "eyes are cut out of a print",
    "silicone imitates skin",
    "a rigid mask that cannot smile",
    "the head of a doll instead of a person",
    "glasses with printed eyes",
    "paint that imitates another person",
    "a wig and a mask hide the person",
    "cold material where skin should be warm",
    "infrared light falls on ink",
    "somebody tries to deceive the sensor",
    "a presentation that must be refused",
    "an impostor holds up a picture",
    "an attack is seen",
)
LIVE_TEXTS = (
    "a living person before the camera",
    "the face of a person who is present",
    "a real person looks into the sensor",
    "this face belongs to somebody who is here",
    "skin and not paper",
    "a face with its own shape",
    "a nose that stands out from the cheeks",
    "eyes that look and blink",
    "warm skin in infrared light",
    "hair and ears as they grow",
    "a person who wants to be let in",
    "a person with their own glasses",
    "a bearded person without a mask",
    "light falls softly on skin",
    "depth that follows the form of a head",
    "a mouth that could speak",
    "somebody stands at the door",
    "neck and shoulders belong to the face",
    "nothing covers the face",
    "no attack is seen",
    "a presentation that may be trusted",
    "a genuine user of the device",
    "a true presentation",
)


def level_logits(feature: Tensor, texts: Sequence[Tensor], scale: Tensor) -> Tensor:
    """Return each class's greatest scaled cosine.

    Args:
        feature: float [B, width], features of captures.
        texts: Text features of each class, float [T, width], in logit order.
        scale: Factor on the cosines, a scalar.

    Returns:
        [B, classes].
    """
    feature = functional.normalize(feature, dim=-1)
    return torch.stack(
        [(scale * feature @ functional.normalize(t, dim=-1).T).amax(1) for t in texts], dim=1
    )


def soft_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of logits [B, 2] against `TRUE` and `FALSE`; targets int64 [B]."""
    chosen = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return functional.cross_entropy(logits, FALSE + (TRUE - FALSE) * chosen)


def partners(domains: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each capture of a batch another one of its domain at random, or itself if alone.

    Args:
        domains: Domain index of each capture, int64 [B], on the CPU.
        generator: Random number generator.
    """
    chance = torch.rand(len(domains), len(domains), generator=generator)
    fits = domains[:, None] == domains[None, :]
    # Itself is chosen only where no other fits.
    chance = torch.where(fits, chance + 1.0, 0.0)
    chance.fill_diagonal_(0.5)
    return chance.argmax(1)


class Alignment(Method):
    """MMDA's whole training: classification of captures and texts, RS2 at every level of U-DSA.

    Attributes:
        encoder: Text tower with its tokenizer.
        texts: Tokens of each class's texts, in logit order.
    """

    name = "mmda"
    families = ("mmda",)
    reads_sentences = True
    coupled = "domain partners and the balance of the experts are of one part"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        module = task.module
        if not isinstance(module, Mmda):
            raise TypeError(f"expected Mmda, found {type(module).__name__}")
        config = module.config
        file = task.sentences
        said = Sentences(LIVE_TEXTS, ATTACK_TEXTS) if file is None else file.shared(self.name)
        texts = [*said.attack, *said.live]
        self._module = module
        self.encoder = TextEncoder(texts, config.feature_width, task.text_weights, task.vocabulary)
        self.texts = [
            self.encoder.tokens(kind)
            for kind in sorted_by_label(said.attack, said.live, task.family.live_index)
        ]
        # The outermost stage each way is the module's own.
        further = config.align_depth - 1
        self.extra.add_module("model", self.encoder.tower)
        for name in ("refine", "remapping"):
            self.extra.add_module(name, nn.ModuleList(RefineLayer(config) for _ in range(further)))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of classifier, alignment, texts and routing."""
        adapter = self._module.adapter
        encoded = self._module.encode(*batch.arguments)
        partner = partners(batch.domains.cpu(), self.task.generator).to(encoded.device)
        fused, routing = adapter.fusion(encoded, encoded[partner])
        texts = [self.encoder(tokens)[None] for tokens in self.texts]
        levels, text_levels, more = self._levels(fused, texts)
        logits, last = adapter.classifier(levels[-1])
        routing = routing + more + last
        scale = self.encoder.tower.logit_scale.exp()
        aligned = [
            soft_loss(
                level_logits(feature[:, 0], [text[0] for text in text_level], scale), batch.targets
            )
            for feature, text_level in zip(levels, text_levels, strict=True)
        ]
        read: list[Tensor] = []
        for label, text in enumerate(texts):
            found, extra = adapter.classifier(text.transpose(0, 1))
            targets = torch.full((len(found),), label, device=found.device)
            read.append(soft_loss(found, targets))
            routing = routing + extra
        return {
            CLASSIFICATION: soft_loss(logits, batch.targets),
            "alignment": torch.stack(aligned).sum(),
            "text": torch.stack(read).sum(),
            "routing": routing,
        }

    def _levels(
        self, fused: Tensor, texts: list[Tensor]
    ) -> tuple[list[Tensor], list[list[Tensor]], Tensor]:
        """Return features [B, 1, width] and texts [1, T, width] by level, and the routing loss."""
        down, up = self._stages("refine"), self._stages("remapping")
        levels, text_levels = [fused], [texts]
        routing = fused.new_zeros(())
        for stage in down:
            feature, extra = stage(levels[-1])
            refined = [stage(text) for text in text_levels[-1]]
            routing = routing + extra + sum(loss for _, loss in refined)
            levels.append(feature)
            text_levels.append([text for text, _ in refined])
        for level in range(len(down), 0, -1):
            # What goes up is refined from the way down, not from the level below it.
            feature, extra = up[level - 1](levels[level])
            routing = routing + extra
            levels.append(feature + levels[level - 1])
            text_levels.append(text_levels[level - 1])
        return levels, text_levels, routing

    def _stages(self, name: str) -> list[nn.Module]:
        outermost = self._module.adapter.u_align.get_submodule(f"{name}.0")
        return [outermost, *self.extra.get_submodule(name).children()]

    def research(self) -> dict[str, Tensor]:
        """Return the text tower and the further stages under the published names."""
        found = {}
        for name, value in self.extra.state_dict().items():
            head, _, tail = name.partition(".")
            if head == "model":
                found[name] = value
            else:
                stage, _, rest = tail.partition(".")
                found[f"adapter.u_align.{head}.{int(stage) + 1}.{rest}"] = value
        return found


def sorted_by_label(
    attack: Sequence[str], live: Sequence[str], live_index: int
) -> list[Sequence[str]]:
    """Return both classes' texts in logit order."""
    return [attack, live] if live_index == 1 else [live, attack]
