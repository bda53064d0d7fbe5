"""An engine that breaks every promise of one, put in by `swap` or at `open`.

A damaged library, driver or plan raises what no engine should, or returns what is no array. The
answer is an error of fasdk's own, with the bundle's name, and the engine before it goes on.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import fasdk
from fasdk.backends.engine import EngineOutputs
from fasdk.bundle.bundle import open_bundle
from fasdk.decision import Verdict
from fasdk.errors import BackendError, FasdkError, PlanError
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.scripted_engine import FakeEngine, Proved, live

GOOD = tiny_bundle.capture(200)
RAISED = [
    AttributeError("no attribute"),
    MemoryError(),
    SystemExit(1),
    KeyboardInterrupt(),
    RecursionError("too deep"),
    GeneratorExit(),
    OSError(5, "input/output error"),
]


class RaisesWhenRead:
    """Outputs whose every attribute raises."""

    def __getattr__(self, name):
        raise ValueError(name)


class Endless:
    """Rows without an end."""

    def __len__(self):
        return 2**62

    def __getitem__(self, _):
        return [0.0, 9.0]


RETURNED = {
    "nothing": None,
    "a number": 7,
    "a word": "live",
    "an object": object(),
    "raises when read": RaisesWhenRead(),
    "logits None": SimpleNamespace(logits=None, reliability=None),
    "logits a word": SimpleNamespace(logits="live", reliability=None),
    "logits a list": SimpleNamespace(logits=[[0.0, 9.0]], reliability=None),
    "logits endless": SimpleNamespace(logits=Endless(), reliability=None),
    "logits no dimension": EngineOutputs(np.float32(9.0), None),  # type: ignore[arg-type]
    "logits objects": EngineOutputs(np.array([[None, 9.0]]), live(1).reliability),
    "no reliability": EngineOutputs(live(1).logits),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb")


@pytest.fixture(scope="module")
def bundle(path):
    return open_bundle(path)


class RaisingLanes(Proved):
    """Reproduces the golden captures, but opens no lane."""

    def __init__(self, bundle, error) -> None:
        super().__init__(bundle)
        self.error = error

    def open_lane(self, _):
        raise self.error


class RaisingClose(FakeEngine):
    """Raises when it is closed."""

    def close(self):
        raise AttributeError("no handle")


def raises(error):
    def load(*_args, **_options):
        raise error

    return load


def liars(bundle):
    """Return a loader for every way in which an engine may lie."""
    found = {}
    for error in RAISED:
        name = type(error).__name__
        found[f"loading raises {name}"] = raises(error)
        found[f"run raises {name}"] = lambda _, error=error: FakeEngine(error)
        found[f"a lane raises {name}"] = lambda _, error=error: RaisingLanes(bundle, error)
    for name, outputs in RETURNED.items():
        found[f"run returns {name}"] = lambda _, outputs=outputs: FakeEngine(outputs)
    found["run and close raise"] = lambda _: RaisingClose(MemoryError())
    return found


def test_no_swap_to_an_engine_that_lies_goes_through_or_disturbs_the_old_one(bundle):
    for name, load in liars(bundle).items():
        session = Liveness(bundle, FakeEngine(live), loader=load).start()
        with pytest.raises(FasdkError, match=r".") as caught:
            session.swap(bundle)
        unexpected = "raises" in name and "returns" not in name
        assert not unexpected or isinstance(caught.value, PlanError), name
        assert not unexpected or str(bundle.path) in str(caught.value), name
        assert session.check(GOOD).verdict is Verdict.LIVE, name
        session.close()


def test_an_old_engine_that_cannot_be_closed_does_not_undo_a_swap(bundle):
    session = Liveness(bundle, RaisingClose(live), loader=Proved).start()
    session.swap(bundle)
    assert isinstance(session.engine, Proved)
    assert session.check(GOOD).verdict is Verdict.LIVE
    session.close()


@pytest.mark.parametrize("error", [e for e in RAISED if isinstance(e, Exception)], ids=repr)
def test_a_backend_that_cannot_load_says_so_at_open(path, monkeypatch, error):
    monkeypatch.setattr("fasdk.session.opening.open_engine", raises(error))
    with pytest.raises(BackendError, match=r"tiny\.fasb cannot be loaded: unexpected"):
        fasdk.open(path)


@pytest.mark.parametrize("error", RAISED, ids=repr)
def test_an_engine_without_lanes_says_so_at_open(path, bundle, monkeypatch, error):
    engine = RaisingLanes(bundle, error)
    monkeypatch.setattr("fasdk.session.opening.open_engine", lambda *_, **__: engine)
    with pytest.raises(BackendError, match="no lane can be opened: unexpected"):
        fasdk.open(path)
    assert engine.closed


@pytest.mark.parametrize("outputs", RETURNED.values(), ids=RETURNED)
def test_an_engine_that_lies_in_service_opens_no_door(bundle, outputs):
    session = Liveness(bundle, FakeEngine(outputs))
    assert session.check(GOOD).verdict is Verdict.ERROR
    assert session.check_batch([GOOD])[0].verdict is Verdict.ERROR
    session.close()
