"""Crops of random frames by every rule, held against OpenCV.

    python -m support.crop_rules [--cases N]

Prints one JSON line: cases and worst difference in levels of every rule, by the native pass and by
NumPy. OpenCV is called in the published pipelines' order: crop, copyMakeBorder, resize,
copyMakeBorder; and remap at the 32nds of a pixel to which warpAffine rounds up to OpenCV 4.10,
whose own answers `warp_affine_4_10.json` keeps as digests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fasdk.capture import FaceBox
from fasdk.preprocess import (
    Border,
    ChannelOrder,
    CropBounds,
    CropRule,
    CropShape,
    DepthEncoding,
    Fit,
    Implementation,
    Interpolation,
    PreprocessSpec,
    depth_to_8bit,
    implementation,
    to_tensor,
)

from support.opencv_warp import fixed_point_warp

DEPTH = DepthEncoding(near_mm=400, far_mm=2000, polarity="near-bright")
BORDERS = {
    Border.CONSTANT: cv2.BORDER_CONSTANT,
    Border.REPLICATE: cv2.BORDER_REPLICATE,
    Border.REFLECT: cv2.BORDER_REFLECT,
    Border.REFLECT_101: cv2.BORDER_REFLECT_101,
}
DIGESTS = Path(__file__).with_name("warp_affine_4_10.json")
CASES_A_DIGEST = 100


@dataclass(frozen=True)
class Agreement:
    """How a rule agrees with OpenCV.

    Attributes:
        cases: Random cases.
        worst: Greatest difference of a level.
    """

    cases: int
    worst: int


@dataclass(frozen=True)
class Case:
    """A frame, where the face is, and the rule; levels are not normalized."""

    frame: NDArray[Any]
    face: FaceBox
    landmarks: NDArray[np.float32] | None
    spec: PreprocessSpec

    @property
    def levels(self) -> NDArray[np.uint8]:
        """The frame in 8 bits."""
        return self.frame if self.spec.depth is None else depth_to_8bit(self.frame, self.spec.depth)

    @property
    def border(self) -> dict[str, Any]:
        """OpenCV's arguments for pixels outside."""
        spec = self.spec
        return {"borderType": BORDERS[spec.border], "value": (float(spec.border_level),) * 4}

    def tensor(self, using: Implementation) -> NDArray[np.float32]:
        """Return what fasdk makes of it."""
        return to_tensor(self.frame, self.face, self.spec, landmarks=self.landmarks, using=using)


def whole_frame(case: Case) -> NDArray[np.uint8]:
    """Return the levels of the frame."""
    return case.levels


def shifted_square(case: Case) -> NDArray[np.uint8]:
    """Return the square of Silent-Face's rule: enlarged less at most, moved inside."""
    height, width = case.levels.shape[:2]
    face, scale = case.face, case.spec.crop_scale
    side = max(face.width, face.height)
    side_px = side * min((height - 1) / side, (width - 1) / side, scale)
    edges = []
    for start, size, last in ((face.x, face.width, width - 1), (face.y, face.height, height - 1)):
        middle = size / 2 + start
        low, high = middle - side_px / 2, middle + side_px / 2
        if low < 0:
            low, high = 0.0, high - low
        if high > last:
            low, high = low - (high - last), float(last)
        edges.append((int(low), int(high)))
    (left, right), (top, bottom) = edges
    return case.levels[top : bottom + 1, left : right + 1]


def _rectangle(case: Case) -> tuple[int, int, int, int]:
    """Return left, top, width, height of the enlarged box, wherever it lies."""
    face, scale = case.face, case.spec.crop_scale
    width, height = face.width, face.height
    if case.spec.crop_shape is CropShape.SQUARE:
        width = height = max(width, height)
    left = int(face.x + face.width / 2 - width * scale / 2)
    top = int(face.y + face.height / 2 - height * scale / 2)
    return left, top, max(1, int(width * scale)), max(1, int(height * scale))


def clipped(case: Case) -> NDArray[np.uint8]:
    """Return what of the enlarged box lies in the frame."""
    left, top, width, height = _rectangle(case)
    return case.levels[max(top, 0) : top + height, max(left, 0) : left + width]


