"""Site profiles: they tighten the gates of one bundle, and nothing else."""

from __future__ import annotations

import json

import pytest

import fasdk
from fasdk.errors import SiteError, UsageError
from fasdk.quality import QualityLimits
from fasdk.site import Commissioned, SiteProfile
from fasdk.site.profile import TIGHTENS, Tightens

from support import tiny_bundle

COUNTED = Commissioned(
    people=4, presentations=20, refused=0, bpcer_upper=0.14, threshold=0.5, turned_away=0.1
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("site") / "tiny.fasb")


def profile(bundle_id="0" * 64, **changes):
    fields = {
        "bundle_id": bundle_id,
        "camera": "replay:lobby",
        "level": "standard",
        "made_unix_s": 1,
        "limits": {"max_distance_mm": 900.0},
        "commissioned": COUNTED,
    }
    return SiteProfile(**(fields | changes))


def id_of(bundle):
    with fasdk.open(bundle, backend="onnxruntime") as liveness:
        return liveness.bundle.id


def test_an_opened_session_has_the_sites_limits(tiny, tmp_path):
    path = tmp_path / "site.json"
    written = profile(id_of(tiny)).save(path)
    assert SiteProfile.load(path) == written
    for site in (path, str(path), written):
        with fasdk.open(tiny, backend="onnxruntime", limits=QualityLimits(), site=site) as liveness:
            assert liveness.limits == QualityLimits(max_distance_mm=900)
    with fasdk.open(tiny, backend="onnxruntime", site=path) as liveness:
        assert liveness.limits == QualityLimits.faults().model_copy(update={"max_distance_mm": 900})


def test_a_profile_of_another_bundle_is_refused(tiny, tmp_path):
    path = tmp_path / "site.json"
    profile().save(path)
    with pytest.raises(SiteError, match="made with bundle 000000000000, this is"):
        fasdk.open(tiny, backend="onnxruntime", site=path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limits": {"max_distance_mm": 901.0}}, "digest: .* so it was edited"),
        ({"bundle_id": "1" * 64}, "digest: .* so it was edited"),
        ({"digest": "0" * 64}, "digest: is 00000000"),
        ({"threshold": 0.1}, "threshold: Extra inputs"),
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"bundle_id": "demo"}, "bundle_id: String should match"),
        ({"limits": {"max_distance_mm": "far"}}, "limits.max_distance_mm: Input should be"),
    ],
)
def test_an_edited_profile_is_refused_in_one_line(tmp_path, change, words):
    path = tmp_path / "site.json"
    profile().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SiteError, match=f"site.json: {words}") as caught:
        SiteProfile.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [n for n in QualityLimits.model_fields if n in TIGHTENS])
def test_no_limit_can_be_loosened(name):
    present = getattr(QualityLimits(), name)
    step = 1.0 if present > 1 else 0.001
    looser = present - step if TIGHTENS[name] is Tightens.UP else present + step
    with pytest.raises(SiteError, match=f"limits.{name}: .* would loosen"):
        profile(limits={name: looser}).tightened(QualityLimits())
    assert profile(limits={name: float(present)}).tightened(QualityLimits()) == QualityLimits()


def test_every_limit_has_a_direction_or_cannot_be_set():
    switches = {"require_face", "sensors_agree", "require_times"}
    assert TIGHTENS.keys() | switches == QualityLimits.model_fields.keys()
    for name in (*switches, "threshold"):
        with pytest.raises(SiteError, match=f"limits.{name}: no limit of a gate"):
            profile(limits={name: 0.0}).tightened(QualityLimits())


def test_limits_that_exclude_each_other_are_refused():
    with pytest.raises(SiteError, match="must be less than max_distance_mm"):
        profile(limits={"min_distance_mm": 800.0, "max_distance_mm": 700.0}).tightened(
            QualityLimits()
        )


def test_a_profile_of_another_camera_is_refused():
    profile().require_camera("replay:lobby")
    with pytest.raises(SiteError, match="made with camera replay:lobby, this is realsense:7"):
        profile().require_camera("realsense:7")


def test_what_is_no_path_is_refused(tiny):
    with pytest.raises(UsageError):
        fasdk.open(tiny, backend="onnxruntime", site=7)
