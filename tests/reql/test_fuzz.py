"""Whatever a client sends, it gets an answer, and that is no fault of ours."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from photondb.api.context import INTERNAL
from photondb.api.query import Answer, QueryChannel, Request
from photondb.api.storage import StorageApi
from photondb.bus import LocalBus
from photondb.reql.errors import ErrorKind
from photondb.rpc.loop import run
from photondb.rpc.storage import StorageStub
from photondb.rpc.storage_servant import storage_servant
from services.auth.service import Auth
from services.query.limits import QueryLimits
from services.query.service import Query
from services.storage.service import Storage
from tests.examples import examples
from tests.reql.wire_terms import TABLE, broken_terms, junk, options, terms
from tests.rpc.probe import served

EXAMPLES = examples(400)
ANSWER_SECONDS = 120
"""A query has half a second; what has no answer after this time hangs."""

FUZZ = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


class Target:
    """A query service over a table of a few documents, in a thread of its own. Storage is the object itself, or behind
    its stub, so that all that is pushed down crosses the wire."""

    def __init__(self, data_dir: Path, remote: bool, time_s: float) -> None:
        self._data_dir = data_dir
        self._limits = QueryLimits(time_s=time_s, memory_bytes=500_000_000)
        self._remote = remote
        self._token = 0
        self._waiting: asyncio.Future[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._done: asyncio.Event
        self._channel: QueryChannel
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: run(self._serve()))
        self._thread.start()
        self._ready.wait()
        self.prepare()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            bus = LocalBus()
            stack.push_async_callback(bus.close)
            storage = await self.open_storage(stack, bus)
            auth = Auth(storage)
            await auth.start()
            stack.push_async_callback(auth.stop)
            self.query = Query(storage, bus, auth, limits=self._limits)
            await self.query.start()
            stack.push_async_callback(self.query.stop)
            self._channel = await self.query.open(INTERNAL, self)
            self._ready.set()
            await self._done.wait()

    async def open_storage(self, stack: contextlib.AsyncExitStack, bus: LocalBus) -> StorageApi:
        """Start storage, until the stack is left, and give what query is to ask."""
        storage = self.storage_service = Storage(self._data_dir, bus)
        await storage.start()
        stack.push_async_callback(storage.stop)
        if not self._remote:
            return storage
        address = f"unix:{self._data_dir.parent}/storage"
        await stack.enter_async_context(served(storage_servant(storage), address))
        stub = StorageStub(address)
        stack.push_async_callback(stub.close)
        return stub

    def stop(self) -> None:
        """End the services."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def deliver(self, answers: Sequence[Answer]) -> None:
        """Take the answer (AnswerSink)."""
        for answer in answers:
            if answer.token == self._token and self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(answer.payload)

    def ask(self, *envelope: Any) -> dict[str, Any]:
        """The response to a query, or the third batch of it."""
        self._token += 1
        response = self._send(list(envelope))
        for _ in range(2):
            if response.get("t") != 3:
                return response
            response = self._send([2])
        self._send([3])
        return response

    def ask_for_all(self, *envelope: Any) -> dict[str, Any]:
        """The response to a query that ends, with the rows of all its batches: where the machine has a lot to do, few
        rows may come in several."""
        self._token += 1
        response = self._send(list(envelope))
        rows = response.get("r")
        while response.get("t") == 3:
            response = self._send([2])
            if response.get("t") not in (2, 3):
                return response
            rows = [*rows, *response["r"]]
        return {**response, "r": rows}

    def _send(self, envelope: list[Any]) -> dict[str, Any]:
        return asyncio.run_coroutine_threadsafe(self._answer(envelope), self._loop).result()

    async def _answer(self, envelope: list[Any]) -> dict[str, Any]:
        self._waiting = self._loop.create_future()
        payload = json.dumps(envelope).encode("utf-8", "surrogatepass")
        await self.deliver(await self._channel.submit([Request(1, self._token, payload, INTERNAL)]))
        answer = await asyncio.wait_for(self._waiting, ANSWER_SECONDS)
        response: dict[str, Any] = json.loads(answer) if answer else {"t": 0}
        return response

    def prepare(self) -> None:
        """Make the table anew, with an index of each kind."""
        self.ask(1, [60, ["t"]])
        self.ask(1, [54, [TABLE]])
        rows = [{"id": number, "a": number % 3, "g": "xy"[number % 2], "n": number} for number in range(8)]
        self.ask(1, [56, [TABLE, [2, rows]]])
        self.ask(1, [75, [TABLE, "n"]])
        self.ask(1, [75, [TABLE, "multi"], {"multi": True}])
        self.ask(1, [75, [TABLE, "where"], {"geo": True}])
        self.ask(1, [140, [TABLE]])


@pytest.fixture(scope="module", params=[False, True], ids=["storage", "stub"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("fuzz") / "data", request.param, time_s=0.5)
    yield running
    running.stop()


def check(target: Target, term: Any, run_options: dict[str, Any]) -> None:
    """Ask, and see that the answer is a result, or an error of the query."""
    response = target.ask(1, copy.deepcopy(term), run_options)
    assert response["t"] in (0, 1, 2, 3, 16, 17, 18)
    if response["t"] == 18:
        assert response["e"] != ErrorKind.INTERNAL, response
        assert "Internal error" not in response["r"][0]
    if target.ask(1, [43, [TABLE]]).get("r") != [8]:
        target.prepare()


@FUZZ
@given(terms(), options)
def test_every_term_is_answered(target: Target, term: Any, run_options: dict[str, Any]) -> None:
    check(target, term, run_options)


@FUZZ
@given(broken_terms(), options)
def test_broken_terms_are_answered(target: Target, term: Any, run_options: dict[str, Any]) -> None:
    check(target, term, run_options)


@FUZZ
@given(junk, options)
@example([], {})
@example([[]], {})
@example([1, [], {}, 4], {})
@example({"$reql_type$": "TIME"}, {})
def test_junk_is_answered(target: Target, term: Any, run_options: dict[str, Any]) -> None:
    check(target, term, run_options)