def padded(case: Case) -> NDArray[np.uint8]:
    """Return the enlarged box, with copyMakeBorder for what lies outside the frame."""
    left, top, width, height = _rectangle(case)
    frame_height, frame_width = case.levels.shape[:2]
    return cv2.copyMakeBorder(
        np.ascontiguousarray(clipped(case)),
        max(0, -top),
        max(0, top + height - frame_height),
        max(0, -left),
        max(0, left + width - frame_width),
        **case.border,
    )


def fitted(crop: Callable[[Case], NDArray[np.uint8]], case: Case) -> NDArray[np.uint8]:
    """Return the resized crop, letterboxed where the spec says so."""
    spec, image = case.spec, np.ascontiguousarray(crop(case))
    area = spec.interpolation is Interpolation.AREA
    how = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    if spec.fit is Fit.STRETCH:
        return cv2.resize(image, (spec.width, spec.height), interpolation=how)
    ratio = min(spec.width / image.shape[1], spec.height / image.shape[0])
    exact = image.shape[1] * ratio, image.shape[0] * ratio
    width, height = (
        max(1, round(side) if spec.fit is Fit.LETTERBOX else int(side)) for side in exact
    )
    resized = cv2.resize(image, (width, height), interpolation=how)
    across, down = spec.width - width, spec.height - height
    return cv2.copyMakeBorder(
        resized, down // 2, down - down // 2, across // 2, across - across // 2, **case.border
    )


def aligned(case: Case) -> NDArray[np.uint8]:
    """Return the aligned face by OpenCV's fixed-point interpolation."""
    spec, ((a, b, c), (d, e, f)) = case.spec, alignment_matrix(case).tolist()
    by = 1.0 / (a * e - b * d)  # inverted as warpAffine does it
    a, b, d, e = e * by, b * -by, d * -by, a * by
    to_image = (a, b, -a * c - b * f, d, e, -d * c - e * f)
    size, level = (spec.width, spec.height), spec.border_level
    return fixed_point_warp(case.levels, to_image, size, BORDERS[spec.border], level)


def warp_affine(case: Case) -> NDArray[np.uint8]:
    """Return what `cv2.warpAffine` makes of it; in fixed point up to OpenCV 4.10 alone."""
    spec = case.spec
    return cv2.warpAffine(
        np.ascontiguousarray(case.levels),
        alignment_matrix(case),
        (spec.width, spec.height),
        flags=cv2.INTER_LINEAR,
        borderMode=BORDERS[spec.border],
        borderValue=(float(spec.border_level),) * 4,
    )


def alignment_matrix(case: Case) -> NDArray[np.float64]:
    """Return float64 [2, 3], from frame to tensor, by the library's own least squares.

    OpenCV is asked for the same transform to the bit; `test_alignment.py` holds the transform
    itself against scikit-image's.
    """
    from fasdk.preprocess.alignment import similarity

    assert case.landmarks is not None
    assert case.spec.landmark_positions is not None
    used = [i for i, position in enumerate(case.spec.landmark_positions) if position is not None]
    points = [tuple(map(float, case.landmarks[i])) for i in used]
    positions = [p for p in case.spec.landmark_positions if p is not None]
    return np.array(similarity(points, positions)).reshape(2, 3)


Draw = np.random.RandomState  # its stream never changes, so digests of other machines hold


def _frame(draw: Draw, width: int, height: int, kind: int) -> NDArray[Any]:
    """Return color, gray or depth: plain, or a view backwards or of every other pixel."""
    shape = (height, width, 3) if kind == 0 else (height, width)
    steps = tuple(int(draw.choice([1, 1, 1, -1, 2])) for _ in shape)
    stored = tuple(abs(step) * size for step, size in zip(steps, shape, strict=True))
    frame = draw.randint(0, 2500 if kind == 2 else 256, stored)
    view = frame.astype(np.uint16 if kind == 2 else np.uint8)[
        tuple(slice(None, None, s) for s in steps)
    ]
    assert view.shape == shape
    return view


