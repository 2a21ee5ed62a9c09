"""A database in this process: real storage, accounts and query service, without a socket between them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rethinkdb import r
from rethinkdb.ast import ReQLEncoder

from photondb.api.context import CallContext
from photondb.api.query import Answer, Request
from photondb.bus import LocalBus
from photondb.reql.errors import ClientError, CompileError, ErrorKind, ReqlError, ResponseType
from services.auth.service import Auth
from services.query.channel import Channel
from services.query.service import Query
from services.storage.service import Storage


class RunningDatabase:
    """A database with its data in `data_dir`, which runs in a `with` statement. Results are JSON: pseudo types stay
    objects."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._loop = asyncio.new_event_loop()
        self._channels: dict[str, Channel] = {}
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._tokens = 0

    def __enter__(self) -> RunningDatabase:
        self._loop.run_until_complete(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    def run(self, query: Any, user: str = "admin", **options: Any) -> Any:
        """The result of a driver term; all rows of a sequence. Raises the ReqlError that the answer is."""
        return self._loop.run_until_complete(self._run(query, user, options))

    def clear(self) -> None:
        """Drop everything, and make the database `test` again."""
        names = r.db_list().set_difference(["rethinkdb"])
        self.run(names.for_each(lambda name: r.db_drop(name)))
        self.run(r.db_create("test"))

    def collect_statistics(self) -> None:
        """Bring what the planner knows of tables up to date."""
        self._loop.run_until_complete(self.storage.collect_statistics())
        self.query.statistics.forget()

    async def _start(self) -> None:
        bus = LocalBus()
        self.storage = Storage(self._data_dir, bus)
        await self.storage.start()
        self._auth = Auth(self.storage)
        await self._auth.start()
        self.query = Query(self.storage, bus, self._auth)
        await self.query.start()

    async def _stop(self) -> None:
        await self.query.stop()
        await self._auth.stop()
        await self.storage.stop()

    async def _run(self, query: Any, user: str, options: dict[str, Any]) -> Any:
        self._tokens += 1
        term = json.loads(ReQLEncoder().encode(query))
        answer = await self._ask(user, self._tokens, [1, term, json.loads(ReQLEncoder().encode(options))])
        rows = answer["r"]
        while answer["t"] == ResponseType.SUCCESS_PARTIAL:
            answer = await self._ask(user, self._tokens, [2])
            rows += answer["r"]
        if answer["t"] == ResponseType.SUCCESS_ATOM:
            return rows[0]
        if answer["t"] == ResponseType.SUCCESS_SEQUENCE:
            return rows
        raise _error(answer)

    async def _ask(self, user: str, token: int, envelope: list[Any]) -> dict[str, Any]:
        context = CallContext(user=user)
        if user not in self._channels:
            self._channels[user] = await self.query.open(context, self)
        waiting = self._answers[token] = self._loop.create_future()
        request = Request(1, token, json.dumps(envelope).encode(), context)
        await self.deliver(await self._channels[user].submit([request]))
        answer: dict[str, Any] = json.loads(await waiting)
        return answer

    async def deliver(self, answers: Sequence[Answer]) -> None:
        """Take answers from the query service (AnswerSink)."""
        for answer in answers:
            self._answers.pop(answer.token).set_result(answer.payload)


def _error(answer: dict[str, Any]) -> ReqlError:
    message, frames = answer["r"][0], tuple(answer["b"])
    if answer["t"] == ResponseType.CLIENT_ERROR:
        return ClientError(message)
    if answer["t"] == ResponseType.COMPILE_ERROR:
        return CompileError(message, frames)
    return ReqlError(ErrorKind(answer["e"]), message, frames)
