"""A running service: captures, streams, and whatever else a client may do."""

from __future__ import annotations

import json
import math
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

import fasdk

from support import tiny_bundle
from support.serve_process import (
    ServeProcess,
    client,
    frames_of,
    free_port,
    read_response,
    send_all,
)

TOKEN = "0123456789abcdef" * 4
CHECK = "POST /v1/check HTTP/1.1"
BINARY = "Content-Type: application/vnd.fasdk.capture"
HOST = "Host: localhost"
DEADLINE_MS = 20_000.0  # of a machine that does other work too
PATIENT = ("--no-gates", "--deadline-ms", "20000")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "lobby.fasb")


@pytest.fixture(scope="module")
def local(bundle, tmp_path_factory):
    """A service on a Unix socket, without gates and a token."""
    folder = tmp_path_factory.mktemp("local")
    options = (*PATIENT, "--max-mib", "1", "--max-connections", "8")
    with ServeProcess.start(bundle, folder, *options) as service:
        yield service.ready()


@pytest.fixture(scope="module")
def guarded(bundle, tmp_path_factory):
    """A service on loopback with a token."""
    folder = tmp_path_factory.mktemp("guarded")
    token = folder / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    options = ("--http", f"127.0.0.1:{free_port()}", "--token-file", str(token), *PATIENT)
    with ServeProcess.start(bundle, folder, *options) as service:
        yield service.ready()


def moment(number, face=None):
    """Return one of a camera's captures, none of whose frames is as another's."""
    made = tiny_bundle.capture(200, seed=number, face=face)
    made.depth[0, 0] = 400 + number
    return made


def body_of(capture, **more):
    return b"".join(bytes(part) for part in client.capture_buffers(frames_of(capture), **more))


def posted(service, body, *lines, head=CHECK):
    return service.request(head, HOST, *lines, f"Content-Length: {len(body)}", body=body)


def assert_refused(response, status, error):
    assert response.status == status, response
    document = response.document
    assert (document["verdict"], document["error"]) == ("error", error)
    assert len(document["reasons"]) == 1


def assert_goes_on(service):
    """Captures are judged again as soon as the service has seen that others left."""
    until = time.monotonic() + 20.0
    verdict = ""
    while verdict != "live" and time.monotonic() < until:
        checker = client.Checker(service.service(DEADLINE_MS))
        verdict = checker.check(frames_of(tiny_bundle.capture()))["verdict"]
        checker.close()
    assert verdict == "live"


@pytest.mark.parametrize("level", [200, 20])
def test_a_capture_gets_the_sessions_own_decision_as_check_prints_it(local, bundle, level):
    capture = tiny_bundle.capture(level)
    checker = client.Checker(local.service(DEADLINE_MS))
    answers = [checker.check(frames_of(capture)) for _ in range(2)]  # on one connection
    checker.close()
    with fasdk.open(bundle, backend="onnxruntime") as session:
        decision = session.check(capture)
    expected = json.loads(json.dumps(asdict(decision)))
    for answer in answers:
        assert answer.pop("timings_ms").keys() == expected["timings_ms"].keys()
        assert answer.pop("bundle") == str(bundle)
        assert answer.pop("backend") == "onnxruntime"
        assert answer == {name: value for name, value in expected.items() if name != "timings_ms"}
        assert client.is_live(answer) is (level == 200)


def test_encoded_frames_in_a_form_are_decided_as_the_raw_ones(local):
    capture = tiny_bundle.capture(200)
    parts = {
        "capture": json.dumps({"face": [4, 3, 20, 15]}).encode(),
        "rgb": cv2.imencode(".png", capture.rgb[..., ::-1])[1].tobytes(),
        "depth": cv2.imencode(".png", capture.depth)[1].tobytes(),
        "ir": cv2.imencode(".png", capture.ir)[1].tobytes(),
    }
    form = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in parts.items()
    )
    response = posted(local, form + b"--b--\r\n", "Content-Type: multipart/form-data; boundary=b")
    assert response.status == 200, response
    raw = client.Checker(local.service(DEADLINE_MS)).check(frames_of(capture), (4, 3, 20, 15))
    assert response.document["score"] == raw["score"]
    assert response.document["verdict"] == "live"


