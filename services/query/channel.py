"""A gateway's channel: batches of queries come in, answers go out as they are ready.

What arrived together is looked at together (`batch.py`), and a batch never waits for its slowest query: what is not
ready at once goes to the gateway's sink later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from photondb.api.query import UNKNOWN_ENTRANCE, Answer, AnswerSink, Entrance, Request
from photondb.rpc.eager import start_eagerly
from photondb.telemetry import tracing
from services.query.batch import Batch
from services.query.batch_reads import answer_reads
from services.query.batch_writes import start_writes
from services.query.sessions import Session
from services.query.traces import ChannelTraces

if TYPE_CHECKING:
    from services.query.service import Query

TURN_S = 0.002
"""How long queries are started for in one turn of the loop. Then the answers that there are leave, and what has arrived
meanwhile is looked at."""

Start = Callable[[], Answer | None]
"""Starts a query; gives its answer, or None when that comes later."""


class Channel:
    """One gateway's channel (QueryChannel)."""

    def __init__(self, service: Query, sink: AnswerSink, entrance: Entrance = UNKNOWN_ENTRANCE) -> None:
        self.service = service
        self.sink = sink
        self.entrance = entrance
        """Where its gateway's clients come in."""
        self.sessions: dict[int, Session] = {}
        self.closed = False
        self._end = asyncio.Event()
        self._ready: list[Answer] = []
        self._delivering = False
        self.traces = ChannelTraces()
        self.backlog: deque[tuple[Request, Start]] = deque()
        """What has been taken in and waits for its turn, in order."""

    async def submit(self, requests: Sequence[Request]) -> list[Answer]:
        """Take the queries and return the answers that are ready at once."""
        batch = Batch(self)
        tracer = tracing.TRACER
        if tracer is None:
            for request in requests:
                batch.take(request)
        else:
            for request in requests:
                if request.span is not None:
                    batch.take_traced(request, tracer)
                else:
                    batch.take(request)
        batch.count_computed()
        start_writes(batch)
        await answer_reads(batch)
        if batch.others:
            idle = not self.backlog
            self.backlog.extend(batch.others)
            # What may take long must not hold up the reads that are answered already.
            if idle and not batch.answers:
                self._run_some(batch.answers)
            if idle and self.backlog:
                asyncio.get_running_loop().call_soon(self._run_later)
        if self.traces:
            self.traces.end(batch.answers)
        return batch.answers

    def _run_some(self, answers: list[Answer]) -> None:
        """Start what waits, and add the answers that are ready at once, as long as a turn lasts."""
        backlog = self.backlog
        turn_ends = perf_counter() + TURN_S
        while backlog:
            answer = backlog.popleft()[1]()
            if answer is not None:
                answers.append(answer)
            if perf_counter() > turn_ends:
                break

    def _run_later(self) -> None:
        answers: list[Answer] = []
        self._run_some(answers)
        if answers:
            self.send_later(answers)
        if self.backlog:
            asyncio.get_running_loop().call_soon(self._run_later)

    def start_later(self, others: Sequence[tuple[Request, Start]]) -> None:
        """Start queries that were taken in before, when it is their turn."""
        if others and not self.closed:
            idle = not self.backlog
            self.backlog.extend(others)
            if idle:
                asyncio.get_running_loop().call_soon(self._run_later)

    async def wait_closed(self) -> None:
        """Return when the channel was closed."""
        await self._end.wait()

    async def close(self) -> None:
        """End all sessions."""
        self.closed = True
        self.backlog.clear()
        self._end.set()
        for session in self.sessions.values():
            session.end()
        self.sessions.clear()
        self.service.channels.discard(self)

    def __del__(self) -> None:
        if not self.closed:
            for session in self.sessions.values():
                session.end()

    def session(self, number: int) -> Session:
        """The session of that number."""
        session = self.sessions.get(number)
        if session is None:
            session = self.sessions[number] = Session(number)
        return session

    def end_session(self, number: int) -> None:
        """A client connection is gone."""
        if self.backlog:
            kept = [waiting for waiting in self.backlog if waiting[0].session != number]
            self.backlog.clear()
            self.backlog.extend(kept)
        session = self.sessions.pop(number, None)
        if session is not None:
            session.end()
        if self.traces:
            self.traces.abandon(number)

    # --- answers that were not ready at once

    @property
    def unsent(self) -> int:
        """How many answers wait to be given to the sink."""
        return len(self._ready)

    def send_later(self, answers: Sequence[Answer]) -> None:
        """Give answers to the sink, together with whatever else becomes ready in this turn of the loop."""
        if self.traces:
            self.traces.end(answers)
        self._ready.extend(answers)
        if not self._delivering and not self.closed:
            self._delivering = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        task = start_eagerly(self._deliver_all()).task
        if task is not None:
            self.service.keep(task)

    async def _deliver_all(self) -> None:
        try:
            while self._ready and not self.closed:
                answers, self._ready = self._ready, []
                await self.sink.deliver(answers)
        finally:
            self._delivering = False
