"""Answers of the service over HTTP, and what a fault becomes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from fasdk_tools.serving.refusals import Refusal, RefusedError

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_JSON = "application/json"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_log = logging.getLogger("fasdk.serving")


async def answered(request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
    """Return a handler's answer; every fault is an answer whose verdict is ERROR."""
    try:
        return await handler(request)
    except RefusedError as error:
        return refused_response(error)
    except web.HTTPException as error:
        return refused_response(_refusal_of(error))
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - every request gets an answer
        status = Refusal.UNEXPECTED.status
        text = unexpected_text(error)
        return web.Response(text=text, status=status, content_type=_JSON, headers=_HEADERS)


def _refusal_of(error: web.HTTPException) -> RefusedError:
    """Return the refusal that an exception of the library stands for."""
    if isinstance(error, web.HTTPNotFound):
        return RefusedError(Refusal.NOT_FOUND, "no such path: /openapi.json lists them")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = {"Allow": ", ".join(sorted(error.allowed_methods))}
        return RefusedError(Refusal.METHOD, "the path has no such method", allow)
    if isinstance(error, web.HTTPExpectationFailed):
        return RefusedError(Refusal.EXPECTATION, "Expect asks for more than 100-continue")
    return RefusedError(Refusal.BAD_REQUEST, f"the request is malformed: {error.reason}")


def refused_response(error: RefusedError) -> web.Response:
    """Return the answer to what is refused."""
    return web.Response(
        text=error.text,
        status=error.refusal.status,
        content_type=_JSON,
        headers=_HEADERS | error.headers,
    )


def json_response(text: str) -> web.Response:
    """Return an answer with a document."""
    return web.Response(text=text, content_type=_JSON, headers=_HEADERS)


def unexpected_text(error: Exception) -> str:
    """Return the body that names a fault of the service by its kind, and log the whole."""
    _log.error("unexpected %s: %s", type(error).__name__, error)
    return Refusal.UNEXPECTED.text(f"unexpected {type(error).__name__}: see the service's log")
