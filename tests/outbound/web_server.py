"""A web server with pages that show what an HTTP client does."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import zstandard


class Pages(BaseHTTPRequestHandler):
    """Each method of a page's name answers it; `hits` counts requests by path."""

    protocol_version = "HTTP/1.1"
    hits: ClassVar[Counter[str]] = Counter()

    def answer(self, body: bytes, status: int = 200, content_type: str = "text/plain", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def show(self, value: Any, **headers: str) -> None:
        self.answer(json.dumps(value).encode(), content_type="application/json", **headers)

    def handle_page(self) -> None:
        self.url = urlsplit(self.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hits[self.url.path] += 1
        name, _, self.rest = self.url.path.strip("/").partition("/")
        getattr(self, f"page_{name}")()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_page

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""

    def page_echo(self) -> None:
        self.show(
            {
                "method": self.command,
                "query": parse_qsl(self.url.query, keep_blank_values=True),
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": self.body.decode(),
            }
        )

    def page_typed(self) -> None:
        query = dict(parse_qsl(self.url.query))
        self.answer(query["body"].encode(), content_type=query["type"])

    def page_status(self) -> None:
        self.answer(b"told so", status=int(self.rest), X_Reason="asked")

    def page_flaky(self) -> None:
        """Fails the first two times."""
        self.answer(
            b"at last" if self.hits[self.url.path] > 2 else b"", status=200 if self.hits[self.url.path] > 2 else 503
        )

    def page_redirect(self) -> None:
        left = int(self.rest)
        location = f"/redirect/{left - 1}" if left > 1 else "/echo"
        self.answer(b"", status=302, Location=location)

    def page_elsewhere(self) -> None:
        self.answer(b"", status=302, Location=dict(parse_qsl(self.url.query))["to"])

    def page_slow(self) -> None:
        time.sleep(2)
        self.answer(b"slow")

    def page_packed(self) -> None:
        """A body in one of several encodings, not all of which were asked for."""
        raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoding, body = {
            "gzip": ("gzip", gzip.compress(b"unpacked")),
            "deflate": ("deflate", zlib.compress(b"unpacked")),
            "raw": ("deflate", raw.compress(b"unpacked") + raw.flush()),
            "identity": ("identity", b"unpacked"),
            "cut": ("gzip", gzip.compress(b"unpacked")[:-4]),
            "wrong": ("gzip", b"unpacked"),
            "twice": ("gzip, gzip", gzip.compress(gzip.compress(b"unpacked"))),
            "zstd": ("zstd", zstandard.compress(b"unpacked")),
        }[self.rest]
        self.answer(body, Content_Encoding=encoding)

    def page_bomb(self) -> None:
        """80 MB, as the answer, or with one that is only on the way to it."""
        body = gzip.compress(b"\0" * (80 * 2**20), 1)
        others = {"302": {"Location": "/echo"}, "401": {"WWW_Authenticate": 'Digest realm="here", nonce="n"'}}
        self.answer(body, int(self.rest or 200), Content_Encoding="gzip", **others.get(self.rest, {}))

    def page_broken(self) -> None:
        self.close_connection = True

    def page_list(self) -> None:
        """Three pages of two numbers; `link` leads from one to the next, a cookie counts them."""
        page = int(dict(parse_qsl(self.url.query)).get("page", 1))
        last, seen = page == 3, self.headers.get("Cookie", "seen=0").partition("=")[2]
        link = '</list?page=1>; rel="first"' + ("" if last else f', <{self.origin}/list?page={page + 1}>; rel="next"')
        self.show(
            [{"n": 2 * page, "seen": seen}, {"n": 2 * page + 1, "seen": seen}], Link=link, Set_Cookie=f"seen={page}"
        )

    @property
    def origin(self) -> str:
        return f"http://{self.headers['Host']}"

    def page_basic(self) -> None:
        granted = self.headers.get("Authorization") == "Basic YW5uOnNlY3JldA=="  # ann:secret
        self.answer(b"welcome" if granted else b"", status=200 if granted else 401)

    def page_digest(self) -> None:
        given = self.headers.get("Authorization", "")
        parts = dict(part.strip().split("=", 1) for part in given.removeprefix("Digest ").split(",") if "=" in part)
        values = {name: value.strip('"') for name, value in parts.items()}
        user = hashlib.md5(b"ann:here:secret").hexdigest()
        asked = hashlib.md5(f"{self.command}:{self.path}".encode()).hexdigest()
        middle = ":".join(values.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))
        if values.get("response") == hashlib.md5(f"{user}:{middle}:{asked}".encode()).hexdigest():
            self.answer(b"welcome")
        else:
            self.answer(b"", status=401, WWW_Authenticate='Digest realm="here", nonce="n", qop="auth", algorithm=MD5')


class PageServer(ThreadingHTTPServer):
    """Serves the pages; that clients go away is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serve_pages(host: str = "127.0.0.1") -> Iterator[str]:
    """Serve the pages in a thread; gives the server's URL."""
    server = PageServer((host, 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
