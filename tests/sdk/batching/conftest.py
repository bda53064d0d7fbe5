"""Fixtures of the batching tests: sessions on scripted engines."""

from __future__ import annotations

import pytest

from fasdk.batching import BatchingPolicy
from fasdk.session.session import Liveness

from support.brightness import SHADES, Brightness


@pytest.fixture(scope="module")
def expected(bundle):
    """The score of each of SHADES by its own pixels."""
    session = Liveness(bundle, Brightness())
    return [decision.score for decision in session.check_batch(SHADES)]


@pytest.fixture
def opened(bundle):
    """Open sessions on scripted engines, and close them."""
    sessions = []

    def make(engine, **policy):
        batching = BatchingPolicy(**policy)
        session = Liveness(bundle, engine, batching=batching, missing="degrade").start()
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.close(drain=False)
