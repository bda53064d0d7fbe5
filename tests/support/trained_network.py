"""A small ONNX network that is trained on labeled captures in given units, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from fasdk.capture import Capture, Modality
from fasdk.preprocess import ChannelOrder, CropRule, PreprocessSpec, to_tensor
from fasdk.preprocess.units import UNITS
from fasdk_calibration.datasets import Label, LabeledCapture, write_captures

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 32
_CHANNELS = 16
_BRANCH = """
  a{n} = Conv <kernel_shape = [3, 3], strides = [2, 2]> ({name}, kernel{n})
  b{n} = BatchNormalization (a{n}, gain{n}, bias{n}, mean{n}, variance{n})
  c{n} = Relu (b{n})
  d{n} = GlobalAveragePool (c{n})
  e{n} = Flatten (d{n})
"""


def _graph(names: Sequence[str]) -> str:
    inputs = ", ".join(f"float[N,3,32,32] {name}" for name in names)
    branches = "".join(_BRANCH.format(n=n, name=name) for n, name in enumerate(names))
    pooled = ", ".join(f"e{n}" for n in range(len(names)))
    return (
        f'<ir_version: 8, opset_import: ["" : 17]> trained ({inputs}) => (float[N,2] answer) '
        f"{{ {branches} all = Concat <axis = 1> ({pooled}) f = MatMul (all, head) "
        "answer = Add (f, offset) }"
    )


NAMED = {units.name: units for units in UNITS}


def spec(units: str, order: ChannelOrder = ChannelOrder.RGB) -> PreprocessSpec:
    """Return the whole frame at the network's size in given units."""
    plain = PreprocessSpec(
        width=SIZE,
        height=SIZE,
        crop=CropRule.FRAME,
        channel_order=order,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return NAMED[units].applied(plain)


def colored_captures(count: int, seed: int = 0, *, infrared: bool = False) -> list[LabeledCapture]:
    """Return captures of as many people; the bona fide are a little redder than the attacks.

    Args:
        count: Number of captures; every second one is bona fide.
        seed: Seed of the generator.
        infrared: Whether they hold infrared, too, in which the bona fide are a little brighter.
    """
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        bona_fide = index % 2 == 0
        field = rng.uniform(60.0, 190.0, (8, 8, 3)).repeat(6, axis=0).repeat(6, axis=1)
        side = 1.0 if bona_fide else -1.0
        # A swap of red and blue must not look like a swap of the classes.
        tint = np.array([14.0, -14.0, 0.0]) * side + [20.0, 0.0, -20.0]
        noise = rng.normal(0.0, 8.0, field.shape)
        frame = np.clip(field + tint + rng.normal(0.0, 8.0, 3) + noise, 0, 255).astype(np.uint8)
        frames = {"rgb": frame}
        if infrared:
            dark = rng.uniform(20.0, 80.0, (8, 8)).repeat(6, axis=0).repeat(6, axis=1)
            frames["ir"] = np.clip(dark + 9.0 * side + 30.0, 0, 255).astype(np.uint8)
        made.append(
            LabeledCapture(
                capture=Capture(**frames),
                id=f"{seed}-{index}",
                label=Label.BONA_FIDE if bona_fide else Label.ATTACK,
                species="bona fide" if bona_fide else "print",
                subject=f"{seed}-{index}",
                domain="made up",
                presentation=f"{seed}-{index}",
            )
        )
    return made


def trained_network(
    units: str = "level/255",
    order: ChannelOrder = ChannelOrder.RGB,
    live: int = 1,
    modalities: Sequence[Modality] = (Modality.RGB,),
) -> onnx.ModelProto:
    """Return a network whose batch norms hold the statistics of `colored_captures`.

    Args:
        units: Name of the units it is trained on.
        order: Order of the planes it is trained on.
        live: Index of the bona fide logit.
        modalities: Modalities of its inputs; a single one is called image, several x0, x1 and on.
    """
    captures = colored_captures(60, seed=1, infrared=Modality.IR in modalities)
    rng = np.random.default_rng(3)
    scale = np.array(NAMED[units].std).mean() / 64.0  # so that its output is about 1
    weights: dict[str, NDArray[np.float64]] = {}
    pooled = []
    for n, modality in enumerate(modalities):
        plane_order = order if modality is Modality.RGB else ChannelOrder.RGB
        described = spec(units, plane_order)
        x = np.stack([to_tensor(c.capture.frame(modality), None, described) for c in captures])
        kernel = rng.standard_normal((_CHANNELS, 3, 3, 3)) * scale / 5.0
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
        first = np.einsum("ncyxij,ocij->noyx", windows, kernel, optimize=True)
        mean, variance = first.mean((0, 2, 3)), first.var((0, 2, 3))
        root = np.sqrt(variance + 1e-5)[:, None, None]
        pooled.append(np.maximum((first - mean[:, None, None]) / root, 0.0).mean((2, 3)))
        weights |= {f"kernel{n}": kernel, f"mean{n}": mean, f"variance{n}": variance}
        weights |= {f"gain{n}": np.ones(_CHANNELS), f"bias{n}": np.zeros(_CHANNELS)}
    features = np.concatenate(pooled, axis=1)
    truth = np.array([1.0 if c.is_bona_fide else -1.0 for c in captures])
    centered = features - features.mean(0)
    ridge = centered.T @ centered + 1e-3 * np.eye(features.shape[1])
    direction = 4.0 * np.linalg.solve(ridge, centered.T @ truth)
    sides = np.array([-0.5, 0.5]) if live == 1 else np.array([0.5, -0.5])
    weights |= {
        "head": direction[:, None] * sides,
        "offset": -(features.mean(0) @ direction) * sides,
    }
    names = ["image"] if len(modalities) == 1 else [f"x{n}" for n in range(len(modalities))]
    return with_weights(_graph(names), **weights)


def with_weights(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """Return a graph in ONNX's text form with float32 weights."""
    model = onnx.parser.parse_model(text)
    for name, value in weights.items():
        tensor = numpy_helper.from_array(np.asarray(value, np.float32), name)
        model.graph.initializer.append(tensor)
    return model


@dataclass(frozen=True)
class Given:
    """Files of one build.

    Attributes:
        onnx: The network.
        toml: Its description.
        captures: List of labeled captures.
    """

    onnx: Path
    toml: Path
    captures: Path


TOML = """
name = "colors"
published_in = "made up"
modalities = ["rgb"]
labels = ["attack", "live"]
live_index = 1

[inputs.rgb]
graph_input = "image"
width = 32
height = 32
crop = "frame"
channel_order = "rgb"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]

[output]
kind = "logits"
"""


def write_files(
    folder: Path, model: onnx.ModelProto, description: str = TOML, *, infrared: bool = False
) -> Given:
    """Write a network, its description and a list of 40 labeled captures."""
    given = Given(folder / "colors.onnx", folder / "colors.toml", folder / "captures.jsonl")
    given.onnx.write_bytes(model.SerializeToString())
    given.toml.write_text(description)
    write_captures(colored_captures(40, seed=2, infrared=infrared), folder, "captures")
    return given
