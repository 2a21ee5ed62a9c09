"""The traces of one client's queries: begun when they arrive, ended when their answers leave.

Which queries are traced is chosen for all that arrived in one read. A query that says where it comes from (the run
option `traceparent`) goes on with its client's trace; what fetches the batches of a cursor, or ends it, belongs to the
trace of its query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from photondb.api.query import Request
from photondb.telemetry.operations import QUERY
from photondb.telemetry.responses import error_of
from photondb.telemetry.spans import Span, encode_attributes
from photondb.telemetry.trace_context import RemoteParent, SpanName, read_traceparent
from photondb.telemetry.tracing import Tracer

_MARK = b"traceparent"
_GIVEN = re.compile(rb'"traceparent"\s*:\s*"([0-9a-f-]{55,256})"')

_NAMES = {b"[2": "continue", b"[3": "stop", b"[4": "noreply wait", b"[5": "server info"}

_OF_CURSORS = (b"[2", b"[3")
"""Continue and stop: these are traced when the query is that they are about."""

_MANY = 4
"""For more traces than this that end together it is worth while to put the answers into a dictionary."""

_PARTIAL = b'{"t":3'


class ClientTraces:
    """The traced queries of the client at `address` (host:port) that wait for their answers."""

    def __init__(self, tracer: Tracer, address: str) -> None:
        self._tracer = tracer
        self._sampler = tracer.sampler
        self._attributes = encode_attributes({"client.address": address})
        self._waiting: list[tuple[Request, Span]] = []
        self._cursors: dict[int, SpanName] = {}
        """For tokens with an open cursor, the span of the query."""

    def begin(self, data: bytes, requests: Sequence[Request]) -> None:
        """Begin the traces of the queries that are to have one. `data` is what was read last; the first query may have
        begun before, and without any data all have."""
        sampler = self._sampler
        unmarked = (
            data.find(_MARK) < 0 and requests[0].payload.find(_MARK) < 0 and bool(data)
        )  # `in` takes twice as long
        if unmarked and not self._cursors:
            if sampler.passes_over(len(requests)):
                return
            for position in sampler.choose(len(requests)):
                if requests[position].payload[:2] not in _OF_CURSORS:
                    self._begin(requests[position], None)
        else:
            for position, parent in self._parents(sampler.choose(len(requests)), requests).items():
                self._begin(requests[position], parent)

    def _parents(self, chosen: Sequence[int], requests: Sequence[Request]) -> dict[int, RemoteParent | None]:
        """The queries to trace, by their positions, and the spans that they are parts of, if there are such."""
        parents: dict[int, RemoteParent | None] = {
            position: None for position in chosen if requests[position].payload[:2] not in _OF_CURSORS
        }
        for position, request in enumerate(requests):
            if request.token in self._cursors:
                parents[position] = RemoteParent(self._cursors[request.token], True)
            elif _MARK in request.payload:
                given = _GIVEN.search(request.payload)
                parent = None if given is None else read_traceparent(given[1].decode())
                if parent is not None and self._sampler.follows(parent):
                    parents[position] = parent
                elif parent is not None:
                    parents.pop(position, None)
        return parents

    def _begin(self, request: Request, parent: RemoteParent | None) -> None:
        span = self._tracer.begin(QUERY, parent)
        span.name = _NAMES.get(request.payload[:2], "")
        span.encoded_attributes = self._attributes
        request.traceparent = span.context()
        self._waiting.append((request, span))

    def end_answered(
        self, out: Sequence[bytes], outstanding: Mapping[int, Request], repeated: Sequence[Request]
    ) -> None:
        """End the traces of those that are answered: they are not among the others any more. `out` is what is about to
        be sent: headers and payloads in turn."""
        if not self._waiting:
            return
        waiting = []
        payloads: dict[bytes, bytes] = {}
        for request, span in self._waiting:
            token = request.token
            if outstanding.get(token) is request or (repeated and any(one is request for one in repeated)):
                waiting.append((request, span))
                continue
            start = token.to_bytes(8, "little")
            if len(self._waiting) > _MANY:
                payloads = payloads or {
                    header[:8]: payload for header, payload in zip(out[::2], out[1::2], strict=True)
                }
                payload = payloads.get(start, b"")
            else:
                payload = next((out[at + 1] for at in range(0, len(out), 2) if out[at].startswith(start)), b"")
            self._end(token, span, payload)  # that of a noreply query is empty, and so is its header
        self._waiting = waiting

    def _end(self, token: int, span: Span, payload: bytes) -> None:
        span.error = error_of(payload)
        if payload.startswith(_PARTIAL):
            if token not in self._cursors:
                (self._cursors[token],) = span.names
        else:
            self._cursors.pop(token, None)
        span.end()

    def abandon(self) -> None:
        """The client has gone; nobody hears the answers."""
        for _, span in self._waiting:
            span.error = "CLIENT_GONE"
            span.end()
        self._waiting.clear()
        self._cursors.clear()
