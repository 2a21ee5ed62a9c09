"""What sinks send to, in tests: an HTTP server and a NATS server that keep what they get, and break when told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nats

from photondb.bus.server import find_nats_server
from photondb.ports import reserve_port

WAIT_S = 120
"""For what must come; that it does not is the failure."""


def until(condition: Callable[[], Any], wait_s: float = WAIT_S) -> None:
    """Return when the condition holds."""
    give_up = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


class Endpoint(ThreadingHTTPServer):
    """Keeps the batches that are posted to it. While it is `broken` it takes them and says that it did not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.batches: list[tuple[dict[str, str], bytes]] = []
        self.attempts = 0
        self.broken = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/changes"

    def changes(self) -> list[dict[str, Any]]:
        """What came, without what came again."""
        found = [change for _, body in list(self.batches) for change in json.loads(body)["changes"]]
        return list({change["id"]: change for change in found}.values())

    def numbers(self) -> list[int]:
        """The numbers in the new documents."""
        return [change["new_val"]["n"] for change in self.changes()]


class Receiver(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.attempts += 1
        if not self.server.broken:
            self.server.batches.append((dict(self.headers), body))
        self.send_response(503 if self.server.broken else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


class JetStreamServer:
    """A nats-server that keeps streams, and keeps them when it is started again."""

    def __init__(self, directory: Path) -> None:
        self._reserved = reserve_port("127.0.0.1")  # also while it is started again
        self.port = self._reserved.getsockname()[1]
        self._command = [find_nats_server(), "-js", "-sd", directory, "-a", "127.0.0.1", "-p", str(self.port)]
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def suspend(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def release(self) -> None:
        self._reserved.close()

    async def create_stream(self) -> None:
        client = await nats.connect(self.url, max_reconnect_attempts=-1)
        await client.jetstream().add_stream(name="changes", subjects=["changes.>"])
        await client.close()

    async def messages(self) -> list[tuple[str, Any]]:
        client = await nats.connect(self.url, max_reconnect_attempts=-1)
        stream = client.jetstream()
        state = (await stream.stream_info("changes")).state
        found = []
        for sequence in range(1, state.messages + 1):
            message = await stream.get_msg("changes", sequence)
            assert message.data is not None
            found.append((message.subject or "", json.loads(message.data)))
        await client.close()
        return found


def answers(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
