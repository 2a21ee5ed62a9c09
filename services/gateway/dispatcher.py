"""The way of queries from the client connections to `query` and of answers back, in batches.

Whatever arrives in one turn of the event loop, over all connections, is submitted together, and all answers for one
client go out in one write. Where `query` and storage are in this process, a batch is answered before `submit` returns;
where one of them is not, at most two batches are under way, and what arrives meanwhile makes the next one: so the
batches grow with the load, and a single query waits for nothing.

When the channel to `query` is lost, the queries that were submitted over it and not answered get an error, because
nobody knows what became of them: OP_INDETERMINATE, which tells the client so. Those that did not get through wait for
a new channel, for at most `query_outage_ms`, and then get OP_FAILED: they had no effect. Cursors do not survive:
their next CONTINUE is answered with an error by `query`.

`query` owes each request one answer. That of a noreply query has an empty payload: it only says that the query is
done, and the client never sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from photondb.api.context import INTERNAL, CallContext
from photondb.api.query import UNKNOWN_ENTRANCE, Answer, Entrance, QueryApi, QueryChannel, Request
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc.backoff import Backoff
from photondb.rpc.eager import start_eagerly
from photondb.rpc.errors import ServiceUnavailable
from services.gateway.busy_polling import BusyPolling
from services.gateway.limits import Limits
from services.gateway.metrics import QUERY, GatewayMetrics
from services.gateway.protocol import HEADER, error_response, is_noreply

if TYPE_CHECKING:
    from services.gateway.session import Session

logger = logging.getLogger(__name__)

MAX_SUBMITS = 2
"""Batches under way at a time over a channel that does not answer at once."""

FIRST_DELAY_MS = 20
LONGEST_DELAY_MS = 1_000
"""Between attempts to reach a lost `query` service."""

OPEN_TIMEOUT_MS = 1_000
"""For one attempt."""

RETRY_MS = 1_000
"""After which the end of a session is told to `query` again, where that failed."""

_pack_header = HEADER.pack


class Dispatcher:
    """Some sessions' connection to `query`."""

    def __init__(self, query: QueryApi, limits: Limits, metrics: GatewayMetrics, polling: BusyPolling) -> None:
        self.metrics = metrics
        self.recorded: bool | None = None
        """Whether the queries of the batch that gathers are traced, those of all clients: None until the first one of
        them has the sampler decide."""
        self._query = query
        self._limits = limits
        self._polling = polling
        self._sessions: dict[int, Session] = {}
        self._batch: list[Request] = []
        self._returned = 0  # how many at the front of the batch were submitted to a channel that was lost already
        self._scheduled = False
        self._since = 0.0  # when the first query of the batch came
        self._submitted_since = 0.0  # the same for the last batch that was submitted
        self._channel: QueryChannel | None = None
        self._sink: _Sink | None = None
        self._submits: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._drained: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop
        self._entrance: Entrance

    async def start(self, entrance: Entrance = UNKNOWN_ENTRANCE) -> None:
        """Begin to open the channel, which is told where clients come in. Queries may come before it is open."""
        self._entrance = entrance
        self._loop = asyncio.get_running_loop()
        self._opening = self._loop.create_task(self._open())

    async def drain(self, timeout_ms: int) -> None:
        """Return when no client waits for an answer any more, or after `timeout_ms`."""
        if self.owes_answers:
            self._drained = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), timeout_ms / 1000)

    async def stop(self) -> None:
        """End the channel, and with it all sessions."""
        tasks = [task for task in (self._opening, self._watching, *self._submits) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        channel, self._channel = self._channel, None
        if channel is not None:
            try:
                await channel.close()
            except ReqlError:
                logger.debug("the channel to the query service was gone when it was to be closed")

    async def check(self) -> None:
        """Raise an exception if `query` does not answer."""
        channel = self._channel
        if channel is None:
            raise ServiceUnavailable("The query service cannot be reached.")
        try:
            await channel.submit([])
        except ServiceUnavailable as error:
            self._lose(channel, error)
            raise

    def add(self, session: Session) -> None:
        """Expect queries from a session."""
        self._sessions[session.number] = session

    def remove(self, session: Session) -> None:
        """Forget a session, and let `query` free what it holds for it. Removing twice is allowed."""
        if self._sessions.pop(session.number, None) is not None:
            self.enqueue([Request(session.number, 0, b"", INTERNAL, "end_session")])
            self._note_drained()

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    @property
    def is_open(self) -> bool:
        """Whether the channel stands."""
        return self._channel is not None

    @property
    def clients(self) -> list[Session]:
        """The sessions themselves."""
        return list(self._sessions.values())

    @property
    def queued(self) -> int:
        """How many queries wait to be submitted."""
        return len(self._batch)

    @property
    def owes_answers(self) -> bool:
        """Whether any client waits for an answer."""
        return any(session.outstanding for session in self._sessions.values())

    def enqueue(self, requests: Sequence[Request]) -> None:
        """Submit the requests with everything else of this turn of the loop."""
        if not self._batch:
            self._since = perf_counter()
            self._polling.asked(self._since)
        self._batch += requests
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def deliver_later(self, answers: Sequence[Answer]) -> None:
        """Send answers that were not ready at once."""
        answered: list[Request] = []
        self.deliver(answers, answered)
        if len(answers) == 1:
            self._polling.answered()
        self.metrics.answered_later(answered, self._submitted_since)

    def deliver(self, answers: Sequence[Answer], answered: list[Request] | None = None) -> None:
        """Send the answers to their clients. Those that nobody waits for are dropped; the queries of the others are
        added to `answered`, where that is given."""
        sessions = self._sessions
        touched: list[Session] = []
        for answer in answers:
            session = sessions.get(answer.session)
            if session is None:
                continue
            token = answer.token
            request = session.outstanding.pop(token, None)
            if request is None:
                continue
            if answered is not None:
                answered.append(request)
            if session.repeated:
                session.promote_repeated(token)
            out = session.out
            if not out:
                touched.append(session)
            payload = answer.payload
            out.append(_pack_header(token, len(payload)) if payload else b"")
            out.append(payload)
        for session in touched:
            session.flush()
        if self._drained is not None:
            self._note_drained()

    def _note_drained(self) -> None:
        if self._drained is not None and not self.owes_answers:
            self._drained.set()

    def _turn(self) -> None:
        self._scheduled = False
        channel = self._channel
        if channel is None or not self._batch or len(self._submits) >= MAX_SUBMITS:
            return  # the channel's opening, or the end of a submit, begins the next turn
        batch, self._batch = self._batch, []
        self.recorded = None
        self.metrics.batch_queries.observe(len(batch))
        self._submitted_since = since = self._since
        submit = start_eagerly(self._submit(channel, batch, since)).task
        if submit is not None:
            self._submits.add(submit)
            submit.add_done_callback(self._submitted)

    async def _submit(self, channel: QueryChannel, batch: list[Request], since: float) -> None:
        """Submit a batch, whose first query came at that reading of `perf_counter`."""
        try:
            answers = await channel.submit(batch)
        except ServiceUnavailable as error:
            if error.kind is ErrorKind.OP_FAILED:  # the batch did not get through
                self._batch[self._returned : self._returned] = batch
                self._returned += len(batch)
            self._lose(channel, error)
        except ReqlError as error:  # refused as a whole
            self._fail(batch, error.kind, error.message)
        except Exception:
            logger.exception("the query service failed on a batch")
            self._fail(batch, ErrorKind.INTERNAL, "Internal error in the query service.")
        else:
            if channel is self._channel:
                if answers:
                    self.deliver(answers)
                    if len(batch) == 1:
                        self._polling.answered()
                    self.metrics.requests.observe(QUERY, perf_counter() - since, len(answers))
                if len(answers) < len(batch):
                    for request in batch:
                        request.arrived = since

    def _submitted(self, submit: asyncio.Task[None]) -> None:
        self._submits.discard(submit)
        if not self._scheduled:
            self._turn()

    def _fail(self, requests: Sequence[Request], kind: ErrorKind, text: str) -> None:
        """Answer the requests with an error. That sessions have ended, which has no answer, is told again later."""
        ended = [request for request in requests if request.kind == "end_session"]
        if ended:
            self._loop.call_later(RETRY_MS / 1000, self.enqueue, ended)
        self.metrics.requests.fail(QUERY, kind, len(requests) - len(ended))
        payload = error_response(kind, text)
        self.deliver_later(
            [
                Answer(request.session, request.token, b"" if is_noreply(request.payload) else payload)
                for request in requests
                if request.kind == "query"
            ]
        )

    def _lose(self, channel: QueryChannel, error: ServiceUnavailable) -> None:
        """The channel is no more: answer what was submitted over it, and open another."""
        if channel is not self._channel:
            return
        if self._watching is not None and self._watching is not asyncio.current_task():
            self._watching.cancel()
        self.metrics.channel_losses += 1
        logger.warning("the query service was lost", extra={"reason": error.message})
        assert self._sink is not None
        self._sink.close()
        self._channel = None
        self._opening = self._loop.create_task(self._open())
        unsent = {id(request) for request in self._batch}
        self._fail(
            [
                request
                for session in self._sessions.values()
                for request in (*session.outstanding.values(), *session.repeated)
                if id(request) not in unsent
            ],
            ErrorKind.OP_INDETERMINATE,
            "The query service was lost while it carried out this query. Whether it took effect is not known. "
            "Look before you repeat it, unless repeating does no harm.",
        )

    async def _open(self) -> None:
        """Open a channel, however long it takes, and submit what has gathered meanwhile."""
        backoff = Backoff(FIRST_DELAY_MS, LONGEST_DELAY_MS)
        outage_ends = self._loop.time() + self._limits.query_outage_ms / 1000
        while True:
            sink = _Sink(self)
            try:
                attempt = CallContext(deadline=time.monotonic() + OPEN_TIMEOUT_MS / 1000)
                channel = await self._query.open(attempt, sink, self._entrance)
                break
            except ReqlError as error:
                logger.debug("the query service cannot be reached", extra={"reason": error.message})
            except Exception:
                logger.exception("the query service cannot be opened")
            if self._loop.time() >= outage_ends:
                failed, self._batch, self._returned = self._batch, [], 0
                self._fail(
                    failed,
                    ErrorKind.OP_FAILED,
                    "The query service cannot be reached. This query had no effect: try it again.",
                )
            await asyncio.sleep(backoff.next_delay_ms() / 1000)
        self._channel, self._sink = channel, sink
        self._watching = self._loop.create_task(self._watch(channel))
        # The new channel knows none of the sessions that have ended by now.
        self._batch = [request for request in self._batch if request.session in self._sessions]
        self._returned = 0
        self._turn()

    async def _watch(self, channel: QueryChannel) -> None:
        """Notice the loss of a channel over which nothing is submitted just then."""
        try:
            await channel.wait_closed()
        except ServiceUnavailable as error:
            if self._submits:  # which find out by themselves, and know whether their queries can be submitted again
                await asyncio.wait(set(self._submits))
            self._lose(channel, error)


class _Sink:
    """Where one channel's later answers arrive."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher: Dispatcher | None = dispatcher

    async def deliver(self, answers: Sequence[Answer]) -> None:
        if self._dispatcher is not None:
            self._dispatcher.deliver_later(answers)

    def close(self) -> None:
        """Drop what still comes: the queries have had their answers."""
        self._dispatcher = None
