"""Paths of the service: a capture by itself, a camera's stream, health and the document."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, WSCloseCode, WSMsgType, web

from fasdk.capture import Modality
from fasdk.errors import CaptureError
from fasdk_tools.serving.answers import json_response, unexpected_text
from fasdk_tools.serving.capture_body import BINARY_TYPE, MAX_HEADER_BYTES, CaptureBody
from fasdk_tools.serving.openapi import DEADLINE_HEADER, Route, openapi_document
from fasdk_tools.serving.refusals import Refusal, RefusedError
from fasdk_tools.serving.service import Deadline, late
from fasdk_tools.terminal.output import json_line

if TYPE_CHECKING:
    from fasdk.tracking.track import Track
    from fasdk_tools.serving.access import Access
    from fasdk_tools.serving.arrivals import Arrivals
    from fasdk_tools.serving.connections import Connections
    from fasdk_tools.serving.service import Service


_CAMERA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_MULTIPART = "multipart/form-data"
_HEADER_PART = "capture"
_CHUNK_BYTES = 2**20


class Routes:
    """Handlers of the service's paths.

    Args:
        service: Session with its limits.
        access: Conditions on the headers of a request.
        arrivals: Clock of arrivals.
        connections: Connections of the service.
    """

    def __init__(
        self, service: Service, access: Access, arrivals: Arrivals, connections: Connections
    ) -> None:
        self._service = service
        self._access = access
        self._arrivals = arrivals
        self._connections = connections
        self._document = json_line(openapi_document())
        self._streams: set[web.WebSocketResponse] = set()

    def application(self) -> web.Application:
        """Return the application with every path."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_post(Route.CHECK.path, self.check)
        app.router.add_get(Route.FRAMES.path, self.frames, allow_head=False)
        for route, handler in (
            (Route.HEALTH, self.health),
            (Route.READY, self.ready),
            (Route.DOCUMENT, self.document),
        ):
            app.router.add_get(route.path, handler, allow_head=False)
        app.on_shutdown.append(self._close_streams)
        return app

    async def health(self, _request: web.Request) -> web.StreamResponse:
        """Answer that the process runs."""
        return json_response('{"status": "ok"}')

    async def ready(self, _request: web.Request) -> web.StreamResponse:
        """Answer whether captures are judged."""
        self._service.require_ready()
        return json_response('{"status": "ready"}')

    async def document(self, _request: web.Request) -> web.StreamResponse:
        """Answer with the OpenAPI document."""
        return json_response(self._document)

    async def check(self, request: web.Request) -> web.StreamResponse:
        """Decide on one capture by itself."""
        arrived_ms = self._arrivals.now_ms()
        deadline = self._deadline(request)
        with self._service.take_hand() as hand:
            try:
                body = await asyncio.wait_for(self._body(request, arrived_ms), deadline.left_s)
            except asyncio.TimeoutError:
                raise late() from None
            return json_response(await self._service.answer(body, hand, deadline))

    async def frames(self, request: web.Request) -> web.StreamResponse:
        """Decide on a camera's frames, an answer a message, with the camera's track."""
        camera = request.match_info["camera"]
        if not _CAMERA.fullmatch(camera):
            raise RefusedError(
                Refusal.BAD_REQUEST,
                "the camera's name is none: expected 1 to 64 letters, digits, '.', '_', ':' or '-'",
            )
        limits = self._service.limits
        socket = web.WebSocketResponse(
            max_msg_size=limits.body_bytes, compress=False, timeout=1.0, autoping=True
        )
        if not socket.can_prepare(request):
            raise RefusedError(
                Refusal.WEBSOCKET,
                "this path speaks WebSocket alone: open it with a WebSocket client",
                {"Upgrade": "websocket"},
            )
        track = await self._service.stream(camera)
        try:
            await socket.prepare(request)
            self._streams.add(socket)
            await self._stream(socket, track)
        finally:
            self._streams.discard(socket)
            self._service.end_stream(camera)
        return socket

    async def _stream(self, socket: web.WebSocketResponse, track: Track) -> None:
        silence_s = self._service.limits.silence_s
        while True:
            try:
                message = await socket.receive(timeout=silence_s)
            except asyncio.TimeoutError:
                text = Refusal.CAMERA.text(f"no frame for {silence_s:g} s: has the camera stopped?")
                await self._send(socket, text)
                await socket.close(code=WSCloseCode.GOING_AWAY, message=b"no frame")
                return
            if message.type is WSMsgType.BINARY:
                text = await self._frame(message.data, track)
            elif message.type is WSMsgType.TEXT:
                text = Refusal.BAD_REQUEST.text("a text message: expected a binary one, a capture")
            else:
                return
            if not await self._send(socket, text):
                return

    async def _frame(self, data: bytes, track: Track) -> str:
        """Return the answer to one message of a camera; never raises but for a cancelled task."""
        arrived_ms = self._arrivals.now_ms()
        try:
            deadline = Deadline.within(self._service.limits.deadline_ms)
            with self._service.take_hand() as hand:
                body = _binary(data, arrived_ms)
                return await self._service.answer(body, hand, deadline, track)
        except RefusedError as error:
            return error.text
        except Exception as error:  # noqa: BLE001 - every frame gets an answer
            return unexpected_text(error)

    async def _send(self, socket: web.WebSocketResponse, text: str) -> bool:
        """Send an answer; a client that does not take it in time is left."""
        limit_s = self._service.limits.deadline_ms / 1e3
        try:
            await asyncio.wait_for(socket.send_str(text), limit_s)
        except (asyncio.TimeoutError, ConnectionError, RuntimeError):
            return False
        return True

    async def _close_streams(self, _app: web.Application) -> None:
        for socket in list(self._streams):
            with suppress(Exception):
                await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the service ends")

    def _deadline(self, request: web.Request) -> Deadline:
        limit_ms = self._service.limits.deadline_ms
        text = request.headers.get(DEADLINE_HEADER)
        if text is None:
            return Deadline.within(limit_ms)
        if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
            raise RefusedError(
                Refusal.BAD_REQUEST,
                f"{DEADLINE_HEADER} is no whole number of milliseconds from 1 to 999999",
            )
        return Deadline.within(min(limit_ms, float(text)))

    async def _body(self, request: web.Request, arrived_ms: float) -> CaptureBody:
        """Return the capture in a request's body, of which no more is read than may be."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RefusedError(
                Refusal.CONTENT_TYPE, "the body is compressed: send it as it is, frames do not pack"
            )
        if (request.content_length or 0) > self._service.limits.body_bytes:
            raise _too_large(self._service.limits.body_bytes)
        kind = request.content_type
        if kind in (BINARY_TYPE, "application/octet-stream") and "Content-Type" in request.headers:
            return _binary(await self._whole(request), arrived_ms)
        if kind == _MULTIPART:
            return await self._form(request, arrived_ms)
        raise RefusedError(
            Refusal.CONTENT_TYPE,
            f"the body's Content-Type is none that is read: expected {BINARY_TYPE} or {_MULTIPART}",
        )

    async def _whole(self, request: web.Request) -> bytearray:
        most = self._service.limits.body_bytes
        stated = request.content_length
        data = bytearray(stated or 0)
        filled = 0
        while chunk := await request.content.readany():
            end = filled + len(chunk)
            if end > most:
                raise _too_large(most)
            data[filled:end] = chunk
            filled = end
        if filled < len(data):
            raise RefusedError(Refusal.BAD_REQUEST, "the body ends before its Content-Length")
        return data

    async def _form(self, request: web.Request, arrived_ms: float) -> CaptureBody:
        """Return the capture in a multipart form: its header, and a part for each frame."""
        left = self._service.limits.body_bytes
        header: bytes | None = None
        parts: dict[Modality, bytes] = {}
        known = {modality.value: modality for modality in Modality}
        try:
            reader = await request.multipart()
            while (part := await reader.next()) is not None:
                name = part.name if isinstance(part, BodyPartReader) else None
                if not isinstance(part, BodyPartReader) or (
                    name != _HEADER_PART and name not in known
                ):
                    raise CaptureError(
                        f"the form has a part of another name, expected {_HEADER_PART}, "
                        f"{', '.join(known)}"
                    )
                if (
                    "Content-Encoding" in part.headers
                    or "Content-Transfer-Encoding" in part.headers
                ):
                    raise CaptureError(f"part {name} is encoded: send it as it is")
                most = MAX_HEADER_BYTES if name == _HEADER_PART else left
                data = await _part(part, most)
                left -= len(data)
                if (header is not None) if name == _HEADER_PART else (known[str(name)] in parts):
                    raise CaptureError(f"the form has two parts {name}, expected one")
                if name == _HEADER_PART:
                    header = data
                else:
                    parts[known[str(name)]] = data
        except CaptureError as error:
            raise RefusedError(Refusal.BAD_REQUEST, str(error)) from error
        except (ValueError, RuntimeError, AssertionError, LookupError, web.HTTPException) as error:
            raise RefusedError(
                Refusal.BAD_REQUEST, "the form is malformed: send multipart/form-data as RFC 7578"
            ) from error
        return CaptureBody(b"{}" if header is None else header, parts, memoryview(b""), arrived_ms)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse a request that may not ask, before anything of its body is read."""
        route = Route.of(request.match_info.route.resource)
        self._access.require(request.headers, with_token=route is None or route.asks_token)
        self._connections.accept(request.protocol)
        response: web.StreamResponse = await handler(request)
        return response


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        Refusal.TOO_LARGE,
        f"the body is larger than {most} bytes: send smaller frames, or raise --max-mib",
    )


def _binary(data: bytes | bytearray, arrived_ms: float) -> CaptureBody:
    try:
        return CaptureBody.of_binary(data, arrived_ms)
    except CaptureError as error:
        raise RefusedError(Refusal.BAD_REQUEST, str(error)) from error


async def _part(part: BodyPartReader, most: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        data += chunk
        if len(data) > most:
            raise _too_large(most)
    return bytes(data)
