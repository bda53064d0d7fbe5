"""HTTP and RTSP servers in the test's process, whose frames the test chooses."""

from __future__ import annotations

import base64
import http.server
import re
import socket
import socketserver
import struct
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np

SIZE = (64, 48)


class Picture:
    """Frame that a server sends next, and what its viewers asked for.

    Attributes:
        bgr: The frame, blue first.
        every_s: Period of the frames in seconds.
        login: NAME:PASSWORD that viewers must give, or None.
        requests: First lines of the requests, and the transports of RTSP.
        is_serving: False hangs up on every viewer.
    """

    def __init__(self, login=None):
        self.bgr = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        self.every_s = 0.03
        self.login = login
        self.requests = []
        self.is_serving = True

    def admits(self, authorization):
        """Return whether the header of that name, or None, fits the login."""
        if self.login is None:
            return True
        return authorization == "Basic " + base64.b64encode(self.login.encode()).decode()

    def show(self, level):
        """Make all frames from now on one gray."""
        self.bgr = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


class _Http(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        picture = self.server.picture
        picture.requests.append(self.requestline)
        if not picture.admits(self.headers.get("Authorization")):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while picture.is_serving:
            data = cv2.imencode(".jpg", picture.bgr)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data + b"\r\n")
            except OSError:
                return
            time.sleep(picture.every_s)

    def log_message(self, *_):
        pass


class _Rtsp(socketserver.StreamRequestHandler):
    """One viewer: RFC 2326 with uncompressed frames as of RFC 4175."""

    def handle(self):
        picture = self.server.picture
        self.udp = None
        try:
            while picture.is_serving and self._answer(picture):
                pass
        except OSError:
            pass

    def _answer(self, picture):
        lines = []
        while (line := self.rfile.readline().decode().strip()) or not lines:
            lines.append(line)
            if not line:
                return False
        picture.requests.append(lines[0])
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        method, address = lines[0].split()[:2]
        reply, body = [f"CSeq: {headers['CSeq']}"], ""
        status = "200 OK"
        if not picture.admits(headers.get("Authorization")) and method != "OPTIONS":
            status = "401 Unauthorized"
            reply.append('WWW-Authenticate: Basic realm="camera"')
        elif method == "OPTIONS":
            reply.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = _SDP
            reply += [f"Content-Base: {address}/", "Content-Type: application/sdp"]
        elif method == "SETUP":
            reply += [self._transport(headers["Transport"]), "Session: 1"]
        else:
            reply.append("Session: 1")
        reply.append(f"Content-Length: {len(body)}")
        self.wfile.write("\r\n".join([f"RTSP/1.0 {status}", *reply, "", body]).encode())
        if method == "PLAY":
            self._play(picture)
            return False
        return method != "TEARDOWN"

    def _transport(self, asked):
        self.server.picture.requests.append(asked)
        ports = re.search(r"client_port=(\d+)", asked)
        if ports is None:
            return "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.connect(("127.0.0.1", int(ports[1])))
        here = self.udp.getsockname()[1]
        return f"Transport: RTP/AVP;unicast;client_port={ports[1]}-0;server_port={here}-{here + 1}"

    def _play(self, picture):
        sequence, began = 0, time.monotonic()
        while picture.is_serving:
            stamp = int((time.monotonic() - began) * 90_000) & 0xFFFFFFFF
            for packet in _packets(picture.bgr, sequence, stamp):
                sequence += 1
                if self.udp is None:
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                else:
                    self.udp.send(packet)
            time.sleep(picture.every_s)
        if self.udp is not None:
            self.udp.close()


_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 raw/90000\r\n"
    f"a=fmtp:96 sampling=BGR; width={SIZE[0]}; height={SIZE[1]}; depth=8\r\na=control:track0\r\n"
)


def _packets(bgr, sequence, stamp):
    """Yield a frame's RTP packets of some lines each."""
    height, width = bgr.shape[:2]
    step = 6
    for top in range(0, height, step):
        last = top + step >= height
        rows = range(top, min(top + step, height))
        yield (
            struct.pack(">BBHII", 0x80, 96 | last << 7, sequence & 0xFFFF, stamp, 7)
            + struct.pack(">H", 0)
            + b"".join(struct.pack(">HHH", width * 3, row, (row != rows[-1]) << 15) for row in rows)
            + bgr[rows[0] : rows[-1] + 1].tobytes()
        )
        sequence += 1


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, handler, picture, port):
        self.picture = picture
        super().__init__(("127.0.0.1", port), handler)


@contextmanager
def serving(kind, picture, port=0):
    """Serve a picture by `http` or `rtsp`; yields HOST:PORT."""
    server = _Server({"http": _Http, "rtsp": _Rtsp}[kind], picture, port)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    picture.is_serving = True
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        picture.is_serving = False
        server.shutdown()
        server.server_close()
