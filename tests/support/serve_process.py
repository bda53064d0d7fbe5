"""A `fasdk serve` of its own process, and the reference client that asks it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fasdk.capture import Capture, Modality, monotonic_ms

PROJECT = Path(__file__).resolve().parents[2]
CLIENT = PROJECT / "tools" / "examples" / "serve_client" / "door_client.py"
FORMATS = {Modality.RGB: "rgb8", Modality.DEPTH: "depth16-mm", Modality.IR: "gray8"}


def load_client() -> ModuleType:
    """Return the reference client, which is no part of a package."""
    found = sys.modules.get("door_client")
    if found is not None:
        return found
    spec = importlib.util.spec_from_file_location("door_client", CLIENT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["door_client"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


client = load_client()


def frames_of(capture: Capture, *, timed: bool = False) -> dict[str, Any]:
    """Return a capture's frames as the client takes them, raw."""
    taken_ms = monotonic_ms() if timed else None
    return {
        m.value: client.Frame(
            capture.frame(m).data, FORMATS[m], *reversed(capture.frame(m).shape[:2]), taken_ms
        )
        for m in capture.present
    }


@dataclass
class ServeProcess:
    """A running service; a context manager that ends it.

    Attributes:
        process: The process.
        address: Where it listens, as the client takes it.
        log: File with what it said on stderr.
    """

    process: subprocess.Popen[str]
    address: str
    log: Path

    @classmethod
    def start(cls, bundle: Path, folder: Path, *options: str) -> ServeProcess:
        """Start a service on a Unix socket in a folder, or where `--http` says.

        It is not ready yet. The port of `--http` must be free.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if "--http" in options:
            address = f"http://{options[options.index('--http') + 1]}"
        else:
            path = folder / "door.sock"
            address, options = f"unix:{path}", (*options, "--socket", str(path))
        log = folder / "log"
        words = [sys.executable, "-m", "fasdk_tools.cli", "serve", str(bundle)]
        with log.open("w") as file:
            process = subprocess.Popen(
                [*words, "--backend", "onnxruntime", *options],
                stdout=subprocess.DEVNULL,
                stderr=file,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        return cls(process, address, log)

    def __enter__(self) -> ServeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def service(self, deadline_ms: float = 10_000.0, token: str | None = None) -> Any:
        """Return the service as the client takes it."""
        return client.Service(self.address, token, deadline_ms)

    def ready(self, seconds: float = 120.0) -> ServeProcess:
        """Wait until captures are judged."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            try:
                if self.request("GET /readyz HTTP/1.1", "Host: localhost").status == 200:
                    return self
            except (OSError, ValueError):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the service is not ready: {self.log.read_text()[-500:]}")

    def connect(self, timeout_s: float = 20.0) -> socket.socket:
        """Return a connection."""
        end = self.service().connect(time.monotonic() + timeout_s)
        end.settimeout(timeout_s)
        return end

    def request(self, *head: str, body: bytes = b"") -> Response:
        """Return the answer to a request on a connection of its own."""
        with self.connect() as end:
            send_all(end, ("\r\n".join((*head, "Connection: close")) + "\r\n\r\n").encode() + body)
            return read_response(end)


@dataclass(frozen=True)
class Response:
    """An HTTP answer.

    Attributes:
        status: Its status.
        head: Its head as text.
        body: Its body.
    """

    status: int
    head: str
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def send_all(end: socket.socket, data: bytes) -> None:
    """Send bytes, as far as the other end takes them."""
    with suppress(BrokenPipeError, ConnectionResetError):
        end.sendall(data)


def read_response(end: socket.socket) -> Response:
    """Return the answer that a connection gives until it closes.

    Raises:
        ValueError: It closes without one.
    """
    data = b""
    try:
        while chunk := end.recv(65_536):
            data += chunk
    except ConnectionResetError:
        pass
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        raise ValueError(f"no answer: {data[:100]!r}")
    text = head.decode("latin-1")
    return Response(int(text.split(" ")[1]), text, body)


def free_port() -> int:
    """Return a port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
