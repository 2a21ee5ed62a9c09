"""A query service over real storage, reached as a gateway in the same process reaches it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from photondb.api.context import INTERNAL
from photondb.api.query import Answer, Request
from photondb.bus import LocalBus
from services.query.channel import Channel
from services.query.service import Query
from services.storage.service import Storage
from tests.reql.evaluate import wire_term


class Client:
    """One client connection of a gateway. `ask` sends a frame and waits for its answer."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.channel: Channel
        self.answers: list[Answer] = []
        self._arrived = asyncio.Event()

    async def deliver(self, answers: Sequence[Answer]) -> None:
        self.answers.extend(answers)
        self._arrived.set()

    async def submit(self, *frames: tuple[int, Any], session: int = 1) -> list[Answer]:
        """Send (token, envelope or raw payload) pairs as one batch; gives what is answered at once."""
        requests = [
            Request(session, token, frame if isinstance(frame, bytes) else json.dumps(frame).encode(), INTERNAL)
            for token, frame in frames
        ]
        return await self.channel.submit(requests)

    async def ask(self, token: int, frame: Any) -> dict[str, Any]:
        """Send one frame; gives its answer, whenever it comes."""
        answers = await self.submit((token, frame))
        while not answers:
            self._arrived.clear()
            answers = [answer for answer in self.answers if answer.token == token]
            if not answers:
                await asyncio.wait_for(self._arrived.wait(), 120)
        self.answers = [answer for answer in self.answers if answer.token != token]
        (answer,) = answers
        return json.loads(answer.payload) if answer.payload else {}

    async def run(self, query: Any, token: int = 1000, **options: Any) -> dict[str, Any]:
        """Run a driver term; gives the response."""
        return await self.ask(token, [1, wire_term(query), options])

    async def end_session(self, session: int = 1) -> None:
        """Tell that the connection is gone."""
        await self.channel.submit([Request(session, 0, b"", INTERNAL, "end_session")])


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A connection to a query service with an empty database."""
    bus = LocalBus()
    storage = Storage(tmp_path / "data", bus)
    await storage.start()
    query = Query(storage, bus)
    await query.start()
    connected = Client(query)
    connected.channel = await query.open(INTERNAL, connected)
    yield connected
    await query.stop()
    await storage.stop()
    await bus.close()
