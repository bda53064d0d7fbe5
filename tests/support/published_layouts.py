"""Folders and lists of the benchmark's four data sets as published, filled with synthetic captures.

Names, folders, separators, line endings, order and repeated rows are those of the published lists;
frames are crops of the face, depth is 8-bit levels, and no frame is of a person.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.preprocess import DepthEncoding, DepthPolarity, depth_to_8bit
from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.synthetic import Split, generate_many
from fasdk_calibration.synthetic.domains import DOMAINS
from fasdk_calibration.synthetic.species import Species

LETTERS = "WCPS"
DRAWN_AS = DepthEncoding(near_mm=300, far_mm=900, polarity=DepthPolarity.NEAR_BRIGHT)
SPLITS = {"train": Split.TRAIN, "val": Split.DEVELOPMENT, "test": Split.HELD_OUT}
_TRUTH = "transaction_id,trial_id,trial_name,ground_truth,participant_id\n"

_WMCA = {
    Species.BONA_FIDE: "0_00",
    Species.PARTIAL_GLASSES: "1_01",
    Species.RIGID_MASK: "2_12",
    Species.FAKE_HEAD: "2_01",
    Species.PAPER_MASK: "2_08",
    Species.FLEXIBLE_MASK: "2_80",
    Species.PRINT_FLAT: "3_01",
    Species.PRINT_CURVED: "3_02",
    Species.REPLAY: "4_01",
}
_CEFA = {
    Species.BONA_FIDE: "1",
    Species.PRINT_CURVED: "2",
    Species.PRINT_FLAT: "3",
    Species.REPLAY: "4",
}
_PADISI = {
    Species.BONA_FIDE: "m00000",
    Species.PAPER_MASK: "m50201",
    Species.FAKE_HEAD: "m50301",
    Species.RIGID_MASK: "m50501",
    Species.MAKEUP: "m50601",
    Species.FLEXIBLE_MASK: "m50701",
    Species.PARTIAL_GLASSES: "m50801",
    Species.PRINT_FLAT: "m50201",
}
_SURF = {
    Species.BONA_FIDE: "real",
    Species.PRINT_FLAT: "01_e_s",
    Species.PRINT_CURVED: "02_e_b",
}


@dataclass(frozen=True)
class PublishedSet:
    """One data set on disk.

    Attributes:
        letter: Its letter in the protocols.
        root: The folder that its lists' paths start from.
        lists: The published lists, by split: train, val, test.
    """

    letter: str
    root: Path
    lists: Mapping[str, Path]


def write_published(
    folder: Path,
    counts: Mapping[str, int],
    *,
    letters: str = LETTERS,
    frames: int = 3,
    side: int = 48,
    seed: int = 0,
) -> dict[str, PublishedSet]:
    """Write data sets below `folder`, one folder a letter.

    Args:
        folder: Folder to write to.
        counts: Number of captures of each split: train, val, test.
        letters: Letters of the data sets.
        frames: Captures of one presentation; PADISI has one.
        side: Width and height of the frames in pixels.
        seed: Seed of the captures.
    """
    return {
        letter: _write_set(folder / letter, letter, counts, frames, side, seed)
        for letter in letters
    }


def _write_set(
    root: Path, letter: str, counts: Mapping[str, int], frames: int, side: int, seed: int
) -> PublishedSet:
    root.mkdir(parents=True)
    domain = next(d for d in DOMAINS if d.letter == letter)
    scene = replace(
        domain.scene,
        width=96,
        height=72,
        frames_per_presentation=1 if letter == "P" else frames,
    )
    lists = {}
    truth = [_TRUTH]
    for split, count in counts.items():
        made = generate_many(
            domain.population(seed), count, SPLITS[split], settings=scene, threads=1
        )
        if letter == "P":
            rows = list(_write_padisi(root, split, made, side, truth))
            separator, ending = "\t", "\n"
        else:
            rows = list(_write_frames(root, letter, split, made, side))
            separator, ending = " ", "\r\n"
        if letter in "PS":  # live rows first, then attacks
            rows.sort(key=lambda row: -int(row[-1]))
        if letter in "CS" and split == "test":
            rows.append(rows[-1])  # as published: some rows are repeated
        path = root / f"{letter}-{split}.txt"
        path.write_bytes(ending.join(separator.join(row) for row in rows).encode())
        lists[split] = path
    if letter == "P":
        (root / "padisi_USC_FACE_ground_truth.csv").write_text("".join(truth))
    return PublishedSet(letter, root, lists)


def _write_frames(
    root: Path, letter: str, split: str, captures: Iterator[LabeledCapture], side: int
) -> Iterator[tuple[str, ...]]:
    """Write JPEG files and yield the rows of a list: color, depth, infrared, label."""
    videos: Counter[tuple[str, str]] = Counter()
    named: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    color = "profile" if letter == "C" else "color"
    for item in captures:
        if item.presentation not in named:
            kind = (item.subject, item.species)
            videos[kind] += 1
            named[item.presentation] = _video(letter, split, item, videos[kind])
        video = named[item.presentation]
        numbers[video] += 1
        name = _frame_name(letter, numbers[video])
        row = []
        for inner, pixels in zip(
            (color, "depth", "ir"), published_frames(item.capture, side).values(), strict=True
        ):
            path = f"{video}/{inner}/{name}"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            planes = pixels[..., ::-1] if pixels.ndim == 3 else pixels
            assert cv2.imwrite(str(root / path), planes, [cv2.IMWRITE_JPEG_QUALITY, 100])
            row.append(path)
        yield (*row, "1" if item.is_bona_fide else "0")


def _write_padisi(
    root: Path, split: str, captures: Iterator[LabeledCapture], side: int, truth: list[str]
) -> Iterator[tuple[str, ...]]:
    """Write arrays, add their lines to the ground truth, and yield the rows: file, label."""
    for number, item in enumerate(captures):
        digest = hashlib.sha256(f"{split}{number}".encode()).hexdigest()
        trial = ("z" if item.is_bona_fide else digest[7]) + digest[:7]
        frames = published_frames(item.capture, side)
        data = np.zeros((1, 22, side, side), np.float32)
        data[0, :3] = frames[Modality.RGB].transpose(2, 0, 1)[::-1]
        data[0, 3], data[0, 4] = frames[Modality.IR], frames[Modality.DEPTH]
        np.savez(root / f"ID_t{number}_{trial}_FACE_NEUTRAL.npz", data=data / np.float32(255))
        code = _PADISI[Species(item.species)]
        truth.append(f"t{number},{trial},FACE_NEUTRAL,{code},{item.subject}\n")
        yield f"{trial}.npz", "1" if item.is_bona_fide else "0"


def published_frames(capture: Capture, side: int) -> dict[Modality, NDArray[np.uint8]]:
    """Return a capture's face as the data sets keep it: uint8 crops, depth as levels."""
    assert capture.face is not None
    face = FaceBox.of(capture.face)
    x, y = max(int(face.x), 0), max(int(face.y), 0)
    area = np.s_[y : int(face.y + face.height), x : int(face.x + face.width)]
    frames = {}
    for modality in Modality:
        frame = capture.frame(modality)
        levels = depth_to_8bit(frame, DRAWN_AS) if modality is Modality.DEPTH else frame
        frames[modality] = cv2.resize(levels[area], (side, side), interpolation=cv2.INTER_AREA)
    return frames


