"""A driver connection after the handshake: frames in, answers out. This is the gateway's hot path."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import logging
import select
import struct
import termios
from collections.abc import Sequence
from typing import Any, cast

from photondb.api.context import CallContext
from photondb.api.query import Request
from photondb.reql.errors import ErrorKind
from photondb.telemetry import tracing
from photondb.telemetry.tracing import Tracer
from services.gateway.dispatcher import Dispatcher
from services.gateway.farewell import Farewell
from services.gateway.limits import MEGABYTE, Limits
from services.gateway.login import ConnectionLog
from services.gateway.protocol import FrameReader, error_response, frame, too_long_response
from services.gateway.traces import DASH, ClientTraces, are_marked

logger = logging.getLogger(__name__)

LARGE_BYTES = 256 * 1024
"""Only queries longer than this, which cannot arrive in one read with another, are worth adding up."""

WEIGHED_BYTES = 16 * 1024
"""After a read of more than this a client's memory is looked at. Many small queries arrive in less."""

PEER_CHECK_MS = 5_000
"""How often a client that is not read from is looked at, in case it has gone."""

STALL_LOOKS = 4
"""How often a client that takes nothing is looked at before it is dropped. Once would not do: it may be this process
that did not get round to writing."""

_HANG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)  # the latter, outside of Linux, is the best there is


@functools.lru_cache(maxsize=1024)
def _context_of(user: str) -> CallContext:
    """The context of a user's queries: one object for all sessions, so that those of a batch are quickly compared."""
    return CallContext(user=user)


