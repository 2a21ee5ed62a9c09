"""From ended spans to the collector: a bounded queue and a thread, so that serving never waits for either.

What does not fit into the queue, or cannot be sent, is dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

from photondb.telemetry.span_encoding import Attribute, encode_resource, length_delimited

log = logging.getLogger(__name__)

MAX_QUEUED_SPANS = 65_536
MAX_QUEUED_BYTES = 64 << 20

MESSAGE_SPANS = 8_192
"""When so many wait they are sent without waiting for more."""

MESSAGE_BYTES = 2 << 20
"""A message has about as much; collectors mostly take 4 MB."""

Send = Callable[[bytes], bool]
"""Sends an encoded ExportTraceServiceRequest; False when it could not."""


class SpanExporter:
    """Takes spans on the loop's thread and sends them from its own, every `delay_ms` or when many wait.

    `exported`, `dropped` (there was no room) and `failed` (the collector did not take them) count spans.
    """

    def __init__(self, resource: Mapping[str, Attribute], send: Send, delay_ms: int) -> None:
        self.exported = 0
        self.dropped = 0
        self.failed = 0
        self._resource = length_delimited(1, encode_resource(resource))
        self._send = send
        self._delay_s = delay_ms / 1000
        self._queue: deque[tuple[str, bytes, int]] = deque()
        self._put_spans = 0  # these are counted by the loop's thread alone
        self._put_bytes = 0
        self._taken_spans = 0  # and these by the exporter's
        self._taken_bytes = 0
        self._wake = threading.Event()
        self._stopping = False
        self._in_trouble = False
        # A daemon, because a collector that hangs must not keep the process.
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def put(self, scope: str, spans: bytes, count: int) -> None:
        """Take `count` spans of the part of the program called `scope`, encoded as those of a ScopeSpans. Never
        waits."""
        queued = self._put_spans - self._taken_spans + count
        if queued > MAX_QUEUED_SPANS or self._put_bytes - self._taken_bytes > MAX_QUEUED_BYTES:
            self.dropped += count
            return
        self._put_spans += count
        self._put_bytes += len(spans)
        self._queue.append((scope, spans, count))
        if queued - count < MESSAGE_SPANS <= queued:
            self._wake.set()

    def stop(self, timeout_ms: int) -> None:
        """Send what waits, within this time; what comes later is lost."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_ms / 1000)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            self._wake.wait(self._delay_s)
            self._wake.clear()
            stopping = self._stopping  # as it was before the queue is emptied for the last time
            while self._queue:
                self._send_some()

    def _send_some(self) -> None:
        """Send one message, and count."""
        by_scope: defaultdict[str, list[bytes]] = defaultdict(list)
        count = size = 0
        while self._queue and size < MESSAGE_BYTES:
            scope, spans, of_these = self._queue.popleft()
            by_scope[scope].append(spans)
            count += of_these
            size += len(spans)
        self._taken_spans += count
        self._taken_bytes += size
        try:
            sent = self._send(self._message(by_scope))
        except Exception:
            log.exception("spans cannot be exported")
            sent = False
        if sent:
            self.exported += count
        else:
            self.failed += count
        if sent == self._in_trouble:  # said when it changes, and not for every message
            self._in_trouble = not sent
            if sent:
                log.info("spans are exported again", extra={"lost_spans": self.failed + self.dropped})
            else:
                log.warning("spans cannot be exported: the collector does not take them; they are dropped")

    def _message(self, by_scope: Mapping[str, Sequence[bytes]]) -> bytes:
        """An ExportTraceServiceRequest: the resource, then the spans by scope."""
        scopes = []
        for scope, spans in by_scope.items():
            name = length_delimited(1, f"photondb.{scope}".encode())
            scopes.append(length_delimited(2, length_delimited(1, name) + b"".join(spans)))
        return length_delimited(1, self._resource + b"".join(scopes))