def test_a_stream_answers_every_frame_with_its_track(local):
    camera = client.Camera(local.service(DEADLINE_MS), "lobby")
    answers = []
    for number in range(4):
        capture = moment(number, (4, 3, 20, 15))
        answers.append(camera.check(frames_of(capture, timed=True), (4, 3, 20, 15)))
        time.sleep(0.06)  # frames count 50 ms apart
    busy = client.Camera(local.service(DEADLINE_MS), "lobby")
    refused = busy.check(frames_of(capture), (4, 3, 20, 15))
    camera.close()
    verdicts = [answer["verdict"] for answer in answers]
    assert [a["codes"] for a in answers[:3]] == [["undecided"], ["undecided"], []], answers
    assert verdicts[:3] == ["retry", "retry", "live"]
    assert [answer["frames"] for answer in answers[:3]] == [1, 2, 3]
    assert {answer["camera_id"] for answer in answers} == {"lobby"}
    assert answers[0]["frame"]["verdict"] == "live"
    assert refused["verdict"] == "error" and "409" in refused["reasons"][0]


def test_evidence_does_not_pass_from_one_stream_to_the_next(local):
    face = (4, 3, 20, 15)
    for number in range(4):
        camera = client.Camera(local.service(DEADLINE_MS), "between")
        capture = moment(number, face)
        answer = camera.check(frames_of(capture, timed=True), face)
        camera.close()
        # What was gathered and abandoned is an attempt, after which nobody is judged for a while.
        expected = ("undecided", 1) if number == 0 else ("wait", 0)
        assert (answer["verdict"], answer["codes"][0], answer["frames"]) == ("retry", *expected)
        time.sleep(0.06)


def test_a_stream_without_times_of_exposure_is_stale_where_gates_ask_for_them(bundle, tmp_path):
    with ServeProcess.start(bundle, tmp_path, "--deadline-ms", "20000") as service:
        service.ready()
        answer = client.Checker(service.service(DEADLINE_MS)).check(
            frames_of(tiny_bundle.capture())
        )
        assert answer["verdict"] == "retry" and "stale" in answer["codes"]
        camera = client.Camera(service.service(DEADLINE_MS), "lobby")
        answer = camera.check(frames_of(tiny_bundle.capture()))
        assert answer["verdict"] == "retry" and answer["codes"][0] == "stale"


@pytest.mark.parametrize(
    ("lines", "status", "error"),
    [
        (["Content-Type: text/plain"], 415, "content-type"),
        ([], 415, "content-type"),
        ([BINARY, "Content-Encoding: gzip"], 415, "content-type"),
        ([BINARY, "Fasdk-Deadline-Ms: soon"], 400, "bad-request"),
        ([BINARY, "Origin: http://localhost"], 403, "origin"),
        ([BINARY, "Expect: a-door"], 417, "expectation"),
        (["Content-Type: multipart/form-data; boundary=b"], 400, "bad-request"),
    ],
)
def test_what_is_no_request_for_a_capture_is_refused(local, lines, status, error):
    assert_refused(posted(local, body_of(tiny_bundle.capture()), *lines), status, error)


def test_a_foreign_host_is_refused(local):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "a@localhost"):
        response = local.request("GET /openapi.json HTTP/1.1", f"Host: {host}")
        assert_refused(response, 403, "host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:1"])
def test_this_machine_is_no_foreign_host(local, host):
    assert local.request("GET /healthz HTTP/1.1", f"Host: {host}").status == 200