class Session(asyncio.Protocol):
    """One logged-in client.

    Reading stops while as many queries are outstanding as are allowed (`_full`) and while the client does not take its
    answers (`_choked`). A client that takes nothing for long is dropped. `outstanding` has the queries that wait for
    their answer, by token, and `repeated` those whose token was in use already (a STOP beside a CONTINUE): each is
    owed an answer of its own. `out` gathers what the next `flush` sends.
    """

    def __init__(
        self, number: int, user: str, max_outstanding: int, limits: Limits, dispatcher: Dispatcher, log: ConnectionLog
    ) -> None:
        self.number = number
        self.outstanding: dict[int, Request] = {}
        self.repeated: list[Request] = []
        self.out: list[bytes] = []
        self._context = _context_of(user)
        self._new_client = ""
        """The client's address, until it has been told to the query service."""
        self._max_outstanding = max_outstanding
        self._limits = limits
        self._dispatcher = dispatcher
        self._metrics = dispatcher.metrics
        self._log = log
        self._traces: ClientTraces | None = None
        self._reader = FrameReader(limits.max_frame_bytes)
        self._transport: asyncio.Transport
        self._has_large = False
        self._full = False
        self._choked = False
        self._written_bytes = 0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._peer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.write_high_water_bytes)
        peer = transport.get_extra_info("peername")
        if peer:
            self._new_client = f"{peer[0]}:{peer[1]}"
        self._dispatcher.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._log.closed(self._transport)

    def data_received(self, data: bytes) -> None:
        self._metrics.received_bytes += len(data)
        frames = self._reader.receive(data, self._room())
        if frames:
            number, context, outstanding = self.number, self._context, self.outstanding
            requests = []
            for token, payload in frames:
                request = Request(number, token, payload, context, client=self._new_client)
                self._new_client = ""
                if token in outstanding:
                    self.repeated.append(request)
                else:
                    outstanding[token] = request
                requests.append(request)
            tracer = tracing.TRACER
            if tracer is not None:
                dispatcher = self._dispatcher
                if dispatcher.recorded is None:
                    dispatcher.recorded = tracer.sampler.records_next()
                if (
                    dispatcher.recorded
                    or DASH in data
                    or DASH in frames[0][1]  # of which there may have been some in what was read before
                    or not data
                    or self._traces is not None
                ):
                    self._begin_traces(tracer, data, requests)
            if len(frames[0][1]) > LARGE_BYTES:  # no other can be: it would not fit into one read
                self._has_large = True
            self._dispatcher.enqueue(requests)
        if len(data) > WEIGHED_BYTES and self._log.holdings.exceeded_by(self):
            self._refuse_more()
        elif self._reader.has_surplus:
            self._full = True
            self._transport.pause_reading()
            if self._peer_timer is None:
                self._watch_peer()
        elif self._reader.rejected is not None:
            rejected = self._reader.rejected
            self._say_farewell(frame(rejected.token, too_long_response(rejected, self._limits.max_frame_bytes)))

    def _refuse_more(self) -> None:
        """End with an error because the clients of the user make the gateway hold too much."""
        self._metrics.dropped += 1
        limit = self._limits.max_user_bytes // MEGABYTE
        text = f"The queries and answers of the user `{self.user}` take too much memory (limit {limit} MB)."
        token, _ = self._reader.unfinished
        self._say_farewell(frame(token, error_response(ErrorKind.RESOURCE_LIMIT, text)))

    def _say_farewell(self, data: bytes) -> None:
        self._leave()
        Farewell.say(self._transport, data, self._log.closed, self._limits.linger_timeout_ms)

    def _begin_traces(self, tracer: Tracer, data: bytes, requests: Sequence[Request]) -> None:
        """Begin the traces of those of the queries that are to have one. `data` is what was read last."""
        recorded, marked = bool(self._dispatcher.recorded), are_marked(data, requests)
        if self._traces is None:
            if not recorded and not marked:
                return
            host, port = self._transport.get_extra_info("peername")[:2]
            self._traces = ClientTraces(f"{host}:{port}")
        self._traces.begin(tracer, requests, recorded, marked)

    def _room(self) -> int:
        """How many more queries may be outstanding."""
        if self._has_large:
            sizes = [len(request.payload) for request in (*self.outstanding.values(), *self.repeated)]
            if sum(sizes) >= self._limits.max_outstanding_bytes:
                return 0
            self._has_large = any(size > LARGE_BYTES for size in sizes)
        return self._max_outstanding - len(self.outstanding) - len(self.repeated)

    def promote_repeated(self, token: int) -> None:
        """Where a token was in use more than once and one query was answered, let the next one be outstanding."""
        for index, request in enumerate(self.repeated):
            if request.token == token:
                self.outstanding[token] = self.repeated.pop(index)
                break

    def flush(self) -> None:
        """Send what `out` has, in one write, and read on if there is room again."""
        if self._traces is not None:
            self._traces.end_answered(self.out, self.outstanding, self.repeated)
            if self._traces.done:
                self._traces = None
        data = b"".join(self.out)
        self.out.clear()
        if data:
            self._written_bytes += len(data)
            self._metrics.sent_bytes += len(data)
            self._transport.write(data)
        if self._choked and self._transport.get_write_buffer_size() > self._limits.max_write_buffer_bytes:
            self._drop("a client that does not take its answers is dropped: too much waits for it")
        elif self._choked and self._log.holdings.exceeded_by(self):
            self._drop("a client that does not take its answers is dropped: too much waits for its user's clients")
        elif self._full and self._room() > 0:
            self._full = False
            self.data_received(b"")
            self._resume_reading()

    @property
    def user(self) -> str:
        """Whose client it is."""
        return self._context.user

    @property
    def held_bytes(self) -> int:
        """How much memory its queries take, and the answers that it has not taken."""
        queries = sum(len(request.payload) for request in (*self.outstanding.values(), *self.repeated))
        return self._reader.unfinished[1] + queries + self._transport.get_write_buffer_size()

    @property
    def owed(self) -> int:
        """How many answers it waits for."""
        return len(self.outstanding) + len(self.repeated)

    def report(self) -> dict[str, Any]:
        """What an operator may want to know of it."""
        peer = self._transport.get_extra_info("peername")
        return {
            "session": self.number,
            "user": self._context.user,
            "client": f"{peer[0]}:{peer[1]}" if peer else "",
            "outstanding": self.owed,
            "unsent_bytes": self._transport.get_write_buffer_size(),
            "reading": self._transport.is_reading(),
        }

    def pause_writing(self) -> None:
        self._choked = True
        self._transport.pause_reading()
        self._watch_for_stall()

    def resume_writing(self) -> None:
        self._choked = False
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._resume_reading()

    def _resume_reading(self) -> None:
        if not (self._full or self._choked or self._transport.is_closing()):
            self._transport.resume_reading()

    def _taken_bytes(self) -> int:
        """How much the client's machine has taken of what was written for it. What this machine's kernel still has to
        send does not count: it may be megabytes, for which a slow client takes a while."""
        return self._written_bytes - self._transport.get_write_buffer_size() - _unacknowledged_bytes(self._transport)

    def _watch_for_stall(self, looks: int = STALL_LOOKS) -> None:
        """Drop the client when so many looks in a row find that it has taken nothing."""
        loop = asyncio.get_running_loop()
        delay = self._limits.stalled_client_timeout_ms / 1000 / STALL_LOOKS
        self._stall_timer = loop.call_later(delay, self._check_for_stall, self._taken_bytes(), looks - 1)

    def _check_for_stall(self, taken_bytes: int, looks: int) -> None:
        if self._taken_bytes() > taken_bytes:
            self._watch_for_stall()
        elif looks:
            self._watch_for_stall(looks)
        else:
            self._drop("a client that does not take its answers is dropped: it took nothing for too long")

    def _watch_peer(self) -> None:
        self._peer_timer = asyncio.get_running_loop().call_later(PEER_CHECK_MS / 1000, self._check_peer)

    def _check_peer(self) -> None:
        """Notice a client that has gone while nothing was read from it, which the event loop does not."""
        self._peer_timer = None
        if self._full:
            if _has_hung_up(self._transport):
                self._transport.abort()
            else:
                self._watch_peer()

    def _drop(self, reason: str) -> None:
        self._metrics.dropped += 1
        logger.warning(reason, extra={"session": self.number, "peer": self._transport.get_extra_info("peername")})
        self._transport.abort()

    def _leave(self) -> None:
        for timer in (self._stall_timer, self._peer_timer):
            if timer is not None:
                timer.cancel()
        if self._traces is not None:
            self._traces.abandon()
        self._dispatcher.remove(self)
        self._log.holdings.forget(self)


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """How much the kernel keeps of what was sent, because the other side has not acknowledged it (tcp(7), SIOCOUTQ)."""
    count = struct.pack("i", 0)
    try:
        (kept,) = struct.unpack("i", fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, count))
    except OSError:  # the connection is gone
        return 0
    return int(kept)


def _has_hung_up(transport: asyncio.Transport) -> bool:
    """Whether the client has closed its end, even if there are bytes of it still to be read."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), _HANG_UP)
    return bool(poll.poll(0))
