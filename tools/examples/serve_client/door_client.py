"""Client of `fasdk serve` with Python's standard library alone, to be copied or translated.

Every failure is an answer with verdict "error": no connection, a service that is stopped, killed or
overloaded, an answer that comes late, is cut or is no JSON. Open the door for `is_live` alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Buffer = bytes | bytearray | memoryview
Answer = dict[str, Any]

_ORDER = ("rgb", "depth", "ir")
_MOST_ANSWER_BYTES = 2**20
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


class FailedError(Exception):
    """The service cannot be asked, or its answer cannot be used."""


@dataclass(frozen=True)
class Frame:
    """One frame of a capture.

    Attributes:
        data: Rows without padding, from the top; or a whole PNG or JPEG file.
        format: "rgb8", "bgr8", "bgra8", "depth16-mm", "gray8", "png" or "jpeg".
        width: Width in pixels.
        height: Height in pixels.
        taken_ms: Time of exposure, in milliseconds of CLOCK_MONOTONIC (`time.monotonic`).
    """

    data: Buffer
    format: str
    width: int
    height: int
    taken_ms: float | None = None


def is_live(answer: Answer) -> bool:
    """Return whether a door may open: for this verdict and nothing else."""
    return answer.get("verdict") == "live"


def error_answer(reason: str) -> Answer:
    """Return the answer where there is none from the service."""
    return {"verdict": "error", "error": "client", "codes": [], "reasons": [reason]}


def capture_buffers(
    frames: Mapping[str, Frame], face: Sequence[int] | None = None, **more: Any
) -> list[Buffer]:
    """Return a capture in binary form, as buffers to be sent one after another.

    Args:
        frames: Frames by "rgb", "depth" and "ir".
        face: Face box x, y, width, height in pixels of the first frame; None where the service
            finds it.
        more: Further fields of the header, such as `landmarks` or `deadline_ms`.
    """
    header: dict[str, Any] = {"frames": {}, **more}
    if face is not None:
        header["face"] = list(face)
    times = {name: frame.taken_ms for name, frame in frames.items() if frame.taken_ms is not None}
    if times:
        header["taken_ms"] = times
    present = [(name, frames[name]) for name in _ORDER if name in frames]
    for name, frame in present:
        said: dict[str, Any] = {"format": frame.format}
        if frame.format in ("png", "jpeg"):
            said["bytes"] = len(memoryview(frame.data).cast("B"))
        else:
            said |= {"width": frame.width, "height": frame.height}
        header["frames"][name] = said
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 4) % 8)  # frames begin at a multiple of 8, so none is copied
    return [
        len(text).to_bytes(4, "little") + text,
        *(memoryview(frame.data).cast("B") for _, frame in present),
    ]


@dataclass(frozen=True)
class Service:
    """Where the service is.

    Attributes:
        address: "unix:/run/fasdk/door.sock" or "http://127.0.0.1:8765".
        token: Token of --token-file, or None.
        deadline_ms: Longest time from asking to the answer, in milliseconds.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    deadline_ms: float = 1000.0

    def connect(self, until_s: float) -> socket.socket:
        """Return a connection, made before a time of `time.monotonic`."""
        if self.address.startswith("unix:"):
            end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            end.settimeout(_left_s(until_s))
            try:
                end.connect(self.address.removeprefix("unix:"))
            except BaseException:
                end.close()
                raise
            return end
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), _left_s(until_s))

    def head(self, first: str, *lines: str) -> bytes:
        """Return the head of a request, which names this machine as its host."""
        token = () if self.token is None else (f"Authorization: Bearer {self.token}",)
        return ("\r\n".join((first, "Host: localhost", *token, *lines)) + "\r\n\r\n").encode()