def test_a_cross_site_websocket_is_refused(local):
    response = local.request(
        "GET /v1/cameras/lobby/frames HTTP/1.1",
        HOST,
        "Origin: https://evil.example",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert_refused(response, 403, "origin")


def test_unknown_paths_methods_and_requests_are_refused_in_json(local):
    assert_refused(local.request("GET /nothing HTTP/1.1", HOST), 404, "not-found")
    assert_refused(local.request("GET /nothing HTTP/1.1", HOST, "Expect: x"), 417, "expectation")
    response = local.request("DELETE /v1/check HTTP/1.1", HOST)
    assert_refused(response, 405, "method")
    assert "Allow: POST" in response.head
    frames = "GET /v1/cameras/lobby/frames HTTP/1.1"
    assert_refused(local.request(frames, HOST), 426, "websocket")
    assert_refused(local.request(frames.replace("lobby", "%20"), HOST), 400, "bad-request")
    assert_refused(local.request("NONSENSE", "x"), 400, "bad-request")
    assert_refused(
        local.request("GET / HTTP/1.1", "Host: localhost", "A\0B: c"), 400, "bad-request"
    )


def test_an_oversized_body_is_refused_by_its_length_and_as_it_comes(local):
    assert_refused(posted(local, b"x" * (2**20 + 1), BINARY), 413, "too-large")
    chunk = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    with local.connect() as end:
        lines = (CHECK, HOST, BINARY, "Transfer-Encoding: chunked", "Connection: close", "\r\n")
        head = "\r\n".join(lines)
        send_all(end, head.encode() + chunk * 5 + b"0\r\n\r\n")
        assert_refused(read_response(end), 413, "too-large")
    camera = client.Camera(local.service(DEADLINE_MS), "large")
    frame = client.Frame(bytes(3 * 1000 * 1000), "rgb8", 1000, 1000)
    assert camera.check({"rgb": frame})["verdict"] == "error"


@pytest.mark.parametrize("cut", [3, 50, 1000, -1])
def test_a_cut_capture_is_a_bad_request(local, cut):
    response = posted(local, body_of(tiny_bundle.capture())[:cut], BINARY)
    assert_refused(response, 400, "bad-request")
    assert response.document["codes"] == ["bad-capture"]


def test_a_client_that_leaves_in_mid_frame_holds_nothing_up(local):
    body = body_of(tiny_bundle.capture())
    head = "\r\n".join((CHECK, HOST, BINARY, f"Content-Length: {len(body)}", "\r\n")).encode()
    for _ in range(20):  # more than captures at once and connections
        with local.connect() as end:
            send_all(end, head + body[: len(body) // 2])
    assert_goes_on(local)


def test_a_slow_body_ends_with_its_deadline(local):
    with local.connect() as end:
        lines = (CHECK, HOST, BINARY, "Fasdk-Deadline-Ms: 300", "Content-Length: 5000", "\r\n")
        started = time.monotonic()
        send_all(end, "\r\n".join(lines).encode() + b"half")
        assert_refused(read_response(end), 504, "deadline")
        assert 0.25 < time.monotonic() - started < 10.0


def test_a_thousand_connections_are_each_answered_and_captures_go_on(local):
    def ask(_):
        for _ in range(100):
            with suppress(BlockingIOError):  # the listen queue is full: nothing was accepted
                return local.request("GET /healthz HTTP/1.1", HOST)
            time.sleep(0.05)
        return None

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(1000)))
    assert {answer.status for answer in answers} <= {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert_refused(answer, 503, "connections")
    assert any(answer.status == 200 for answer in answers)
    assert_goes_on(local)


def test_idle_connections_are_closed_so_that_others_get_in(local):
    idle = [local.connect() for _ in range(8)]
    try:
        for end in idle:
            assert end.recv(1) == b""  # by the service, after `first_request_s`
        assert local.request("GET /healthz HTTP/1.1", HOST).status == 200
    finally:
        for end in idle:
            end.close()


def test_the_socket_is_for_its_owner_alone(local):
    found = Path(local.address.removeprefix("unix:")).stat()
    assert stat.S_ISSOCK(found.st_mode) and found.st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "given", [None, "wrong" * 13, TOKEN[:-1], TOKEN + "0", "", "\u00e9" * 32, "a\tb" * 20]
)
def test_only_the_token_lets_a_capture_in_and_it_is_never_logged(guarded, given):
    lines = [] if given is None else [f"Authorization: Bearer {given}"]
    body = body_of(tiny_bundle.capture())
    assert_refused(posted(guarded, body, BINARY, *lines), 401, "token")
    good = posted(guarded, body, BINARY, f"Authorization: Bearer {TOKEN}")
    assert good.document["verdict"] == "live"
    bad = guarded.request("GET / HTTP/1.1", HOST, f"Authorization: Bearer {TOKEN}\x01", "A\0: b")
    assert_refused(bad, 400, "bad-request")
    assert TOKEN.encode() not in bad.body
    assert TOKEN not in guarded.log.read_text()


def test_a_stream_needs_the_token_and_health_does_not(guarded):
    frames = frames_of(tiny_bundle.capture(), timed=True)
    assert "401" in client.Camera(guarded.service(), "a").check(frames)["reasons"][0]
    answer = client.Camera(guarded.service(token=TOKEN), "a").check(frames)
    assert answer["verdict"] == "retry"
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert guarded.request(f"GET {path} HTTP/1.1", HOST).status == 200


def test_a_stopped_a_killed_and_an_absent_service_are_errors_within_the_deadline(bundle, tmp_path):
    service = ServeProcess.start(bundle, tmp_path, *PATIENT)
    with service:
        service.ready()
        patient, hasty = service.service(DEADLINE_MS), service.service(1000.0)
        frames = frames_of(tiny_bundle.capture(), timed=True)
        askers = [client.Checker(patient), client.Camera(patient, "lobby"), client.Checker(hasty)]
        assert askers[0].check(frames)["verdict"] == "live"
        assert askers[1].check(frames)["verdict"] == "retry"
        service.process.send_signal(signal.SIGSTOP)
        for ask in askers:
            ask.service = hasty  # on the connection that it has
            started = time.monotonic()
            assert ask.check(frames)["verdict"] == "error"
            assert time.monotonic() - started < 5.0
        service.process.send_signal(signal.SIGCONT)
        service.process.kill()
        service.process.wait()
        for ask in askers:
            assert ask.check(frames)["verdict"] == "error"


def test_an_overloaded_service_answers_error(bundle, tmp_path):
    with ServeProcess.start(bundle, tmp_path, *PATIENT, "--max-captures", "1") as service:
        service.ready()
        body = body_of(tiny_bundle.capture())
        head = "\r\n".join((CHECK, HOST, BINARY, f"Content-Length: {len(body)}", "\r\n")).encode()
        with service.connect() as end:
            send_all(end, head + body[:100])  # takes the one place
            until = time.monotonic() + 20.0
            answer = {}
            while answer.get("error") != "overloaded" and time.monotonic() < until:
                answer = posted(service, body, BINARY).document
        assert (answer["verdict"], answer["codes"]) == ("error", ["queue-full"])


def test_it_is_ready_only_after_the_golden_captures_and_ends_at_sigterm(bundle, tmp_path):
    with ServeProcess.start(bundle, tmp_path, *PATIENT) as service:
        seen = set()
        until = time.monotonic() + 60.0
        while 200 not in seen and time.monotonic() < until:
            try:
                ready = service.request("GET /readyz HTTP/1.1", HOST)
            except (OSError, ValueError):
                continue
            if ready.status == 503:
                assert_refused(ready, 503, "not-ready")
                refused = posted(service, body_of(tiny_bundle.capture()), BINARY)
                assert refused.document["verdict"] in ("error", "live")
            seen.add(ready.status)
        assert seen == {200, 503}
        camera = client.Camera(service.service(), "lobby")
        assert camera.check(frames_of(tiny_bundle.capture(), timed=True))["verdict"] == "retry"
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=20) == 0
        assert not (tmp_path / "door.sock").exists()
        assert camera.check(frames_of(tiny_bundle.capture()))["verdict"] == "error"


def test_a_score_that_is_no_number_is_null(local):
    answer = posted(
        local, body_of(tiny_bundle.capture(modalities=(fasdk.Modality.DEPTH,))), BINARY
    ).document
    assert answer["verdict"] in ("retry", "error")
    assert answer["score"] is None and not math.isnan(answer["timings_ms"]["end_to_end"])
    assert np.isfinite(answer["timings_ms"]["end_to_end"])
