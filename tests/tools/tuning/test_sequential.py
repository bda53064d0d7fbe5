"""Verb tune: sequential tests where the list has presentations of several frames."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.members import EVALUATION, GRAPH
from fasdk.capture import Capture, Modality
from fasdk.decision import Verdict
from fasdk.session.opening import open as open_session
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track import Track

from support import tiny_bundle

ALL = ("rgb", "depth", "ir")
FRAMES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Frames of each brightness, which the tiny bundle takes for how live a face is."""
    root = tmp_path_factory.mktemp("frames")
    for level in range(256):
        cv2.imwrite(str(root / f"{level}.rgb.png"), np.full((8, 8, 3), level, np.uint8))
        cv2.imwrite(str(root / f"{level}.ir.png"), np.full((8, 8), level, np.uint8))
    for frame in range(FRAMES):  # a track refuses a frame that equals the last one
        depth_mm = np.full((8, 8), 500 + frame, np.uint16)
        cv2.imwrite(str(root / f"{frame}.depth.png"), depth_mm)
    return root


def presentations(species: str, low: int, high: int, count: int, frames: int = FRAMES) -> list:
    """Return lines: each presentation of another brightness, each frame a little off it."""
    rng = np.random.default_rng(len(species))
    lines = []
    for number, center in enumerate(np.linspace(low, high, count)):
        shown: set[int] = set()
        for frame in range(frames):
            level = int(np.clip(center + rng.normal(0, 12), 0, 255))
            while level in shown:
                level += 1 if level < 255 else -frames
            shown.add(level)
            name = f"{species}-{number}"
            line = {"id": f"{name}-{frame}", "subject": name, "domain": "lab"}
            line |= {"presentation": name, "species": species}
            line |= {"label": "bona fide" if species == "bona fide" else "attack"}
            files = {
                "rgb": f"{level}.rgb.png",
                "depth": f"{frame}.depth.png",
                "ir": f"{level}.ir.png",
            }
            lines.append(line | files)
    return lines


def development(attacks: int = 60, frames: int = FRAMES) -> list:
    return [
        *presentations("bona fide", 120, 240, 40, frames),
        *presentations("print", 15, 130, attacks, frames),
        *presentations("mask", 30, 140, attacks, frames),
    ]