def _face(draw: Draw, width: int, height: int) -> FaceBox:
    """Return a box in the frame, often at its edge."""
    w, h = int(draw.randint(1, width + 1)), int(draw.randint(1, height + 1))
    x, y = int(draw.randint(0, width - w + 1)), int(draw.randint(0, height - h + 1))
    x, y = (x if draw.rand() < 0.6 else 0), (y if draw.rand() < 0.6 else height - h)
    return FaceBox(x, y, w, h)


def _case(draw: Draw, number: int, **rule: Any) -> Case:
    width, height, to_width, to_height = (int(v) for v in draw.randint(1, 90, 4))
    kind = number % 3
    frame, face = _frame(draw, width, height, kind), _face(draw, width, height)
    relation = number // 3 % 4
    if relation == 0:
        to_width = to_height = 1 + to_width % 40
    elif relation == 1:  # the crop's own size, half or a third of it, twice it, and the like
        side = max(face.width, face.height)
        to_width, to_height = max(1, side // (1 + number % 4)), max(1, side // (1 + number % 3))
    elif relation == 2:
        to_width, to_height = width, 2 * height
    scale = 1.0 if draw.rand() < 0.3 else float(draw.uniform(0.3, 4.0))
    shape = CropShape.SQUARE if draw.rand() < 0.5 else CropShape.BOX
    level = int(draw.randint(0, 256))
    given: dict[str, Any] = {
        "crop": CropRule.FACE,
        "crop_scale": scale,
        "crop_shape": shape,
        "width": to_width,
        "height": to_height,
        "channel_order": ChannelOrder.BGR if draw.rand() < 0.5 else ChannelOrder.RGB,
        "depth": DEPTH if kind == 2 else None,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    given |= rule
    if given.get("border") is Border.CONSTANT and number % 2:
        given["border_level"] = level
    return Case(frame, face, None, PreprocessSpec.model_validate(given))


def _aligned_case(draw: Draw, number: int) -> Case:
    """Draw landmarks near a face's, turned and scaled, in and around the frame."""
    width, height, size = (int(v) for v in draw.randint(1, 150, 3))
    frame = _frame(draw, width, height, number % 3)
    positions = np.array(
        [(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)], np.float64
    ) * (size / 112)
    angle = draw.uniform(-3.2, 3.2) if number % 4 == 0 else draw.uniform(-0.5, 0.5)
    scale = np.exp(draw.uniform(-1.2, 1.2))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = draw.uniform(-0.2, 1.2, 2) * (width, height)
    noise = draw.normal(0.0, 0.05 * size * scale, (5, 2))
    points = (positions - positions.mean(axis=0)) @ turn.T + center + noise
    given = {
        "crop": CropRule.LANDMARKS,
        "width": size,
        "height": max(1, size + int(draw.randint(-3, 4))),
        "landmark_positions": [tuple(p) for p in positions.tolist()],
        "border": list(Border)[number // 2 % 4] if number % 2 else Border.CONSTANT,
        "channel_order": ChannelOrder.BGR if draw.rand() < 0.5 else ChannelOrder.RGB,
        "depth": DEPTH if number % 3 == 2 else None,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    if number % 8 == 0:  # eyes alone
        given["landmark_positions"] = [*given["landmark_positions"][:2], None, None, None]
    spec = PreprocessSpec.model_validate(given)
    return Case(frame, FaceBox(0, 0, 1, 1), points.astype(np.float32), spec)


@dataclass(frozen=True)
class Rule:
    """A rule with its random cases and OpenCV's answer.

    Attributes:
        draw: Function of a random state and a number that returns a case.
        answer: What OpenCV makes of a case, uint8 [H, W] or [H, W, 3], red first.
    """

    draw: Callable[[Draw, int], Case]
    answer: Callable[[Case], NDArray[np.uint8]]

    def cases(self, seed: int, count: int) -> Iterator[Case]:
        """Return random cases."""
        draw = np.random.RandomState(seed)
        return (self.draw(draw, number) for number in range(count))

    def agreement(self, seed: int, count: int, using: Implementation) -> Agreement:
        """Return how one implementation agrees with OpenCV."""
        worst = 0
        for case in self.cases(seed, count):
            expected = self.answer(case).reshape(case.spec.height, case.spec.width, -1)
            if expected.shape[2] == 1:
                expected = np.repeat(expected, 3, axis=2)
            elif case.spec.channel_order is ChannelOrder.BGR:
                expected = expected[..., ::-1]
            found = case.tensor(using)
            worst = max(worst, int(np.abs(found - expected.transpose(2, 0, 1)).max()))
        return Agreement(count, worst)


def _rules() -> dict[str, Rule]:
    def rule(answer: Callable[[Case], NDArray[np.uint8]], **settings: Any) -> Rule:
        return Rule(partial(_case, **settings), answer)

    frame = {"crop": CropRule.FRAME, "crop_shape": CropShape.BOX}
    pad, area = {"crop_bounds": CropBounds.PAD}, {"interpolation": Interpolation.AREA}
    rules = {
        "shifted square": rule(partial(fitted, shifted_square), crop_shape=CropShape.SQUARE),
        "clipped": rule(partial(fitted, clipped), crop_bounds=CropBounds.CLIP),
    }
    for border in Border:
        rules[f"padded {border.value}"] = rule(partial(fitted, padded), **pad, border=border)
    rules["area"] = rule(partial(fitted, whole_frame), **frame, **area)
    rules["area padded"] = rule(partial(fitted, padded), **pad, **area, border=Border.REFLECT_101)
    for fit in (Fit.LETTERBOX, Fit.LETTERBOX_FLOOR):
        for border in (Border.CONSTANT, Border.REFLECT_101):
            rules[f"{fit.value} {border.value}"] = rule(
                partial(fitted, whole_frame), **frame, fit=fit, border=border
            )
        rules[f"{fit.value} area padded"] = rule(
            partial(fitted, padded), **pad, **area, fit=fit, border=Border.REPLICATE
        )
    rules["aligned"] = Rule(_aligned_case, aligned)
    return rules


RULES = _rules()


def warp_digests(
    answer: Callable[[Case], NDArray[np.uint8]], count: int, seed: int = 410
) -> list[str]:
    """Return a digest of every `CASES_A_DIGEST` aligned faces, in uint8 [H, W] or [H, W, 3]."""
    digests, digest = [], hashlib.sha256()
    for number, case in enumerate(RULES["aligned"].cases(seed, count), start=1):
        digest.update(np.ascontiguousarray(answer(case)).data)
        if number % CASES_A_DIGEST == 0:
            digests.append(digest.hexdigest()[:32])
            digest = hashlib.sha256()
    return digests


def as_image(using: Implementation, case: Case) -> NDArray[np.uint8]:
    """Return a tensor of levels as OpenCV holds images, red first."""
    planes = case.tensor(using)
    if case.levels.ndim == 2:
        return planes[0].astype(np.uint8)
    image = planes.astype(np.uint8).transpose(1, 2, 0)
    return image[..., ::-1] if case.spec.channel_order is ChannelOrder.BGR else image


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    cases: int = parser.parse_args().cases
    found: dict[str, Any] = {
        "opencv": cv2.__version__,
        "native": implementation().value,
        "rules": {},
    }
    for name, rule in RULES.items():
        for using in dict.fromkeys((implementation(), Implementation.NUMPY)):
            agreement = rule.agreement(1, cases, using)
            found["rules"][f"{name}, {using.value}"] = {
                "cases": agreement.cases,
                "worst_levels": agreement.worst,
            }
    known = json.loads(DIGESTS.read_text("utf-8"))["digests"][: cases // CASES_A_DIGEST]
    for using in dict.fromkeys((implementation(), Implementation.NUMPY)):
        equal = warp_digests(partial(as_image, using), len(known) * CASES_A_DIGEST) == known
        found["rules"][f"warpAffine of OpenCV 4.10.0, {using.value}"] = {
            "cases": len(known) * CASES_A_DIGEST,
            "equal": equal,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
