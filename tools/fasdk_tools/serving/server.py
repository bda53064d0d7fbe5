"""Server: the address, the session behind it, signals and the end."""

from __future__ import annotations

import asyncio
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from fasdk_tools.serving.arrivals import Arrivals
from fasdk_tools.serving.connections import Connections
from fasdk_tools.serving.listening import listening
from fasdk_tools.serving.routes import Routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk.session.session import Liveness
    from fasdk.watchdog import Watchdog
    from fasdk_tools.serving.access import Access
    from fasdk_tools.serving.listening import TcpAddress, UnixAddress
    from fasdk_tools.serving.service import Service

_PROVE_EVERY_S = 5.0


@dataclass(frozen=True)
class ServeSetup:
    """What a service is made of.

    Attributes:
        address: Where it listens.
        service: Session with its limits, before there is a session.
        access: Conditions on the headers of a request.
        open_session: Function that opens the session; it may take minutes, in a thread.
        on_ready: Function that is called with the session and the address in use once it is ready.
        watchdog: Client of systemd's watchdog.
        until_ready: Whether to end as soon as it is ready.
    """

    address: UnixAddress | TcpAddress
    service: Service
    access: Access
    open_session: Callable[[], Liveness]
    on_ready: Callable[[Liveness, str], None]
    watchdog: Watchdog
    until_ready: bool = False


def serve(setup: ServeSetup) -> None:
    """Serve until SIGTERM or Ctrl-C; it listens at once, and is ready when the session is proven.

    Raises:
        UsageError: The address is taken or cannot be had.
        FasdkError: The bundle does not open, or does not reproduce its golden captures.
    """
    with listening(setup.address) as listener:
        asyncio.run(_serve(setup, listener))


async def _serve(setup: ServeSetup, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    arrivals, connections = Arrivals(), Connections(setup.service.limits)
    routes = Routes(setup.service, setup.access, arrivals, connections)
    limit_s = setup.service.limits.deadline_ms / 1e3
    runner = web.AppRunner(
        routes.application(), handler_cancellation=True, shutdown_timeout=limit_s
    )
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - it was set up
    connections.serve(runner.server)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if listener.family == socket.AF_UNIX:
        server: asyncio.Server = await loop.create_unix_server(connections, sock=listener)
    else:
        server = await loop.create_server(connections, sock=listener)
    tasks = [loop.create_task(each) for each in (arrivals.run(), connections.sweep())]
    opening = loop.create_task(_open_and_prove(setup, _shown(setup.address, listener)))
    ending = loop.create_task(ended.wait())
    try:
        await asyncio.wait((opening, ending), return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()  # what went wrong ends the service
    finally:
        setup.watchdog.stopping()
        setup.service.end()
        server.close()
        await runner.cleanup()  # what is under way is answered first
        for task in (*tasks, opening, ending):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        await loop.run_in_executor(None, setup.service.close)


async def _open_and_prove(setup: ServeSetup, shown: str) -> None:
    """Open the session, replay its golden captures, and prove it again and again.

    In a thread of its own, so that an engine that hangs there holds nothing up: the service is not
    ready then, and systemd restarts it.
    """
    loop = asyncio.get_running_loop()
    service = setup.service
    pool = ThreadPoolExecutor(1, "fasdk-serve-proof")
    session: Liveness | None = None
    try:
        session = await loop.run_in_executor(pool, setup.open_session)
        await loop.run_in_executor(pool, session.replay_golden)
        service.serve(session)
        await loop.run_in_executor(pool, service.prove)
        setup.on_ready(session, shown)
        if setup.until_ready:
            return
        while True:
            await asyncio.sleep(_PROVE_EVERY_S)
            proof = loop.run_in_executor(pool, service.prove)
            done, _ = await asyncio.wait({proof}, timeout=_PROVE_EVERY_S)
            if not done:
                service.fail("the engine hangs on a golden capture: restart the service")
                await proof
    finally:
        pool.shutdown(wait=False)
        service.end()
        if session is not None:
            await loop.run_in_executor(None, session.close)


def _shown(address: UnixAddress | TcpAddress, listener: socket.socket) -> str:
    """Return the address for messages, with the port that the system chose."""
    if listener.family == socket.AF_UNIX:
        return str(address)
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
