"""Progress of a plan's build in the log."""

from __future__ import annotations

import pytest

from fasdk.backends.engine import Backend
from fasdk.backends.tensorrt.opening import open_tensorrt_engine
from fasdk.backends.tensorrt.progress import LoggedProgress

from support.gpu_rig import Rig


def test_a_line_at_the_start_and_then_one_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    progress = LoggedProgress("lobby.fasb on Orin", every_seconds=3600.0)
    progress.update("Tactics", 1, 9)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "lobby.fasb on Orin: no plan" in caplog.text
    progress = LoggedProgress("lobby.fasb on Orin", every_seconds=0.0)
    progress.update("Tactics", 2, 9)
    assert "Tactics 2/9" in caplog.messages[-1]


def test_a_caller_with_a_listener_hears_it_instead(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    class Listener:
        def update(self, phase: str, *_: int) -> None:
            heard.append(phase)

    open_tensorrt_engine(rig.bundle, Backend.TENSORRT, driver=rig.gpu, progress=Listener())
    assert "can take many" not in caplog.text
    assert heard == ["build", "build"]