def _video(letter: str, split: str, item: LabeledCapture, number: int) -> str:
    """Return the folder of a presentation, `number` being the how manieth of subject and kind."""
    person = int(item.subject.rpartition("s")[2])
    species = Species(item.species)
    if letter == "W":
        return f"WMCA-Image/R_CDIT/{person:03d}_{number:02d}_000_{_WMCA[species]}"
    if letter == "C":
        if species is Species.RIGID_MASK:
            return f"CeFA/CeFA-Mask/3D-Mask/{person:03d}/1_{person:03d}_{number}_0_1_1_1"
        video = f"1_{person:03d}_{number}_1_{_CEFA[species]}"
        return f"CeFA/CeFA-Race/AF/AF-{person:03d}/{video}"
    half = "real" if item.is_bona_fide else "fake"
    part = f"CASIA-SURF-CROP/{half}_part/{half}_{split}_part"
    return f"{part}/CLKJ_AS{person:04d}/{_SURF[species]}.rssdk"


def _frame_name(letter: str, number: int) -> str:
    if letter == "S":
        return f"{1 + 10 * number}.jpg"
    return f"{12 * number if letter == 'W' else 1 + 25 * number:04d}.jpg"


def main() -> None:
    """Write all data sets and print their folders by letter, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--captures", type=int, default=12, help="of each list")
    given = parser.parse_args()
    written = write_published(given.out, dict.fromkeys(SPLITS, given.captures))
    print(json.dumps({letter: str(each.root) for letter, each in written.items()}))


if __name__ == "__main__":
    main()
