"""A server that takes what is posted to it, as webhooks and collectors of telemetry do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Take = Callable[[Mapping[str, str], bytes], int]
"""Takes the headers and the body of a request, and gives the status of the answer."""


def accept(headers: Mapping[str, str], body: bytes) -> int:
    """Take it, and keep nothing."""
    return 200


@contextmanager
def post_server(take: Take = accept) -> Iterator[str]:
    """The URL (without a path) of a server on a free port of 127.0.0.1. `take` is called in threads of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(take(dict(self.headers), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
