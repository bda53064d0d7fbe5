"""Error rates of the check that a capture's sensors show one face.

    python tools/bench/agreement.py [--captures N] [--seed S]
    python tools/bench/agreement.py --motion [--presentations N] [--processes P] [--seed S]

Synthetic captures alone. The limits of `fasdk.quality.agreement.Pair` were chosen below the least
margins of bona fide captures of the development split, with the default sensors and those of the
four domains; the line has the share of this run's development captures that lie below. Everything
else is measured on the held-out split, other people: false alarms on such captures, and detection
of mixed captures. A mixed capture has
the frames of an attack and, of the modalities that its name says, those of a live person. `as
captured` leaves the two where they stood; `aligned` moves and scales the person's frames until the
two face boxes are one, as an attacker would who knows where to stand. Rates come with two-sided
95 % intervals of Clopper and Pearson over captures.

With `--motion` the line is about movement across frames instead: `moving_faces.py` beside this file
says what is measured. It exits 1 where more than 0.5 % of the live presentations are refused.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from itertools import combinations
from typing import TYPE_CHECKING

import cv2
import moving_faces
import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.quality.agreement import Pair, disagreement, margins
from fasdk_calibration.metrics.bounds import binomial_interval
from fasdk_calibration.synthetic import Species, Split, generate
from fasdk_calibration.synthetic.domains import DOMAINS
from fasdk_calibration.synthetic.generator import SceneSettings
from fasdk_calibration.synthetic.species import ATTACKS

if TYPE_CHECKING:
    from collections.abc import Iterable

MIXES = [mix for size in (1, 2) for mix in combinations(Modality, size)]
RIGS = [rig for size in (2, 3) for rig in combinations(Modality, size)]


def rate(found: Iterable[bool]) -> dict[str, object]:
    """Return a rate with its count and its exact 95 % interval."""
    values = list(found)
    interval = binomial_interval(sum(values), len(values))
    return {
        "found": sum(values),
        "of": len(values),
        "rate": round(sum(values) / len(values), 4),
        "interval_95": [round(interval.lower, 4), round(interval.upper, 4)],
    }


def bona_fide(
    seed: int, count: int, split: Split, settings: SceneSettings | None = None
) -> list[Capture]:
    """Return bona fide captures of a split."""
    settings = settings or SceneSettings()
    return [
        generate(seed, index, split, species=Species.BONA_FIDE, settings=settings).capture
        for index in range(count)
    ]


def attacks(seed: int, count: int) -> list[Capture]:
    """Return held-out attacks of every species in turn."""
    return [
        generate(seed, index, Split.HELD_OUT, species=ATTACKS[index % len(ATTACKS)]).capture
        for index in range(count)
    ]


def aligned(person: Capture, onto: Capture) -> Capture:
    """Return a person's frames moved and scaled until the face has another capture's box."""
    source, target = FaceBox.of(person.face or ()), FaceBox.of(onto.face or ())
    zoom_x, zoom_y = target.width / source.width, target.height / source.height
    move = np.array(
        [[zoom_x, 0, target.x - zoom_x * source.x], [0, zoom_y, target.y - zoom_y * source.y]]
    )
    frames = {}
    for modality in person.present:
        kind = cv2.INTER_NEAREST if modality is Modality.DEPTH else cv2.INTER_LINEAR
        frames[modality] = cv2.warpAffine(
            person.frame(modality),
            move,
            person.size_of(modality),
            flags=kind,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return Capture.of(frames, face=target)


def mixed(attack: Capture, person: Capture, of_person: tuple[Modality, ...]) -> Capture:
    """Return an attack's capture with some of a person's frames."""
    frames = {m: (person if m in of_person else attack).frame(m) for m in Modality}
    return Capture.of(frames, face=attack.face)


def is_found(capture: Capture) -> bool:
    """Return whether the sensors are found to disagree."""
    return disagreement(capture) is not None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=300)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--motion", action="store_true", help="movement across frames")
    parser.add_argument("--presentations", type=int, default=2_000, help="live ones, with --motion")
    parser.add_argument("--processes", type=int, default=1, help="with --motion")
    arguments = parser.parse_args()
    if arguments.motion:
        line = moving_faces.measure(arguments.seed, arguments.presentations, arguments.processes)
        print(json.dumps(line | {"machine": platform.machine()}))
        sys.exit(0 if line["meets"] else 1)
    count, seed = arguments.captures, arguments.seed

    cv2.setNumThreads(1)
    selected: dict[Pair, list[float]] = {}
    selection = bona_fide(seed, count, Split.DEVELOPMENT)
    for domain in DOMAINS:
        selection += bona_fide(seed, count, Split.DEVELOPMENT, domain.scene)
    for capture in selection:
        for held in RIGS:
            frames = {m: capture.frame(m) for m in held}
            for pair, margin in margins(Capture.of(frames, face=capture.face)).items():
                selected.setdefault(pair, []).append(margin)
    people = bona_fide(seed + 1, count, Split.HELD_OUT)
    alarms = [is_found(capture) for capture in people]
    by_domain = {}
    for domain in DOMAINS:
        found = [is_found(c) for c in bona_fide(seed + 2, count, Split.HELD_OUT, domain.scene)]
        by_domain[domain.letter] = rate(found)
        alarms += found
    shown = attacks(seed + 1, count)
    # Another person each: the generator draws the subject by the capture's number.
    others = [*people[1:], people[0]]
    start = time.process_time()
    as_they_are = [is_found(capture) for capture in shown]
    each_ms = (time.process_time() - start) / len(shown) * 1e3
    detection = {}
    for mix in MIXES:
        pairs = list(zip(shown, others, strict=True))
        detection["+".join(m.value for m in mix) + " of a live person"] = {
            "as captured": rate(is_found(mixed(a, b, mix)) for a, b in pairs),
            "aligned": rate(is_found(mixed(a, aligned(b, a), mix)) for a, b in pairs),
        }
    result = {
        "benchmark": "agreement",
        "work": "synthetic captures 320x240, limits from development, rates on held-out people",
        "seed": seed,
        "limits": {pair.name.lower(): pair.least for pair in Pair},
        "development_below": {
            pair.name.lower(): rate(margin < pair.least for margin in margins_of)
            for pair, margins_of in selected.items()
        },
        "false_alarms": rate(alarms),
        "false_alarms_by_domain": by_domain,
        "attacks_as_they_are": rate(as_they_are),
        "detection": detection,
        "check_cpu_ms": round(each_ms, 2),
        "machine": platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