def write_list(folder: Path, lines: list, name: str = "development.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    return tiny_bundle.write(tmp_path / "lobby.fasb")


def tune(fasdk, source, out, protocol, *options):
    ran = fasdk("tune", source, "-o", out, "--protocol", protocol, "--json", *options)
    return ran, json.loads(ran.stdout)


def test_the_test_is_written_with_its_counts(fasdk, source, folder, tmp_path):
    out = tmp_path / "tuned.fasb"
    ran, document = tune(
        fasdk,
        source,
        out,
        write_list(folder, development()),
        "--level",
        "standard",
        "--level",
        "convenience",
        "--time-limit-ms",
        "2500",
    )
    assert ran.status == 0
    bundle = open_bundle(out)
    tests = bundle.manifest.sequential_tests
    assert [test.id for test in tests] == [p.id for p in bundle.manifest.operating_points]
    standard, convenience = tests
    assert (standard.max_frames, standard.max_ms) == (FRAMES, 2500.0)
    assert standard.graph_sha256 == bundle.manifest.members[GRAPH]
    assert standard.apcer_upper <= 0.05 < convenience.apcer_upper <= 0.10
    assert standard.live_bound > convenience.live_bound > 0.0
    assert standard.source.startswith("tuned on development.jsonl; 160 presentations of 4 frames")
    (subset,) = document["subsets"]
    found = subset["tests"][0]
    assert (found["level"], found["target"], found["max_frames"]) == ("standard", 0.05, FRAMES)
    assert found["apcer_upper"] == standard.apcer_upper
    assert found["apcer"]["mask"]["attempts"] == found["apcer"]["print"]["attempts"] == 60
    assert found["bpcer"]["attempts"] == 40
    assert 1.0 <= found["mean_frames_bona_fide"] <= FRAMES
    assert subset["tests_refused"] == []
    evaluation = bundle.document(EVALUATION)
    assert evaluation["sequential_tests"] == json.loads(
        json.dumps([test.model_dump(mode="json") for test in tests])
    )
    assert evaluation["subsets"][0]["tests"][0]["bpcer"] == found["bpcer"]
    assert "intraclass correlation" in evaluation["sequential_method"]


def test_a_device_that_plays_the_list_counts_the_same(fasdk, source, folder, tmp_path):
    """The whole path: frames through a track of a session on the tuned bundle."""
    out, lines = tmp_path / "tuned.fasb", development()
    _, document = tune(fasdk, source, out, write_list(folder, lines), "--level", "standard")
    found = document["subsets"][0]["tests"][0]
    live: dict[str, int] = {"bona fide": 0, "print": 0, "mask": 0}
    with open_session(out, threads=1) as session:
        for start in range(0, len(lines), FRAMES):
            shown = lines[start : start + FRAMES]
            track = Track(_Submitting(session), "lab", TrackPolicy(attempts=None, lock_out=None))
            for line in shown:
                decision = track.check(_capture(folder, line))
                if decision.verdict is not Verdict.RETRY:
                    break
            live[shown[0]["species"]] += decision.verdict is Verdict.LIVE
    assert live["print"] == found["apcer"]["print"]["errors"]
    assert live["mask"] == found["apcer"]["mask"]["errors"]
    assert 40 - live["bona fide"] == found["bpcer"]["errors"]
    assert live["bona fide"] > 0


class _Submitting:
    """Session as a track uses it, by its `check`."""

    def __init__(self, session: Liveness) -> None:
        self.bundle, self.level, self._session = session.bundle, session.level, session
        self.limits = session.limits

    def late(self, _: Capture) -> None:
        return None

    def submit(self, capture: Capture):
        from concurrent.futures import Future

        future: Future = Future()
        future.set_result(self._session.check(capture))
        return future


def _capture(folder: Path, line: dict) -> Capture:
    rgb = cv2.cvtColor(cv2.imread(str(folder / line["rgb"])), cv2.COLOR_BGR2RGB)
    return Capture.of(
        {
            Modality.RGB: rgb,
            Modality.DEPTH: cv2.imread(str(folder / line["depth"]), cv2.IMREAD_UNCHANGED),
            Modality.IR: cv2.imread(str(folder / line["ir"]), cv2.IMREAD_UNCHANGED),
        }
    )


def test_lists_of_single_frames_write_none_and_say_nothing(fasdk, source, folder, tmp_path):
    out = tmp_path / "tuned.fasb"
    protocol = write_list(folder, development(frames=1), "single.jsonl")
    ran, document = tune(fasdk, source, out, protocol, "--level", "standard")
    assert ran.status == 0
    assert open_bundle(out).manifest.sequential_tests == ()
    assert "sequential" not in ran.stderr
    assert document["subsets"][0]["tests"] == document["subsets"][0]["tests_refused"] == []


def test_too_few_presentations_of_several_frames_leave_it_out_and_say_so(
    fasdk, source, folder, tmp_path
):
    lines = [
        *presentations("bona fide", 120, 240, 40),
        *presentations("print", 15, 130, 50),
        *presentations("mask", 30, 140, 60),
        *[
            line | {"id": f"more-{line['id']}", "presentation": f"more-{line['id']}"}
            for line in presentations("print", 15, 130, 12, frames=1)
        ],
    ]
    out = tmp_path / "tuned.fasb"
    ran, document = tune(fasdk, source, out, write_list(folder, lines), "--level", "standard")
    assert ran.status == 0
    assert open_bundle(out).manifest.sequential_tests == ()
    assert (
        "fasdk: note: no sequential test: standard with rgb+depth+ir needs 59 presentations "
        "with 4 frames of every species; has 50 of print"
    ) in ran.error_lines
    (refused,) = document["subsets"][0]["tests_refused"]
    assert refused["shortages"] == [{"species": "print", "attempts": 50, "more": 9}]


def test_tuning_again_on_single_frames_takes_the_test_away(fasdk, source, folder, tmp_path):
    first, second = tmp_path / "first.fasb", tmp_path / "second.fasb"
    tune(fasdk, source, first, write_list(folder, development()), "--level", "standard")
    single = write_list(folder, development(frames=1), "single.jsonl")
    ran, _ = tune(fasdk, first, second, single, "--level", "standard")
    assert ran.status == 0
    assert open_bundle(first).manifest.sequential_tests
    assert open_bundle(second).manifest.sequential_tests == ()


@pytest.mark.parametrize("limit", ["0", "-5", "nan", "inf"])
def test_a_time_limit_that_is_none_is_refused(fasdk, source, folder, tmp_path, limit):
    protocol = write_list(folder, development())
    out = tmp_path / "tuned.fasb"
    ran = fasdk("tune", source, "-o", out, "--protocol", protocol, f"--time-limit-ms={limit}")
    assert ran.status == 2
    assert "--time-limit-ms" in ran.error_lines[0]


def test_the_table_shows_it(fasdk, source, folder, tmp_path):
    protocol = write_list(folder, development())
    ran = fasdk(
        "tune", source, "-o", tmp_path / "t.fasb", "--protocol", protocol, "--level", "standard"
    )
    assert "Verdicts on several frames" in ran.stdout
    inspected = fasdk("inspect", tmp_path / "t.fasb")
    assert "Verdicts on several frames" in inspected.stdout
