"""Drift of a door by simulation: is each planted fault named, how soon, and are there false alarms.

    python tools/bench/drift.py BUNDLE --unchanged 2000 --faulty 500

scores generated captures of genuine people by the bundle, keeps their numbers alone, and makes
a baseline of a commissioning's size, 20 groups of 5 captures, from a part of them. Each planted
fault is then shown from the first capture on. False alarms are counted in 50,000 captures that are
drawn with replacement from the numbers of the other unchanged ones, since generating as many would
take half an hour; several baselines, each of other captures. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fasdk.backends.engine import Backend
from fasdk.bundle.revisions import RevisionState
from fasdk.bundle.trust import TrustPolicy
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.quality import QualityLimits
from fasdk.session.opening import open as open_session
from fasdk.session.session import Liveness
from fasdk.site.groups import CAPTURES, Group, Observation
from fasdk.site.health import HealthMonitor
from fasdk_calibration.synthetic import SceneSettings, Species, Split, generate
from fasdk_calibration.synthetic.sensor_faults import SensorFault, with_fault
from fasdk_tools.commissioning.baseline import baseline_of

SEED = 29
BASELINE_GROUPS = 20  # of four people who step before the camera five times
DRAWN = 50_000
BASELINES = 10
Change = Callable[[Capture, np.random.Generator], Capture]


def _fault(modality: Modality, fault: SensorFault) -> Change:
    return lambda capture, rng: with_fault(capture, modality, fault, rng)


def _dead_emitter(capture: Capture, rng: np.random.Generator) -> Capture:
    dark = with_fault(capture, Modality.IR, SensorFault.DEAD_EMITTER, rng)
    return with_fault(dark, Modality.DEPTH, SensorFault.DEAD_EMITTER, rng)


def _dimmer(capture: Capture, rng: np.random.Generator) -> Capture:
    """Return a capture with color 1.5 to 3 stops darker, as where a lamp went out."""
    assert capture.rgb is not None  # noqa: S101
    factor = 2.0 ** (-rng.uniform(1.5, 3.0) / 2.2)
    dark = np.asarray(np.rint(capture.rgb * factor), np.uint8)
    return Capture(rgb=dark, depth=capture.depth, ir=capture.ir, face=capture.face)


# Each fault with the events of which one names it.
FAULTS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "fogged color lens": (
        _fault(Modality.RGB, SensorFault.FOGGED),
        ("sharpness low", "blurred", "reliability.rgb low"),
    ),
    "dead infrared emitter": (
        _dead_emitter,
        ("ir_highlight low", "ir-unlit", "reliability.ir low"),
    ),
    "shifted depth": (
        _fault(Modality.DEPTH, SensorFault.SHIFTED),
        ("agreement low", "sensors-disagree", "reliability.depth low"),
    ),
    "changed light": (_dimmer, ("highlight low", "too-dark", "reliability.rgb low")),
}


def observe(session: Liveness, capture: Capture) -> Observation:
    """Return the numbers of a capture, stamped as taken now."""
    now_ms = monotonic_ms()
    timed = Capture(
        rgb=capture.rgb,
        depth=capture.depth,
        ir=capture.ir,
        face=capture.face,
        taken_ms=dict.fromkeys(capture.present, now_ms),
    )
    return Observation.of(timed, session.check(timed), 0.0)


def people(count: int, first: int, scene: SceneSettings) -> Iterator[Capture]:
    """Yield captures of genuine people, each another one."""
    for number in range(first, first + count):
        made = generate(SEED, number, Split.HELD_OUT, species=Species.BONA_FIDE, settings=scene)
        yield made.capture


def groups_of(observations: list[Observation]) -> list[Group]:
    """Return captures as groups in their order."""
    return [
        Group.of(observations[at : at + CAPTURES])
        for at in range(0, len(observations) - CAPTURES + 1, CAPTURES)
    ]


def watch(monitor: HealthMonitor, observations: list[Observation]) -> HealthMonitor:
    """Show captures to a monitor and return it."""
    for each in observations:
        monitor.take_in_numbers(each)
    return monitor


def main() -> None:
    """Print the captures until each fault is named, and the false alarms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--unchanged", type=int, default=2_000)
    parser.add_argument("--faulty", type=int, default=500)
    parser.add_argument("--width", type=int, default=192)
    given = parser.parse_args()
    scene = SceneSettings(width=given.width, height=given.width * 3 // 4)
    rng = np.random.default_rng(SEED)
    with open_session(
        given.bundle,
        backend=Backend.ONNXRUNTIME,
        trust=TrustPolicy.unsigned(),
        revisions=RevisionState.unchecked(),
        limits=QualityLimits(),
    ) as session:
        usual = [observe(session, each) for each in people(given.unchanged, 0, scene)]
        shown = {
            name: [
                observe(session, change(each, rng))
                for each in people(given.faulty, given.unchanged, scene)
            ]
            for name, (change, _) in FAULTS.items()
        }
    size = BASELINE_GROUPS * CAPTURES
    found: dict[str, Any] = {name: {"captures": [], "events": []} for name in FAULTS}
    alarms, watched, false_events = 0, 0, []
    for _ in range(BASELINES):
        order = rng.permutation(len(usual))
        baseline = baseline_of(groups_of([usual[at] for at in order[:size]]))
        assert baseline is not None  # noqa: S101
        watched = len(baseline.events)
        for name, (_, events) in FAULTS.items():
            monitor = watch(HealthMonitor(baseline, is_recording=True), shown[name])
            named = [each for each in monitor.moved if each.event.id in events]
            found[name]["captures"].append(named[0].capture if named else None)
            found[name]["events"] = sorted(
                {*found[name]["events"], *(each.event.id for each in monitor.moved)}
            )
        rest = [usual[at] for at in order[size:]]
        drawn = [rest[at] for at in rng.integers(0, len(rest), DRAWN)]
        monitor = watch(HealthMonitor(baseline, is_recording=True), drawn)
        alarms += len(monitor.moved)
        false_events += [each.event.id for each in monitor.moved]
    print(
        json.dumps(
            {
                "bench": "drift",
                "unchanged": given.unchanged,
                "faulty": given.faulty,
                "baselines": BASELINES,
                "baseline_groups": BASELINE_GROUPS,
                "events_watched": watched,
                "named": found,
                "drawn": DRAWN,
                "false_alarms": alarms,
                "false_events": false_events,
            }
        )
    )


if __name__ == "__main__":
    main()
