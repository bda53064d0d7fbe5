"""Refusals of the service: an HTTP status and a body whose verdict is ERROR."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from fasdk.decision import Verdict
from fasdk.errors import FasdkError
from fasdk.reasons import Reason
from fasdk_tools.terminal.output import json_line


@dataclass(frozen=True)
class _Definition:
    """Definition of a `Refusal` member.

    Attributes:
        error: Name of the refusal for programs, as a body has it.
        status: HTTP status.
        code: Reason code that fits it, or None.
        when: What it answers, for the OpenAPI document.
    """

    error: str
    status: int
    code: Reason | None
    when: str


class Refusal(Enum):
    """Refusals of a request or of a camera's message."""

    BAD_REQUEST = _Definition(
        "bad-request", 400, Reason.BAD_CAPTURE, "the request or its capture is malformed"
    )
    TOKEN = _Definition("token", 401, None, "the token is absent or wrong")
    HOST = _Definition("host", 403, None, "the Host header names another host")
    ORIGIN = _Definition("origin", 403, None, "the Origin header names a page that is not allowed")
    NOT_FOUND = _Definition("not-found", 404, None, "there is no such path")
    METHOD = _Definition("method", 405, None, "the path has no such method")
    CAMERA_BUSY = _Definition(
        "camera-busy", 409, None, "another connection streams this camera, or too many were named"
    )
    TOO_LARGE = _Definition(
        "too-large", 413, Reason.BAD_CAPTURE, "the body is larger than the service takes"
    )
    CONTENT_TYPE = _Definition(
        "content-type", 415, Reason.BAD_CAPTURE, "the body is of a kind that is not read"
    )
    EXPECTATION = _Definition("expectation", 417, None, "Expect asks for more than 100-continue")
    WEBSOCKET = _Definition("websocket", 426, None, "the path speaks WebSocket alone")
    RATE = _Definition("rate", 429, Reason.QUEUE_FULL, "more captures a second than may be")
    UNEXPECTED = _Definition("unexpected", 500, Reason.UNEXPECTED, "a fault of the service")
    NOT_READY = _Definition(
        "not-ready", 503, None, "the golden captures were not replayed yet, or the engine is faulty"
    )
    OVERLOADED = _Definition(
        "overloaded", 503, Reason.QUEUE_FULL, "as many captures as may be are judged already"
    )
    CONNECTIONS = _Definition(
        "connections", 503, Reason.QUEUE_FULL, "as many connections as may be are open already"
    )
    DEADLINE = _Definition("deadline", 504, Reason.DEADLINE, "there was no answer in time")
    CAMERA = _Definition("camera", 408, Reason.CAMERA, "a camera's stream sent no frame for long")

    @property
    def error(self) -> str:
        """Name of the refusal for programs."""
        return self.value.error

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.value.status

    @property
    def when(self) -> str:
        """What it answers."""
        return self.value.when

    def document(self, message: str) -> dict[str, Any]:
        """Return the body: a verdict ERROR with one reason."""
        code = self.value.code
        return {
            "verdict": Verdict.ERROR.value,
            "error": self.error,
            "codes": [] if code is None else [code.value],
            "reasons": [message],
        }

    def text(self, message: str) -> str:
        """Return the body as JSON on one line."""
        return json_line(self.document(message))


class RefusedError(FasdkError):
    """A request or a camera's message is refused.

    Attributes:
        refusal: Which refusal it is.
        headers: Headers of the answer besides the usual ones.
    """

    def __init__(
        self, refusal: Refusal, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.headers = headers or {}

    @property
    def text(self) -> str:
        """Body of the answer, as JSON on one line."""
        return self.refusal.text(str(self))