class _Client(ABC):
    """Client on one connection that it keeps until something fails.

    Attributes:
        service: Where the service is.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._end: _Stream | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._end is not None:
            self._end.close()
            self._end = None

    def check(
        self, frames: Mapping[str, Frame], face: Sequence[int] | None = None, **more: Any
    ) -> Answer:
        """Return the answer on a capture, before the deadline; never raises an Exception."""
        until_s = time.monotonic() + self.service.deadline_ms / 1e3
        try:
            return self._ask(capture_buffers(frames, face, **more), until_s)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the door stays shut
            # What is answered on this connection from now on belongs to no capture.
            self.close()
            return error_answer(f"{type(error).__name__}: {error}")

    @abstractmethod
    def _ask(self, buffers: Sequence[Buffer], until_s: float) -> Answer: ...


class Checker(_Client):
    """Client that asks for one capture at a time, on one connection that it keeps."""

    def _ask(self, buffers: Sequence[Buffer], until_s: float) -> Answer:
        if self._end is None or self._end.is_over():
            self.close()
            self._end = _Stream(self.service.connect(until_s), until_s)
        end = self._end
        end.until_s = until_s
        size = sum(len(buffer) for buffer in buffers)
        head = self.service.head(
            "POST /v1/check HTTP/1.1",
            "Content-Type: application/vnd.fasdk.capture",
            f"Content-Length: {size}",
            f"Fasdk-Deadline-Ms: {max(1, int(_left_s(until_s) * 1e3))}",
        )
        end.send(head + bytes(buffers[0]), *buffers[1:])
        status, headers = end.read_head()
        text = end.read(int(headers.get("content-length", "-1")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        answer = _answer_of(text)
        if status != 200 and is_live(answer):
            raise FailedError(f"status {status} with verdict live")
        _left_s(until_s)
        return answer


class Camera(_Client):
    """Client that streams a camera's frames, each of which gets an answer of its track.

    After a failure the stream is closed, and the next frame opens another, on which the evidence
    gathered before does not count.

    Args:
        service: Where the service is.
        name: Name of the camera, on whose account attempts are.
    """

    def __init__(self, service: Service, name: str) -> None:
        super().__init__(service)
        self._name = name

    def _ask(self, buffers: Sequence[Buffer], until_s: float) -> Answer:
        if self._end is None:
            self._end = self._open(until_s)
        self._end.until_s = until_s
        self._end.send(*_masked(_BINARY, b"".join(buffers)))
        answer = _answer_of(self._message(self._end))
        _left_s(until_s)
        return answer

    def _open(self, until_s: float) -> _Stream:
        end = _Stream(self.service.connect(until_s), until_s)
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            end.send(
                self.service.head(
                    f"GET /v1/cameras/{self._name}/frames HTTP/1.1",
                    "Connection: Upgrade",
                    "Upgrade: websocket",
                    "Sec-WebSocket-Version: 13",
                    f"Sec-WebSocket-Key: {key}",
                )
            )
            status, headers = end.read_head()
            if status != 101:
                text = end.read(int(headers.get("content-length", "0")))
                raise FailedError(f"status {status}: {text.decode('utf-8', 'replace')[:500]}")
            digest = hashlib.sha1((key + _WEBSOCKET_GUID).encode(), usedforsecurity=False).digest()
            if headers.get("sec-websocket-accept") != base64.b64encode(digest).decode():
                raise FailedError("the other end speaks no WebSocket")
        except BaseException:
            end.close()
            raise
        return end

    def _message(self, end: _Stream) -> bytes:
        """Return the next text message."""
        while True:
            first, second = end.read(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(end.read(2), "big")
            elif size == 127:
                size = int.from_bytes(end.read(8), "big")
            if second & 0x80 or not first & 0x80:
                raise FailedError("a message that is masked or comes in parts")
            payload, kind = end.read(size), first & 0x0F
            if kind == _TEXT:
                return payload
            if kind == _CLOSE:
                raise FailedError(f"the stream is closed: {payload[2:].decode('utf-8', 'replace')}")
            if kind == _PING:
                end.send(*_masked(_PONG, payload))


class _Stream:
    """Connection whose every operation ends by one time.

    Args:
        end: The connection.
        until_s: Time of `time.monotonic` by which an operation must be done.
    """

    def __init__(self, end: socket.socket, until_s: float) -> None:
        self._end = end
        self._read = bytearray()
        self.until_s = until_s

    def close(self) -> None:
        self._end.close()

    def is_over(self) -> bool:
        """Return whether the service closed the connection, or sent what was not asked for."""
        self._end.settimeout(0.0)
        try:
            return bool(self._read) or len(self._end.recv(1, socket.MSG_PEEK)) >= 0
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send(self, *buffers: Buffer) -> None:
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                self._end.settimeout(_left_s(self.until_s))
                view = view[self._end.send(view) :]

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_ANSWER_BYTES:
            raise FailedError(f"an answer of {size} bytes")
        while len(self._read) < size:
            self._fill()
        found = bytes(self._read[:size])
        del self._read[:size]
        return found

    def read_head(self) -> tuple[int, dict[str, str]]:
        while (size := self._read.find(b"\r\n\r\n")) < 0:
            if len(self._read) > _MOST_ANSWER_BYTES:
                raise FailedError("an answer whose head does not end")
            self._fill()
        first, *lines = self.read(size + 4)[:-4].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split(" ")[1]), {name.lower(): text.strip() for name, _, text in pairs}

    def _fill(self) -> None:
        self._end.settimeout(_left_s(self.until_s))
        data = self._end.recv(65_536)
        if not data:
            raise FailedError("the service closed the connection")
        self._read += data


def _left_s(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0.0:
        raise FailedError("no answer within the deadline")
    return left_s


def _answer_of(text: bytes) -> Answer:
    answer = json.loads(text)
    if not isinstance(answer, dict) or not isinstance(answer.get("verdict"), str):
        raise FailedError("an answer without a verdict")
    return answer


def _masked(kind: int, payload: bytes) -> tuple[bytes, bytes]:
    """Return a message of a client, whose payload WebSocket masks (RFC 6455, 5.3)."""
    size, key = len(payload), os.urandom(4)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 2**16:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "little")
    data = (int.from_bytes(payload, "little") ^ mask).to_bytes(size, "little")
    return bytes([0x80 | kind]) + length + key, data
