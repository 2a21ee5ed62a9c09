"""What the query services of a suite know of each other: their queries, so that the system table `jobs` shows all of
them, whichever one a client is connected to, and can end each; and who of them knows a change of the catalogue, so that
a client that has been told of it finds it at all of them.

They meet on the bus. Who starts says so, and whoever hears of one that it did not know answers in kind. Who is asked
for its queries and does not answer in time is forgotten until it says something again. Where there is one query
service only, nothing is ever asked.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from photondb.bus import Bus, BusMessage, Subscription
from services.query.jobs import Job

HERE = "photondb.query.here"
"""Says who is there: an id."""

GONE = "photondb.query.gone"
"""Says who leaves: an id."""

ASK = "photondb.query.ask"
"""Asks everybody for their queries."""

KNOW = "photondb.query.know"
"""Asks everybody to know the catalogue of a version."""

TOLD = "photondb.query.told.{id}"
"""The answers to one who asked."""

END = "photondb.query.end"
"""Ends the query with the id in the payload, wherever it is worked on."""

ANSWER_TIMEOUT_S = 0.5


class _Question(msgspec.Struct):
    asker: str
    number: int
    version: int = 0


class _Told(msgspec.Struct):
    id: str
    user: str
    client: str
    query: str
    duration_s: float


class _Answer(msgspec.Struct):
    teller: str
    number: int
    queries: list[_Told]


_encode = msgspec.json.Encoder().encode
_decode_question = msgspec.json.Decoder(_Question).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class PeerQuery:
    """A query that another query service works on."""

    def __init__(self, told: _Told, interrupt: Callable[[str], None]) -> None:
        self.id = told.id
        self.user = told.user
        self.client = told.client
        self.query = told.query
        self.started = time.monotonic() - told.duration_s
        self._interrupt = interrupt

    def interrupt(self) -> None:
        """End it."""
        self._interrupt(self.id)


class Peers:
    """The other query services on a bus. `own` gives this one's queries, `know` makes it know the catalogue of a
    version, and `in_background` carries out what the bus cannot wait for."""

    def __init__(
        self,
        bus: Bus,
        own: Callable[[], Sequence[Job]],
        know: Callable[[int], Coroutine[Any, Any, None]],
        in_background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._bus = bus
        self._own = own
        self._know = know
        self._in_background = in_background
        self._id = uuid.uuid4().hex
        self._known: set[str] = set()
        self._number = 0
        self._questions: dict[int, _Asked] = {}
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Meet the others."""
        for subject, handler in (
            (HERE, self._met),
            (GONE, self._left),
            (ASK, self._asked),
            (KNOW, self._asked_to_know),
            (TOLD.format(id=self._id), self._told),
            (END, self._end),
        ):
            self._subscriptions.append(await self._bus.subscribe(subject, handler))
        self._bus.on_gap(self._say_here)
        self._say_here()

    async def stop(self) -> None:
        """Take leave."""
        self._bus.publish_nowait(GONE, self._id.encode())
        for subscription in self._subscriptions:
            await subscription.close()
        self._subscriptions.clear()

    async def queries(self) -> list[PeerQuery]:
        """What the others are working on: of those who answer within ANSWER_TIMEOUT_S."""
        return [PeerQuery(told, self._interrupt) for told in await self._ask(ASK)]

    async def tell_catalogue(self, version: int) -> None:
        """Return when the others know the catalogue of that version, or do not say so within ANSWER_TIMEOUT_S."""
        await self._ask(KNOW, version)

    async def _ask(self, subject: str, version: int = 0) -> list[_Told]:
        if not self._known:
            return []
        self._number += 1
        number = self._number
        asked = self._questions[number] = _Asked(set(self._known))
        self._bus.publish_nowait(subject, _encode(_Question(self._id, number, version)))
        timer = asyncio.get_running_loop().call_later(ANSWER_TIMEOUT_S, asked.done.set)
        try:
            await asked.done.wait()
        finally:
            timer.cancel()
            del self._questions[number]
        self._known -= asked.missing
        return asked.queries

    def _interrupt(self, id: str) -> None:
        self._bus.publish_nowait(END, id.encode())

    def _say_here(self) -> None:
        self._bus.publish_nowait(HERE, self._id.encode())

    def _met(self, message: BusMessage) -> None:
        peer = message.payload.decode()
        if peer != self._id and peer not in self._known:
            self._known.add(peer)
            self._say_here()

    def _left(self, message: BusMessage) -> None:
        self._known.discard(message.payload.decode())

    def _asked(self, message: BusMessage) -> None:
        question = _decode_question(message.payload)
        if question.asker == self._id:
            return
        self._known.add(question.asker)
        now = time.monotonic()
        queries = [_Told(job.id, job.user, job.client, job.query, now - job.started) for job in self._own()]
        self._answer(question, queries)

    def _asked_to_know(self, message: BusMessage) -> None:
        question = _decode_question(message.payload)
        if question.asker != self._id:
            self._known.add(question.asker)
            self._in_background(self._know_and_answer(question))

    async def _know_and_answer(self, question: _Question) -> None:
        try:
            await self._know(question.version)
        finally:
            self._answer(question, [])  # who asked need not wait for what has failed

    def _answer(self, question: _Question, queries: list[_Told]) -> None:
        answer = _Answer(self._id, question.number, queries)
        self._bus.publish_nowait(TOLD.format(id=question.asker), _encode(answer))

    def _told(self, message: BusMessage) -> None:
        answer = _decode_answer(message.payload)
        self._known.add(answer.teller)
        asked = self._questions.get(answer.number)
        if asked is not None:
            asked.add(answer)

    def _end(self, message: BusMessage) -> None:
        id = message.payload.decode()
        for job in self._own():
            if job.id == id:
                job.interrupt()


class _Asked:
    """A question under way, and what came in answer."""

    def __init__(self, missing: set[str]) -> None:
        self.missing = missing
        self.queries: list[_Told] = []
        self.done = asyncio.Event()
        """Is set when all have answered, or it has taken too long."""

    def add(self, answer: _Answer) -> None:
        self.queries += answer.queries
        self.missing.discard(answer.teller)
        if not self.missing:
            self.done.set()
