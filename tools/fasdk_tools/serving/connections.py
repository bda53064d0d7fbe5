"""Connections of the service: how many, and how long one may stay without a request."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from fasdk_tools.serving.answers import answered, refused_response
from fasdk_tools.serving.refusals import Refusal, RefusedError

if TYPE_CHECKING:
    from fasdk_tools.serving.limits import ServeLimits

_SWEEP_S = 0.5
_TURNED_AWAY_S = 1.0  # for which a connection too many may read its answer
_LINGERING_S = 1.0  # for which the rest of a refused body is read
_READ_BYTES = 2**20
# What the library would log of a request may hold its headers, and with them the token.
_silent = logging.getLogger("fasdk.serving.connections")
_silent.disabled = True


@dataclass
class _State:
    """State of a connection.

    Attributes:
        since_s: Time at which it was opened or its last request ended, of `time.monotonic`.
        requests: Requests under way.
        is_accepted: Whether a request of its was let in.
    """

    since_s: float
    requests: int = 0
    is_accepted: bool = False


class Connections:
    """Connections, each made by calling this as a factory of protocols.

    Args:
        limits: Limits on their number and on idle ones.
    """

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self._server: web.Server | None = None
        self._states: dict[web.RequestHandler, _State] = {}

    def serve(self, server: web.Server) -> None:
        """Serve connections by a server of the library, whose faults become answers."""
        handler = server.request_handler

        async def counted(request: web.BaseRequest) -> web.StreamResponse:
            state = self._states.get(request.protocol) or _State(time.monotonic())
            state.requests += 1
            try:
                return await answered(request, handler)
            finally:
                state.requests -= 1
                state.since_s = time.monotonic()

        server.request_handler = counted
        self._server = server

    def accept(self, protocol: Any) -> None:
        """Note that a request of a connection was let in."""
        state = self._states.get(protocol)
        if state is not None:
            state.is_accepted = True

    def __call__(self) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection; of one too many, one that refuses it."""
        server = self._server
        assert server is not None  # noqa: S101 - `serve` comes before the first connection
        if len(self._states) >= self._limits.connections:
            return _TurnedAway(
                f"{self._limits.connections} connections are open already: close one, or keep one "
                "for several requests"
            )
        protocol = _Protocol(
            self._states,
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._limits.idle_s,
            lingering_time=_LINGERING_S,
            read_bufsize=_READ_BYTES,
            auto_decompress=False,
            logger=_silent,
        )
        self._states[protocol] = _State(time.monotonic())
        return protocol

    async def sweep(self) -> None:
        """Close connections that stay without a request, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = time.monotonic()
            for protocol, state in list(self._states.items()):
                limit_s = self._limits.idle_s if state.is_accepted else self._limits.first_request_s
                if state.requests == 0 and now_s - state.since_s > limit_s:
                    protocol.force_close()
                    self._states.pop(protocol, None)  # also one that was never connected


class _Protocol(web.RequestHandler):
    """The library's protocol, whose own refusals have a body as all others have."""

    __slots__ = ("_states",)

    def __init__(
        self, states: dict[web.RequestHandler, _State], manager: web.Server, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._states = states

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another connection."""
        self._states.pop(self, None)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - it holds the request's bytes
        message: str | None = None,  # noqa: ARG002 - so does this
    ) -> web.StreamResponse:
        """Return the answer to a request that is no HTTP."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        refusal = Refusal.BAD_REQUEST if status < 500 else Refusal.UNEXPECTED
        response = refused_response(RefusedError(refusal, "the request is no HTTP/1.1 request"))
        response.force_close()
        return response


class _TurnedAway(asyncio.Protocol):
    """Connection too many: it is answered and closed, whatever it sends."""

    def __init__(self, message: str) -> None:
        body = Refusal.CONNECTIONS.text(message).encode()
        head = (
            f"HTTP/1.1 {Refusal.CONNECTIONS.status} Service Unavailable\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Retry-After: 1\r\nConnection: close\r\n\r\n"
        )
        self._answer = head.encode() + body
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer at once."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream
        self._transport = transport
        transport.write(self._answer)
        if transport.can_write_eof():
            transport.write_eof()
        asyncio.get_running_loop().call_later(_TURNED_AWAY_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Read on: closing with bytes unread would take the answer away."""

    def eof_received(self) -> bool:
        """Close, since the client is done."""
        return False
