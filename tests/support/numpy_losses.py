"""Losses of SSP, ADP and MMDA (alignment, texts, routing) in NumPy, written from their equations.

Run `PYTHONPATH=tests python -m support.numpy_losses` to compare the project's losses with them on
seeded models; the largest relative errors are printed as a JSON line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf

from fasdk_engines.models.mmda.config import LAMBDA_INIT, MmdaConfig
from fasdk_engines.models.mmda.published import Mmda
from fasdk_engines.models.registry import get_family
from fasdk_engines.models.seeded import seeded_inputs
from fasdk_engines.training.alignment import Alignment, partners
from fasdk_engines.training.domain_prompts import DomainPrompts, templates
from fasdk_engines.training.prototypes import WEIGHT, Prototypes
from fasdk_engines.training.text import tokenize

from support.training_batch import DOMAINS, batch_of, task_of

Array = NDArray[np.float64]
CAPTURES = 6
LIVE = np.array([True, False, True, False, False, True])
OF_DOMAINS = np.array([0, 3, 1, 0, 1, 2])
SEED = 5


def log_softmax(x: Array) -> Array:
    """Return the logarithm of the softmax along the last axis."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def ssp(features: Array, present: Array, centers: Array, classes: NDArray[np.int64]) -> Array:
    """Return the cross-entropy over minus the distance to each prototype, [modalities].

    Args:
        features: [B, modalities, width].
        present: [B, modalities] of ones and zeros.
        centers: [modalities, classes, width].
        classes: [B].
    """
    found = []
    for m, of_modality in enumerate(centers):
        each = [
            -log_softmax(-np.linalg.norm(features[b, m] - of_modality, axis=1))[classes[b]]
            for b in np.flatnonzero(present[:, m])
        ]
        found.append(np.mean(each))
    return np.array(found)


def adp(
    features: Array, present: Array, texts: Array, scale: float, classes: NDArray[np.int64]
) -> Array:
    """Return the cross-entropy over scaled cosines to each class's text; arguments as in `ssp`."""
    found = []
    for m, of_modality in enumerate(texts):
        each = []
        for b in np.flatnonzero(present[:, m]):
            f = features[b, m]
            cosines = [f @ text / np.sqrt((f @ f) * (text @ text)) for text in of_modality]
            each.append(-log_softmax(scale * np.array(cosines))[classes[b]])
        found.append(np.mean(each))
    return np.array(found)


