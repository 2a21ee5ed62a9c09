"""Writes of single documents wait for nothing, but for each other while a call is under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.context import INTERNAL, CallContext
from photondb.api.query import Request
from photondb.api.storage import Write, WriteSummary
from photondb.reql.errors import op_failed
from photondb.telemetry import catalogue
from photondb.telemetry.histogram import Histogram
from services.query.point_writes import ENOUGH_BYTES, ENOUGH_WRITES, Group, PointWrites
from tests.query.conftest import Client


class Node:
    """The calls that arrive, each of which is answered when `answer` says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[CallContext, Sequence[Write], asyncio.Future[None]]] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.answers: list[tuple[str, list[Any]]] = []
        self.writes = PointWrites(self._carry_out, self.tasks.add, Histogram(catalogue.QUERY_WRITE_BATCH))

    async def _carry_out(self, context: CallContext, writes: Sequence[Write]) -> Sequence[WriteSummary | Exception]:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls.append((context, writes, answered))
        await answered
        return [WriteSummary(replaced=write.table) for write in writes]

    def add(self, name: str, *tables: int, size: int = 1, at_once: bool = False, spans: int = 0) -> None:
        statements = [Write(table, "update", trace=n if n < spans else None) for n, table in enumerate(tables)]
        of_name = name.encode().rjust(8)
        names = tuple([(bytes([n]) * 16, of_name) for n in range(spans)])
        done = lambda found: self.answers.append((name, [getattr(one, "replaced", str(one)) for one in found]))  # noqa: E731
        self.writes.add(Group(statements, size, names, done), at_once)

    @property
    def asked(self) -> list[list[int]]:
        return [[write.table for write in writes] for _, writes, _ in self.calls]

    async def answer(self, number: int) -> None:
        self.calls[number][2].set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)


async def test_what_comes_while_a_call_is_under_way_goes_together() -> None:
    node = Node()
    node.add("a", 1, 2)
    assert node.asked == [[1, 2]]
    node.add("b", 3)
    node.add("c", 4, 5)
    assert len(node.calls) == 1
    await node.answer(0)
    assert node.answers == [("a", [1, 2])]
    assert node.asked == [[1, 2], [3, 4, 5]]
    await node.answer(1)
    assert node.answers == [("a", [1, 2]), ("b", [3]), ("c", [4, 5])]
    node.add("d", 6)
    assert node.asked[2:] == [[6]]


@pytest.mark.parametrize(
    ("tables", "how"), [([7] * ENOUGH_WRITES, {}), ([7], {"size": ENOUGH_BYTES}), ([7], {"at_once": True})]
)
async def test_what_is_enough_or_urgent_does_not_wait(tables: list[int], how: dict[str, Any]) -> None:
    node = Node()
    node.add("a", 1)
    node.add("b", 2)
    node.add("c", *tables, **how)
    assert node.asked == [[1], [2, *tables]]


async def test_an_error_is_everybodys() -> None:
    async def refuse(context: CallContext, writes: Sequence[Write]) -> Sequence[WriteSummary | Exception]:
        await asyncio.sleep(0)
        raise op_failed("No.")

    node = Node()
    node.writes = PointWrites(refuse, node.tasks.add, Histogram(catalogue.QUERY_WRITE_BATCH))
    node.add("a", 1)
    node.add("b", 2, 3)
    await asyncio.gather(*node.tasks)
    while len(node.answers) < 2:
        await asyncio.sleep(0)
    assert node.answers == [("a", ["No."]), ("b", ["No.", "No."])]


async def test_traces_are_numbered_as_they_are_in_the_call() -> None:
    node = Node()
    node.add("first", 1)
    node.add("none", 1)
    node.add("two", 1, 2, 3, spans=2)
    node.add("one", 4, 5, spans=1)
    await node.answer(0)
    context, writes, _ = node.calls[1]
    assert [write.trace for write in writes] == [None, 0, 1, None, 2, None]
    assert [span[1].strip() for span in context.spans] == [b"two", b"two", b"one"]


async def test_a_client_that_leaves_takes_nobodys_answer_along(client: Client) -> None:
    """A write without an answer, of a client that leaves at once, travels with that of another one."""
    await client.run(r.table_create("users"))
    update: list[Any] = [53, [[16, [[15, ["users"]], 1]], {"a": 1}]]
    insert: list[Any] = [56, [[15, ["users"]], {"id": 2}]]
    for frame in ([1, insert], [1, update]):  # so that there are plans
        await client.ask(1, frame)
    requests = [
        Request(session, token, json.dumps(frame).encode(), INTERNAL)
        for session, token, frame in ((8, 5, [1, insert, {"noreply": True}]), (1, 7, [1, update]))
    ]
    answers = await client.channel.submit(requests)
    await client.end_session(8)
    async with asyncio.timeout(60):
        while not any(answer.token == 7 for answer in (*answers, *client.answers)):
            await asyncio.sleep(0.001)
