"""Cost of a capture over the Unix socket, and the faults of a service, as one JSON line.

Takes a bundle and a number of captures. Captures go to `Liveness.check` in this process and to a
service of its own process by turns, so that both meet the same machine.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import fasdk
from fasdk.backends.engine import Backend
from fasdk_calibration.synthetic import SceneSettings, Species, Split, generate

from support import tiny_bundle
from support.serve_process import ServeProcess, client, frames_of

WARM_UP = 20
DEADLINE_MS = 2_000.0
SLACK_MS = 500.0  # of a client's own thread, on a machine that does other work too
ONE_THREAD = '{"batching": {}, "threads": 1}'  # of the engine, here and there
OPTIONS = ("--no-gates", "--max-rate", "100000", "--unsigned")


def measure_cost(bundle: Path, captures: int, folder: Path) -> dict[str, Any]:
    """Return the median milliseconds of both ways, over captures of three 640x480 frames."""
    made = generate(
        4,
        0,
        Split.HELD_OUT,
        species=Species.BONA_FIDE,
        settings=SceneSettings(width=640, height=480),
    ).capture
    assert made.face is not None
    capture = fasdk.Capture(rgb=made.rgb, depth=made.depth, ir=made.ir, face=made.face)
    frames = frames_of(capture)
    face = (made.face.x, made.face.y, made.face.width, made.face.height)
    inside: list[float] = []
    served: list[float] = []
    trust = fasdk.TrustPolicy.unsigned()
    folder.mkdir(parents=True)
    policy = folder / "policy.json"
    policy.write_text(ONE_THREAD)
    options = ("--deadline-ms", "20000", "--batching", str(policy))
    with (
        ServeProcess.start(bundle, folder, *OPTIONS, *options) as service,
        fasdk.open(bundle, backend=Backend.ONNXRUNTIME, trust=trust, batching=policy) as session,
    ):
        service.ready()
        checker = client.Checker(service.service(20_000.0))
        for number in range(WARM_UP + captures):
            at = [time.perf_counter()]
            expected = session.check(capture)
            at.append(time.perf_counter())
            answer = checker.check(frames, face)
            at.append(time.perf_counter())
            if answer["score"] != expected.score:
                raise RuntimeError(f"the service says {answer}, the session {expected}")
            if number >= WARM_UP:
                inside.append(1e3 * (at[1] - at[0]))
                served.append(1e3 * (at[2] - at[1]))
    return {"inside_ms": median(inside), "served_ms": median(served), "captures": captures}


def measure_faults(folder: Path) -> dict[str, dict[str, Any]]:
    """Return, by fault, the verdicts that clients got and the longest wait for one.

    The bundle is one on which the capture is LIVE, so that a fault which opens a door shows.
    """
    bundle = tiny_bundle.write(folder / "lobby.fasb")
    found: dict[str, dict[str, Any]] = {}
    for name, fault in FAULTS.items():
        token = folder / f"{name}.token"
        token.write_text("0123456789abcdef" * 4)
        token.chmod(0o600)
        options = ("--max-captures", "1", "--max-mib", "1", "--token-file", str(token))
        with ServeProcess.start(bundle, folder / name, *OPTIONS, *options) as service:
            service.ready()
            found[name] = fault(service, token.read_text())
    return found


def _asked(*askers: Any, frames: dict[str, Any] | None = None) -> dict[str, Any]:
    verdicts, waits = [], []
    for asker in askers:
        started = time.monotonic()
        given = frames or frames_of(tiny_bundle.capture(200), timed=True)
        verdicts.append(asker.check(given)["verdict"])
        waits.append(1e3 * (time.monotonic() - started))
    return {"verdicts": verdicts, "longest_ms": max(waits)}


def _clients(service: ServeProcess, token: str) -> tuple[Any, Any, Any]:
    """Return a client with an open connection, one of a stream, and one without a connection."""
    asked = service.service(DEADLINE_MS, token)
    askers = client.Checker(asked), client.Camera(asked, "lobby"), client.Checker(asked)
    verdicts = _asked(*askers[:2])["verdicts"]
    if verdicts != ["live", "retry"]:
        raise RuntimeError(f"a sound service answers {verdicts}, expected live and retry")
    return askers


def _stopped(service: ServeProcess, token: str) -> dict[str, Any]:
    askers = _clients(service, token)
    service.process.send_signal(signal.SIGSTOP)
    return _asked(*askers)


def _killed(service: ServeProcess, token: str) -> dict[str, Any]:
    askers = _clients(service, token)
    service.process.kill()
    service.process.wait()
    return _asked(*askers)


def _killed_in_mid_answer(service: ServeProcess, token: str) -> dict[str, Any]:
    askers = _clients(service, token)
    service.process.send_signal(signal.SIGSTOP)  # so that it has the capture and no answer
    threading.Timer(0.3, service.process.kill).start()
    return _asked(*askers)


def _overloaded(service: ServeProcess, token: str) -> dict[str, Any]:
    askers = _clients(service, token)
    body = b"".join(map(bytes, client.capture_buffers(frames_of(tiny_bundle.capture(200)))))
    head = service.service(token=token).head(
        "POST /v1/check HTTP/1.1",
        "Content-Type: application/vnd.fasdk.capture",
        f"Content-Length: {len(body)}",
    )
    with service.connect() as end:  # a capture that does not end takes the one place
        end.sendall(head + body[:100])
        time.sleep(0.1)
        return _asked(*askers)


def _closed_in_mid_frame(service: ServeProcess, token: str) -> dict[str, Any]:
    """The service ends while a capture is on its way."""
    large = {"rgb": client.Frame(bytes(3 * 500 * 500), "rgb8", 500, 500)}
    askers = _clients(service, token)
    service.process.send_signal(signal.SIGSTOP)
    threading.Timer(0.2, service.process.kill).start()
    return _asked(*askers, frames=large)


def _wrong_token(service: ServeProcess, token: str) -> dict[str, Any]:
    wrong = service.service(DEADLINE_MS, token[:-1] + "x")
    absent = service.service(DEADLINE_MS)
    return _asked(
        client.Checker(wrong),
        client.Camera(wrong, "lobby"),
        client.Checker(absent),
        client.Camera(absent, "lobby"),
    )


def _oversized(service: ServeProcess, token: str) -> dict[str, Any]:
    frames = {"rgb": client.Frame(bytes([200]) * (3 * 1000 * 1000), "rgb8", 1000, 1000)}
    asked = service.service(DEADLINE_MS, token)
    return _asked(client.Checker(asked), client.Camera(asked, "lobby"), frames=frames)


def _late(service: ServeProcess, token: str) -> dict[str, Any]:
    """Answers that come after the deadline, of a service that is stopped and goes on."""
    askers = _clients(service, token)
    service.process.send_signal(signal.SIGSTOP)
    threading.Timer(1.2 * DEADLINE_MS / 1e3, service.process.send_signal, (signal.SIGCONT,)).start()
    return _asked(askers[0])


FAULTS: dict[str, Callable[[ServeProcess, str], dict[str, Any]]] = {
    "stopped": _stopped,
    "killed": _killed,
    "killed in mid-answer": _killed_in_mid_answer,
    "overloaded": _overloaded,
    "closed in mid-frame": _closed_in_mid_frame,
    "wrong token": _wrong_token,
    "oversized": _oversized,
    "late": _late,
}


def main() -> None:
    """Measure both and print them."""
    os.environ["OMP_NUM_THREADS"] = "1"
    bundle, captures = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASDK_HOME"] = str(Path(folder) / "home")
        cost = measure_cost(bundle, captures, Path(folder) / "cost")
        faults = measure_faults(Path(folder))
    within_ms = DEADLINE_MS + SLACK_MS
    print(json.dumps({"cost": cost, "faults": faults, "within_ms": within_ms}))


if __name__ == "__main__":
    main()
