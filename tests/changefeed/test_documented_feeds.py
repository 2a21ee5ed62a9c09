"""The examples about groups, aggregates and sinks in docs/changefeeds.md."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from tests.running_suite import RunningSuite

PAGE = Path(__file__).parents[2] / "docs" / "changefeeds.md"
WAIT_S = 120  # for what must come; that it does not is the failure


def examples(heading: str) -> list[str]:
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    return found


class Hook(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.received: list[tuple[str, bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Receiver(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.headers["X-PhotonDB-Signature"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.shutdown()
    hook.server_close()


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    monkeypatch.setenv("PHOTONDB_HTTP_ALLOW_PRIVATE", "1")
    suite = RunningSuite(tmp_path, processes=False)
    with suite, r.connect(port=suite.driver_port) as conn:
        r.table_create("orders").run(conn)
        url = f"http://127.0.0.1:{hook.server_port}/"
        names: dict[str, Any] = {"r": r, "conn": conn, "hook": url, "hmac": hmac, "hashlib": hashlib}
        for heading in ("Groups", "Aggregates"):
            for example in examples(heading):
                exec(compile(example, f"{PAGE.name}: {heading}", "exec"), names)
        first, *others = examples("Sinks")
        exec(compile(first, f"{PAGE.name}: Sinks", "exec"), names)
        give_up = time.monotonic() + WAIT_S
        while not hook.received:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        for example in others:
            exec(compile(example, f"{PAGE.name}: Sinks", "exec"), names)
    signature, body = hook.received[0]
    assert names["is_genuine"](body, signature, "s3cret")
    assert not names["is_genuine"](body + b" ", signature, "s3cret")
    (change,) = json.loads(body)["changes"]
    assert change["new_val"] == {"id": 3, "total": 7}
