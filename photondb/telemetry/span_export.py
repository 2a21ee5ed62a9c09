"""From ended spans to the collector: a bounded queue and a thread, so that serving never waits for either.

What does not fit into the queue, or cannot be sent, is dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

from photondb.telemetry.spans import VARINTS, Attribute, encode_resource, encode_varint, length_delimited

log = logging.getLogger(__name__)

MAX_QUEUED_SPANS = 65_536
MAX_QUEUED_BYTES = 64 << 20
MAX_MESSAGE_SPANS = 4_096

_SPAN = b"\x12"  # ScopeSpans.spans

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
        self._queue: deque[tuple[str, bytes]] = deque()
        self._put_bytes = 0  # counted by the loop's thread alone, and the next by the exporter's
        self._taken_bytes = 0
        self._wake = threading.Event()
        self._stopping = False
        self._in_trouble = False
        # A daemon, because a collector that hangs must not keep the process.
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def put(self, scope: str, span: bytes) -> None:
        """Take an encoded span of the part of the program called `scope`. Never waits."""
        if len(self._queue) >= MAX_QUEUED_SPANS or self._put_bytes - self._taken_bytes > MAX_QUEUED_BYTES:
            self.dropped += 1
            return
        self._put_bytes += len(span)
        self._queue.append((scope, span))
        if len(self._queue) == MAX_MESSAGE_SPANS:
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
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_MESSAGE_SPANS))]
        self._taken_bytes += sum([len(span) for _, span in taken])
        try:
            sent = self._send(self._message(taken))
        except Exception:
            log.exception("spans cannot be exported")
            sent = False
        if sent:
            self.exported += len(taken)
        else:
            self.failed += len(taken)
        if sent == self._in_trouble:  # said when it changes, and not for every message
            self._in_trouble = not sent
            if sent:
                log.info("spans are exported again", extra={"lost_spans": self.failed + self.dropped})
            else:
                log.warning("spans cannot be exported: the collector does not take them; they are dropped")

    def _message(self, taken: Sequence[tuple[str, bytes]]) -> bytes:
        """An ExportTraceServiceRequest: the resource, then the spans by scope."""
        by_scope: defaultdict[str, list[bytes]] = defaultdict(list)
        for scope, span in taken:
            length = len(span)
            by_scope[scope] += (_SPAN, VARINTS[length] if length < len(VARINTS) else encode_varint(length), span)
        scopes = []
        for scope, spans in by_scope.items():
            name = length_delimited(1, f"photondb.{scope}".encode())
            scopes.append(length_delimited(2, length_delimited(1, name) + b"".join(spans)))
        return length_delimited(1, self._resource + b"".join(scopes))
