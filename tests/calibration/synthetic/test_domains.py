"""Synthetic domains."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fasdk.capture import FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.protocols import PROTOCOLS
from fasdk_calibration.synthetic import SceneSettings, Species, Split, generate
from fasdk_calibration.synthetic.domains import DOMAINS, get_domain
from fasdk_calibration.synthetic.sensors import LightingRange, SensorSettings

W, C, P, S = DOMAINS
COUNT = 12


@pytest.fixture(scope="module")
def faces() -> dict[str, list[LabeledCapture]]:
    """Bona fide captures of every domain."""
    return {
        domain.letter: [
            generate(
                domain.population(0), i, species=Species.BONA_FIDE, settings=small(domain.scene)
            )
            for i in range(COUNT)
        ]
        for domain in DOMAINS
    }


def small(scene: SceneSettings) -> SceneSettings:
    return replace(scene, width=128, height=96)


def of_the_face(item: LabeledCapture, modality: Modality) -> np.ndarray:
    box = FaceBox.of(item.capture.face)
    frame = item.capture.frame(modality)
    return frame[box.y : box.y + box.height, box.x : box.x + box.width]


# index, subject, face box, mean of rgb, depth, ir, and the pixel at row 60, column 80.
PINNED = [
    (0, "s0107", (51, 43, 42, 52), (146.83, 1169.45, 11.74), (179, 490, 88)),
    (1, "s0104", (33, 43, 35, 47), (140.22, 1411.22, 27.03), (157, 1826, 9)),
    (3, "s0242", (84, 47, 36, 42), (95.78, 905.13, 13.38), (178, 521, 61)),
    (5, "s0255", (47, 36, 52, 69), (122.79, 1174.86, 23.11), (113, 344, 74)),
    (13, "s0051", (57, 25, 45, 59), (193.3, 922.0, 26.46), (202, 394, 137)),
]


@pytest.mark.parametrize(("index", "subject", "box", "means", "pixel"), PINNED)
def test_the_default_captures_do_not_change_unnoticed(index, subject, box, means, pixel):
    item = generate(3, index, settings=SceneSettings(width=160, height=120))
    rgb, depth, ir = (item.capture.frame(m) for m in Modality)
    assert (item.subject, item.domain, item.id) == (subject, "synthetic", f"train-{index:06d}")
    assert item.capture.face == FaceBox(*box)
    # Another machine's arithmetic may round a few pixels otherwise; another draw changes them all.
    assert [float(f.mean()) for f in (rgb, depth, ir)] == pytest.approx(means, abs=0.05)
    found = (int(rgb[60, 80, 0]), int(depth[60, 80]), int(ir[60, 80]))
    assert found == pytest.approx(pixel, abs=2)


def test_the_domains_are_the_protocols_letters():
    letters = {domain.letter for domain in DOMAINS}
    for protocol in PROTOCOLS:
        for split in protocol.splits:
            assert {*split.train, *split.test} == letters
    assert get_domain("P") is P
    with pytest.raises(
        DatasetError, match="unknown synthetic domain 'X': choose one of W, C, P, S"
    ):
        get_domain("X")


def test_a_domain_is_the_same_for_the_same_seed_and_no_two_share_people():
    first, again = (generate(C.population(1), 3, settings=small(C.scene)) for _ in range(2))
    assert np.array_equal(first.capture.rgb, again.capture.rgb)
    assert first.id == "outdoors-train-000003"
    assert first.domain == "outdoors"
    populations = [domain.population(seed) for domain in DOMAINS for seed in range(5)]
    assert len(set(populations)) == len(populations)


def test_each_domain_has_its_own_share_of_species():
    shares = {
        domain.letter: Counter(
            generate(0, i, settings=small(domain.scene)).species
            for i in range(len(domain.scene.turns))
        )
        for domain in DOMAINS
    }
    live = {letter: share.pop("bona fide") for letter, share in shares.items()}
    assert live == {letter: share.total() for letter, share in shares.items()}
    assert shares == {
        "W": {
            "rigid mask": 2,
            "flexible mask": 1,
            "paper mask": 1,
            "print flat": 1,
            "replay": 1,
            "fake head": 1,
            "partial glasses": 1,
        },
        "C": {"replay": 2, "print flat": 1, "rigid mask": 1},
        "P": {
            "rigid mask": 1,
            "flexible mask": 1,
            "print flat": 1,
            "makeup": 1,
            "partial glasses": 1,
            "fake head": 1,
        },
        "S": {"print flat": 1, "print curved": 1},
    }


def test_the_domains_differ_where_their_settings_say_so(faces):
    def median(letter: str, modality: Modality) -> float:
        return float(np.median([np.median(of_the_face(c, modality)) for c in faces[letter]]))

    infrared = {letter: median(letter, Modality.IR) for letter in faces}
    assert infrared["P"] > infrared["W"] > 1.1 * infrared["S"]
    for item in faces["P"]:
        assert not (item.capture.depth % P.scene.sensors.depth_step_mm).any()
    assert any((item.capture.depth % 5).any() for item in faces["W"])
    for item in faces["S"]:
        box = FaceBox.of(item.capture.face)
        for modality in Modality:
            frame = item.capture.frame(modality).copy()
            frame[box.y - 4 : box.y + box.height + 4, box.x - 4 : box.x + box.width + 4] = 0
            assert not frame.any()  # nothing but the face
    blueness = {
        letter: np.mean([blue_over_red(of_the_face(c, Modality.RGB)) for c in faces[letter]])
        for letter in "CP"
    }
    assert blueness["P"] > 1.2 * blueness["C"]  # a cold light against the sun


def blue_over_red(frame: np.ndarray) -> float:
    return float(frame[..., 2].mean() / frame[..., 0].mean())


def test_a_domain_is_told_from_others_by_the_level_of_its_frames(faces):
    """The gap a model has to bridge: its inputs' distribution moves."""

    def signature(item: LabeledCapture) -> list[float]:
        found: list[float] = []
        for modality in Modality:
            face = of_the_face(item, modality).astype(float)
            found += [face.mean(), face.std(), float(np.abs(np.diff(face, axis=0)).mean())]
        return found

    letters = list(faces)
    table = np.array([[signature(c) for c in faces[letter]] for letter in letters])
    table = (table - table.mean((0, 1))) / table.std((0, 1))
    half = COUNT // 2
    centers = table[:, :half].mean(axis=1)
    distances = np.linalg.norm(table[:, half:, None] - centers, axis=-1)
    right = distances.argmin(axis=-1) == np.arange(len(letters))[:, None]
    assert right.mean() > 0.5  # a quarter by chance


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SensorSettings(rgb_noise=-1.0), "must not be negative"),
        (lambda: SensorSettings(depth_scale=0.1), "depth_scale 0.1"),
        (lambda: SensorSettings(depth_step_mm=0), "depth_step_mm 0"),
        (lambda: SceneSettings(turns=()), "at least one species"),
        (lambda: SceneSettings(domain=""), "needs a name"),
    ],
)
def test_populations_refuse_unknown_domains_and_small_frames(call, message):
    with pytest.raises(DatasetError, match=message):
        call()


def test_wider_light_and_noisier_sensors_show_in_the_frames():
    def frame(modality: Modality, **changes: object) -> np.ndarray:
        scene = replace(SceneSettings(width=128, height=96), **changes)
        return generate(2, 0, Split.TRAIN, settings=scene).capture.frame(modality).astype(float)

    def grain(image: np.ndarray) -> float:
        return float(np.abs(np.diff(image, axis=1)).mean())

    noisy = SensorSettings(rgb_noise=4.0, nir_noise=4.0)
    for modality in (Modality.RGB, Modality.IR):
        assert grain(frame(modality, sensors=noisy)) > 1.3 * grain(frame(modality))
    bright = LightingRange(nir_gain=(1.6, 1.6))
    assert frame(Modality.IR, light=bright).mean() > 1.2 * frame(Modality.IR).mean()
    scaled = frame(Modality.DEPTH, sensors=SensorSettings(depth_scale=1.1))
    plain = frame(Modality.DEPTH)
    seen = (scaled > 0) & (plain > 0)
    assert scaled[seen] / plain[seen] == pytest.approx(1.1, abs=0.01)
