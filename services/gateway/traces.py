"""The traces of one client's queries: begun when they arrive, ended when their answers leave.

Which queries are traced is chosen for all at once that are submitted together. A query that says where it comes from
(the run option `traceparent`) goes on with its client's trace; what fetches the batches of a cursor, or ends it,
belongs to the trace of its query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from photondb.api.context import SpanName
from photondb.api.query import Request
from photondb.telemetry.operations import QUERY
from photondb.telemetry.responses import are_complete, error_of
from photondb.telemetry.span_encoding import encode_attributes, encode_failure
from photondb.telemetry.spans import QuerySpans
from photondb.telemetry.trace_context import RemoteParent, read_traceparent
from photondb.telemetry.tracing import Tracer

_MARK = b"traceparent"
DASH = ord("-")
"""What every `traceparent` has. A byte is found ten times as fast as a word."""

_GIVEN = re.compile(rb'"traceparent"\s*:\s*"([0-9a-f-]{55,256})"')

_NAMES = {b"[2": "continue", b"[3": "stop", b"[4": "noreply wait", b"[5": "server info"}

_OF_CURSORS = frozenset({b"[2", b"[3"})
"""Continue and stop: these are traced when the query is that they are about."""

_PARTIAL = b'{"t":3'


def are_marked(data: bytes, requests: Sequence[Request]) -> bool:
    """Whether any of the queries may say of which trace it is. `data` is what was read last, which has all of them but
    the beginning of the first one; without any it must be looked at each."""
    if data:
        return data.find(_MARK) >= 0 or requests[0].payload.find(_MARK) >= 0  # `in` takes twice as long
    return any(_MARK in request.payload for request in requests)


class ClientTraces:
    """The traced queries of the client at `address` (host:port) that wait for their answers."""

    def __init__(self, address: str) -> None:
        self._attributes = encode_attributes({"client.address": address})
        self._description = QUERY.described("", self._attributes)
        self._waiting: list[tuple[QuerySpans, dict[int, Request]]] = []
        """The spans of queries that came together, and by their positions those that wait."""
        self._cursors: dict[int, SpanName] = {}
        """For tokens with an open cursor, the span of the query."""

    @property
    def done(self) -> bool:
        """Whether nothing is left that waits, or that may go on."""
        return not self._waiting and not self._cursors

    def begin(self, tracer: Tracer, requests: Sequence[Request], recorded: bool, marked: bool) -> None:
        """Begin the traces of those of the queries that are to have one: of all where they are `recorded`, unless their
        clients say something else (some may where they are `marked`), and of those that go on with a trace."""
        first = requests
        if marked or self._cursors:
            first = self._begin_later(tracer, requests)
        if recorded:
            if not _OF_CURSORS.isdisjoint([request.payload[:2] for request in first]):
                first = [request for request in first if request.payload[:2] not in _OF_CURSORS]
            if first:
                self._begin(tracer.query_spans(QUERY, tracer.sampler.new_traces(len(first))), first)

    def _begin_later(self, tracer: Tracer, requests: Sequence[Request]) -> list[Request]:
        """Begin the first spans here of traces that have begun before. Returns the queries that belong to none."""
        others: list[Request] = []
        later: list[Request] = []
        parents: list[SpanName] = []
        for request in requests:
            name = self._cursors.get(request.token)
            if name is None and _MARK in request.payload and (parent := _parent(request.payload)) is not None:
                if not tracer.sampler.follows(parent):
                    continue
                name = parent.name
            if name is None:
                others.append(request)
            else:
                later.append(request)
                parents.append(name)
        if later:
            self._begin(tracer.query_spans(QUERY, tuple(parents)), later)
        return others

    def _begin(self, spans: QuerySpans, requests: Sequence[Request]) -> None:
        for request, name in zip(requests, spans.names, strict=True):
            request.span = name
        self._waiting.append((spans, dict(enumerate(requests))))

    def end_answered(
        self, out: Sequence[bytes], outstanding: Mapping[int, Request], repeated: Sequence[Request]
    ) -> None:
        """End the traces of those that are answered: they are not among the others any more. `out` is what is about to
        be sent: headers and payloads in turn."""
        if not self._waiting:
            return
        plain = not self._cursors and are_complete(out[1::2])
        payloads: dict[bytes, bytes] = {}
        for spans, waiting in self._waiting:
            answered = {
                position: request
                for position, request in waiting.items()
                if outstanding.get(request.token) is not request
                and not (repeated and any(one is request for one in repeated))
            }
            if not answered:
                continue
            if plain:
                descriptions = [self._described(request) for request in answered.values()]
            else:
                payloads = payloads or {
                    header[:8]: payload for header, payload in zip(out[::2], out[1::2], strict=True)
                }
                descriptions = [
                    # That of a noreply query is empty, and so is its header.
                    self._answered(request, payloads.get(request.token.to_bytes(8, "little"), b""))
                    for request in answered.values()
                ]
            spans.end(list(answered), descriptions)
            for position in answered:
                del waiting[position]
        self._waiting = [entry for entry in self._waiting if entry[1]]

    def _answered(self, request: Request, payload: bytes) -> bytes:
        """The description of the span of a query with this answer, whose cursor is kept in mind."""
        token = request.token
        if payload.startswith(_PARTIAL):
            if token not in self._cursors:
                assert request.span is not None
                self._cursors[token] = request.span
        elif self._cursors:
            self._cursors.pop(token, None)
        error = error_of(payload)
        return self._described(request) + encode_failure(error) if error else self._described(request)

    def _described(self, request: Request) -> bytes:
        name = _NAMES.get(request.payload[:2])
        return self._description if name is None else QUERY.described(name, self._attributes)

    def abandon(self) -> None:
        """The client has gone; nobody hears the answers."""
        for spans, waiting in self._waiting:
            gone = encode_failure("CLIENT_GONE")
            spans.end(list(waiting), [self._described(request) + gone for request in waiting.values()])
        self._waiting.clear()
        self._cursors.clear()


def _parent(payload: bytes) -> RemoteParent | None:
    """The span of a client's that a query is part of, as it says."""
    given = _GIVEN.search(payload)
    return None if given is None else read_traceparent(given[1].decode())
