"""Summary of a manifest for a person: what the build took the model to be."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from fasdk.capture import Modality
from fasdk.preprocess import CropRule, IrComposite
from fasdk.preprocess.units import units_of

if TYPE_CHECKING:
    from fasdk.bundle.manifest import Manifest
    from fasdk.preprocess import PreprocessSpec

# Fields of a preprocessing that have words of their own here, or that no network depends on.
_SAID = frozenset(
    [
        *("width", "height", "crop", "crop_scale", "channel_order", "depth", "ir_composite"),
        *("mean", "std", "missing_value"),
    ]
)
_ANSWERS = {
    "logits": "logits",
    "probabilities": "probabilities",
    "logit": "one logit",
    "probability": "one probability",
}


def summarize(manifest: Manifest) -> dict[str, str]:
    """Return what to compare with the model's training code, by topic and in one line each.

    An input of every modality (size, crop, order of the planes, units), the answer, the class that
    counts as live, and a numbered note for each thing the build converted or assumed.
    """
    config = manifest.model.config
    described = config.get("inputs")  # of an imported ONNX file alone
    lines = {}
    for modality in manifest.modalities:
        line = _input(modality, manifest.inputs[modality])
        if isinstance(described, dict) and modality.value in described:
            line += _place(described[modality.value])
        optional = "" if modality in manifest.required else ", may be absent"
        lines[f"input {modality.value}"] = line + optional
    lines["answer"] = _answer(manifest, config)
    lines["live class"] = (
        f"{manifest.live_index} ({manifest.labels[manifest.live_index]!r}) of "
        f"{', '.join(manifest.labels)}"
    )
    lines |= {f"note {n}": note for n, note in enumerate(manifest.provenance.notes, 1)}
    return lines


def _input(modality: Modality, spec: PreprocessSpec) -> str:
    parts = [f"{spec.width}x{spec.height}"]
    if spec.crop is CropRule.FACE:
        parts.append("face box" + ("" if spec.crop_scale == 1.0 else f" x {spec.crop_scale:g}"))
    else:
        parts.append(f"crop {spec.crop.value}")
    if modality is Modality.RGB:
        parts.append(f"{spec.channel_order.value.upper()} planes")
    if spec.depth is not None:
        depth = spec.depth
        parts.append(f"{depth.near_mm} to {depth.far_mm} mm, {depth.polarity.value}")
    if spec.ir_composite is not IrComposite.PLAIN:
        parts.append(f"{spec.ir_composite.value}, drawn on the host")
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if name not in _SAID and value != field.default:
            parts.append(f"{name} {value.value if isinstance(value, Enum) else value}")
    return f"{', '.join(parts)}, units {units_of(spec).name}"


def _place(described: dict[str, Any]) -> str:
    """Return how an input of an imported file is called and laid out, as far as was stated."""
    parts = [f"as {described['graph_input']!r}"] if described.get("graph_input") else []
    if described.get("layout"):
        parts.append(str(described["layout"]).upper())
    if described.get("planes"):
        parts.append(f"{described['planes']} plane" + ("" if described["planes"] == 1 else "s"))
    return f", {', '.join(parts)}" if parts else ""


def _answer(manifest: Manifest, config: dict[str, Any]) -> str:
    output = config.get("output")
    if not isinstance(output, dict):
        return f"{len(manifest.labels)} logits"
    kind = str(output.get("kind"))
    if kind in ("logit", "probability"):
        text = f"{_ANSWERS[kind]}, of {manifest.labels[1]!r}"
    else:
        text = f"{len(manifest.labels)} {_ANSWERS.get(kind, kind)}"
    if output.get("name"):
        text += f" in {output['name']!r}"
    if output.get("reduction"):
        text += f", the {output['reduction']} of a map"
    return text