def soft_cross_entropy(logits: Array, targets: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy against 0.9 for the right class and 0.1 for the other."""
    wanted = np.where(np.arange(logits.shape[1]) == targets[:, None], 0.9, 0.1)
    return float(-(wanted * log_softmax(logits)).sum(axis=1).mean())


def nearest_logits(feature: Array, texts: Sequence[Array], scale: float) -> Array:
    """Return each class's greatest scaled cosine [B, classes]."""
    return np.array(
        [
            [
                max(scale * (f @ t) / (np.linalg.norm(f) * np.linalg.norm(t)) for t in of_class)
                for of_class in texts
            ]
            for f in feature
        ]
    )


@dataclass(frozen=True)
class MmdaLosses:
    """MMDA's losses behind its encoders, both experts of a token always used.

    Attributes:
        weights: State dict of adapter and further stages under the published names, float64.
        heads: Attention heads.
        depth: Alignment stages each way.
    """

    weights: Mapping[str, Array]
    heads: int
    depth: int

    def losses(
        self,
        encoded: Array,
        partner: NDArray[np.int64],
        texts: Sequence[Array],
        scale: float,
        targets: NDArray[np.int64],
    ) -> dict[str, float]:
        """Return the parts of the loss by name.

        Args:
            encoded: [B, 3, width], features of RGB, depth and IR.
            partner: [B], capture whose features stand for the domain.
            texts: Features of the texts of each class in logit order, [T, width].
            scale: Factor on the cosines.
            targets: [B], index of the right class.
        """
        fused, routing = self._fusion(encoded, encoded[partner])
        levels, text_levels = [fused], [list(texts)]
        for stage in range(self.depth):
            # A capture attends to itself; a class's texts attend to each other.
            rows = [self._refine(f"refine.{stage}", row[None]) for row in levels[-1]]
            routing += float(np.mean([loss for _, loss in rows]))
            levels.append(np.concatenate([x for x, _ in rows]))
            refined = [self._refine(f"refine.{stage}", text) for text in text_levels[-1]]
            routing += sum(loss for _, loss in refined)
            text_levels.append([x for x, _ in refined])
        for stage in reversed(range(self.depth)):
            rows = [self._refine(f"remapping.{stage}", row[None]) for row in levels[stage + 1]]
            routing += float(np.mean([loss for _, loss in rows]))
            levels.append(np.concatenate([x for x, _ in rows]) + levels[stage])
            text_levels.append(text_levels[stage])
        aligned = sum(
            soft_cross_entropy(nearest_logits(level, of_level, scale), targets)
            for level, of_level in zip(levels, text_levels, strict=True)
        )
        logits, loss = self._classifier(levels[-1])
        routing += loss
        read = 0.0
        for label, of_class in enumerate(texts):
            found, loss = self._classifier(of_class)
            read += soft_cross_entropy(found, np.full(len(found), label))
            routing += loss
        return {
            "classification": soft_cross_entropy(logits, targets),
            "alignment": aligned,
            "text": read,
            "routing": routing,
        }

    def _fusion(self, x: Array, partner: Array) -> tuple[Array, float]:
        own, domain = (self._layer_norm("fusion.ln1", v) for v in (x, partner))
        w = {n: self.weights[f"adapter.fusion.attn.{n}.weight"] for n in ("w_qs", "w_ks", "w_vs")}
        d = {n: self.weights[f"adapter.fusion.attn.{n}.weight"] for n in ("w_dqs", "w_dks")}
        vectors = [
            self.weights[f"adapter.fusion.attn.lambda_{n}"] for n in ("q1", "k1", "q2", "k2")
        ]
        share = np.exp(vectors[0] @ vectors[1]) - np.exp(vectors[2] @ vectors[3]) + LAMBDA_INIT
        width = x.shape[-1]
        first = self._weights_of(own @ w["w_qs"].T, own @ w["w_ks"].T, width)
        second = self._weights_of(domain @ d["w_dqs"].T, domain @ d["w_dks"].T, width)
        mixed = self._joined((first - share * second) @ self._split(own @ w["w_vs"].T))
        mixed = self._rms_norm(mixed, self.weights["adapter.fusion.attn.ln.weight"], 1e-5)
        attended = x + (1.0 - LAMBDA_INIT) * mixed
        refined, loss = self._mixture("fusion.net", self._layer_norm("fusion.ln2", attended))
        joined = (x + attended + refined).reshape(len(x), -1)
        return self._linear("fusion.proj", joined), loss

    def _refine(self, name: str, x: Array) -> tuple[Array, float]:
        """Refine tokens [N, width] that attend to each other; experts see each by itself."""
        name = f"u_align.{name}"
        normed = self._layer_norm(f"{name}.ln1", x)
        projected = normed @ self.weights[f"adapter.{name}.attn.in_proj_weight"].T
        projected = (projected + self.weights[f"adapter.{name}.attn.in_proj_bias"])[None]
        query, key, value = np.split(projected, 3, axis=-1)
        weights = self._weights_of(query, key, x.shape[1] // self.heads)
        mixed = self._joined(weights @ self._split(value))[0]
        attended = x + self._linear(f"{name}.attn.out_proj", mixed)
        normed = self._layer_norm(f"{name}.ln2", attended)
        refined, loss = self._mixture(f"{name}.to_feature", normed[:, None])
        return x + attended + refined[:, 0], loss

    def _classifier(self, x: Array) -> tuple[Array, float]:
        mixed, loss = self._mixture("classifier.net", x[:, None])
        return self._linear("classifier.proj", mixed[:, 0]), loss

    def _mixture(self, name: str, x: Array) -> tuple[Array, float]:
        """Return both experts' weighed sum for sequences [S, N, width], and the routing loss."""
        name = f"adapter.{name}"
        logits = x @ self.weights[f"{name}.gate.to_gates.weight"].T
        gates = np.exp(log_softmax(logits))
        count = gates.shape[-1]
        outputs = [self._expert(f"{name}.experts.experts.{index}", x) for index in range(count)]
        best = np.argsort(-gates, axis=-1)[..., :2]
        result = np.zeros_like(x)
        chosen = np.zeros_like(gates)
        for s, n in np.ndindex(*x.shape[:2]):
            pair = best[s, n]
            shares = gates[s, n, pair] / gates[s, n, pair].sum()
            result[s, n] = sum(g * outputs[i][s, n] for g, i in zip(shares, pair, strict=True))
            chosen[s, n, pair[0]] = 1.0
        balance = float((chosen.mean(axis=1) * gates.mean(axis=1)).mean()) * count**2
        size = float((np.log(np.exp(logits).sum(axis=-1)) ** 2).mean())
        return result, 1e-2 * balance + 1e-3 * size

    def _expert(self, name: str, x: Array) -> Array:
        if f"{name}.const" in self.weights:
            return np.broadcast_to(self.weights[f"{name}.const"], x.shape)
        net = {n.removeprefix(f"{name}.net."): v for n, v in self.weights.items() if name in n}
        normed = self._rms_norm(x, net["0.weight"], 1e-6)
        value, gate = np.split(normed @ net["1.weight"].T + net["1.bias"], 2, axis=-1)
        hidden = value * (0.5 * gate * (1.0 + erf(gate / np.sqrt(2.0)))) * net["2.mult_bias"]
        return hidden @ net["3.weight"].T + net["3.bias"]

    def _weights_of(self, query: Array, key: Array, width: int) -> Array:
        scores = self._split(query) @ self._split(key).swapaxes(2, 3) / np.sqrt(width)
        return np.exp(log_softmax(scores))

    def _split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def _joined(self, x: Array) -> Array:
        return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"adapter.{name}.weight"].T + self.weights[f"adapter.{name}.bias"]

    def _layer_norm(self, name: str, x: Array) -> Array:
        centered = x - x.mean(axis=-1, keepdims=True)
        normed = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
        return (
            normed * self.weights[f"adapter.{name}.weight"] + self.weights[f"adapter.{name}.bias"]
        )

    @staticmethod
    def _rms_norm(x: Array, gain: Array, eps: float) -> Array:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * gain


def ssp_figures() -> dict[str, tuple[float, float]]:
    """Return each SSP loss of a seeded MMDG: the project's and NumPy's."""
    torch.manual_seed(SEED)
    family = get_family("mmdg")
    config = family.configs["tiny"]
    module = family.build(config).eval()
    method = Prototypes(task_of(family, config, module))
    method.prototypes = torch.randn(3, 1 + len(DOMAINS), module.config.width)
    images = list(seeded_inputs(CAPTURES, config.image_size, SEED).values())
    batch = batch_of(images, LIVE, OF_DOMAINS, torch.float32)
    with torch.no_grad():
        found = method.losses(batch)
        features = module.features(*batch.arguments)[0].double().numpy()
    classes = np.where(LIVE, 0, 1 + OF_DOMAINS)
    centers = method.prototypes.double().numpy()
    expected = WEIGHT * ssp(features, np.ones((CAPTURES, 3)), centers, classes)
    names = ("rgb", "depth", "ir")
    return {f"SSP {n}": (float(found[n]), float(expected[i])) for i, n in enumerate(names)}


def adp_figures() -> dict[str, tuple[float, float]]:
    """Return each ADP loss of a seeded MMDG++, a modality absent here and there."""
    torch.manual_seed(SEED)
    family = get_family("mmdgpp")
    config = family.configs["tiny"]
    module = family.build(config).eval()
    method = DomainPrompts(task_of(family, config, module))
    method.extra.eval()
    images = list(seeded_inputs(CAPTURES, config.image_size, SEED).values())
    present = np.ones((CAPTURES, 3), np.float32)
    present[1, 1] = present[4, 2] = present[2, 2] = 0.0
    batch = batch_of(images, LIVE, OF_DOMAINS, torch.float32, present)
    with torch.no_grad():
        found = method.losses(batch)
        features = module.features(*batch.arguments)[0].double().numpy()
        texts = np.array(
            [
                [class_text(method, m, c) for c in range(1 + len(DOMAINS))]
                for m in range(len(family.modalities))
            ]
        )
    scale = math.exp(method.extra.get_parameter("model.logit_scale").item())
    expected = adp(features, present, texts, scale, np.where(LIVE, 0, 1 + OF_DOMAINS))
    names = ("rgb", "depth", "ir")
    return {f"ADP {n}": (float(found[n]), float(expected[i])) for i, n in enumerate(names)}


def class_text(method: DomainPrompts, modality: int, kind: int) -> Array:
    """Return the mean feature [width] of a class's templates, each encoded by itself."""
    said = templates(method.task.family.modalities[modality])
    prompt = method.extra.get_parameter(f"prompts_{modality + 1}")[None, kind]
    each = [
        method.encoder(tokenize([text], method.encoder.tokenizer), prompt)[0].double().numpy()
        for text in (said.attack if kind else said.live)
    ]
    return np.asarray(np.mean(each, axis=0))


def mmda_figures() -> dict[str, tuple[float, float]]:
    """Return each part of a seeded MMDA's loss: 7 stages each way, routing forced."""
    torch.manual_seed(SEED)
    family = get_family("mmda")
    config = family.configs["tiny"].model_copy(
        update={"align_depth": 7, "attention_dropout": 0.0, "threshold": 0.0}
    )
    module = family.build(config)
    if not (isinstance(module, Mmda) and isinstance(config, MmdaConfig)):
        raise TypeError(f"expected Mmda, found {type(module).__name__}")
    method = Alignment(task_of(family, config, module, SEED))
    module.double().train()
    method.extra.double().train()
    images = list(seeded_inputs(CAPTURES, config.image_size, SEED).values())
    batch = batch_of(images, LIVE, OF_DOMAINS, torch.float64)
    with torch.no_grad():
        found = method.losses(batch)
        encoded = module.encode(*batch.arguments).numpy()
        texts = [text.numpy() for text in (method.encoder(tokens) for tokens in method.texts)]
    generator = torch.Generator().manual_seed(SEED)
    partner = partners(torch.from_numpy(OF_DOMAINS), generator).numpy()
    weights = {**module.state_dict(), **method.research()}
    reference = MmdaLosses(
        {name: value.double().numpy() for name, value in weights.items()},
        config.attention_heads,
        config.align_depth,
    )
    scale = math.exp(method.extra.get_parameter("model.logit_scale").item())
    expected = reference.losses(encoded, partner, texts, scale, LIVE.astype(np.int64))
    return {f"MMDA {name}": (float(found[name]), value) for name, value in expected.items()}


def relative_errors() -> dict[str, float]:
    """Return the relative error of every loss by name."""
    figures = {**ssp_figures(), **adp_figures(), **mmda_figures()}
    return {name: abs(found / expected - 1.0) for name, (found, expected) in figures.items()}


if __name__ == "__main__":
    print(json.dumps(relative_errors()))
