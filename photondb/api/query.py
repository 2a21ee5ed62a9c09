"""The interface of `query`: it takes the queries of many client connections in batches and answers each of them.

A gateway opens one channel and sends over it whatever arrived in one turn of its loop. `submit` returns the answers
that were ready at once; the others come to the gateway's sink when they are done, so that a batch never waits for its
slowest query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from photondb.api.context import CallContext, SpanName

RequestKind = Literal["query", "end_session"]


class Request(msgspec.Struct, gc=False):
    """A query frame of a client connection.

    `session` is the gateway's number for the connection, `token` the client's for the query, `payload` the frame's
    JSON ([type, term, options]) as it arrived. `end_session` tells that the connection is gone: its cursors are freed
    and its running queries cancelled; it has no answer. `client` is the address of the client (host:port); who has been
    told it with one query of a session need not be told again. `span` is the one that the gateway has begun for the
    query, where that is traced. `arrived` is the reading of the gateway's `time.perf_counter()` when
    it came, for those that wait for their answer; it does not travel.
    """

    session: int
    token: int
    payload: bytes
    context: CallContext
    kind: RequestKind = "query"
    client: str = ""
    span: SpanName | None = None
    arrived: float = 0.0


class Answer(msgspec.Struct, gc=False):
    """The response JSON for the query `token` of `session`, without the frame around it.

    Every query has exactly one. That of a noreply query has an empty payload: it tells the gateway that the query is
    done, and the client never sees it. `span` is the one of the query, where that is traced; it does not travel, but
    the delivery of what was not ready at once is a part of it.
    """

    session: int
    token: int
    payload: bytes
    span: SpanName | None = None


class Entrance(msgspec.Struct, frozen=True):
    """Where the clients of a gateway come in: the addresses of its host that it listens on, and its ports. A query
    service tells who asks for them (`server_status`). The default is for who does not know."""

    addresses: tuple[str, ...] = ()
    driver_port: int = 0
    http_port: int = 0


UNKNOWN_ENTRANCE = Entrance()


class AnswerSink(Protocol):
    """Where a channel's later answers go. A sink that is slow to return slows the channel down."""

    async def deliver(self, answers: Sequence[Answer]) -> None: ...


class QueryChannel(Protocol):
    """One gateway's stream of queries."""

    async def submit(self, requests: Sequence[Request]) -> list[Answer]:
        """Take the queries and return the answers that are ready at once."""
        ...

    async def wait_closed(self) -> None:
        """Return when the channel was closed. Raises ServiceUnavailable when it was lost instead: what was submitted
        and not yet answered will not be."""
        ...

    async def close(self) -> None:
        """End all sessions of this channel. Dropping the channel does the same."""
        ...


class QueryApi(Protocol):
    async def open(
        self, context: CallContext, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE
    ) -> QueryChannel: ...
