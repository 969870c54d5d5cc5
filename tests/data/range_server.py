"""A real HTTP server of a folder that answers ranges of bytes, with the faults that servers have."""

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer:
    """Serves the files below `folder` at `address`; what was asked is in `asked`: (path, range, authorization).

    Faults are switched on by attributes: `busy` answers are 503, to come back after `wait_s`; `cut` answers break off
    after `cut_after` bytes, each block of 1000 bytes waits `pause_s`, `short` answers have 5000 bytes, and say so,
    `whole` ignores ranges, `shift` sends bytes from another place, `moved_to` is the address that all are sent on to,
    with the same path. With `certificate`, a file with its key and a certificate, it speaks TLS.
    """

    def __init__(self, folder: Path, certificate: Path | None = None):
        self.folder, self.asked = folder, list[tuple[str, str | None, str | None]]()
        self.busy, self.cut, self.cut_after, self.pause_s, self.whole, self.shift = 0, 0, 100, 0.0, False, 0
        self.login: str | None = None
        self.short, self.moved_to, self.wait_s = 0, "", 0
        self.connections = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                server.connections += 1

            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers["Range"]
        self.asked.append((request.path, asked, request.headers["Authorization"]))
        file = self.folder / request.path.partition("?")[0].lstrip("/")
        if self.busy:
            self.busy -= 1
            return self._send(request, 503, b"", {"Retry-After": str(self.wait_s)})
        if self.moved_to:
            return self._send(request, 302, b"", {"Location": self.moved_to + request.path})
        if self.login is not None and request.headers["Authorization"] != self.login:
            return self._refuse(request, 401)
        if not file.is_file():
            return self._refuse(request, 404)
        data = file.read_bytes()
        if asked is None or self.whole:
            return self._send(request, 200, data, {})
        begin, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
        if begin >= len(data):
            return self._refuse(request, 416)
        begin += self.shift
        body = data[begin : end + 1]
        if self.short:
            self.short -= 1
            body = body[:5000]
        place = f"bytes {begin}-{begin + len(body) - 1}/{len(data)}"
        return self._send(request, 206, body, {"Content-Range": place, "ETag": f'"{len(data)}"'})

    def _refuse(self, request: BaseHTTPRequestHandler, status: int) -> None:
        self._send(request, status, b"", {})

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            request.send_header(name, value)
        request.end_headers()
        broken = self.cut > 0 and status == 206
        if broken:
            self.cut -= 1
            body = body[: self.cut_after]
        try:
            for start in range(0, len(body), 1000 if self.pause_s else max(len(body), 1)):
                time.sleep(self.pause_s)
                request.wfile.write(body[start : start + 1000] if self.pause_s else body)
        except OSError:
            return
        if broken:
            request.close_connection = True
