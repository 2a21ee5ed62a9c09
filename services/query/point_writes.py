"""Writes of single documents on their way to storage: what comes while a call is under way goes together into the next.

A call costs as much as several writes, and at the node a commit, so calls should grow with the load. A write for which
nobody is on the way yet waits for nothing. Each storage node has calls of its own, so that nobody waits for another
node than his, and so have hard and soft writes, of which the latter need not wait for a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from photondb.api.context import INTERNAL, CallContext, SpanNames
from photondb.api.storage import Write, WriteSummary
from photondb.reql.errors import ReqlError
from photondb.rpc.eager import start_eagerly
from photondb.telemetry.histogram import Histogram
from services.query.failures import internal_error

ENOUGH_WRITES = 64
"""So many writes do not wait for the call under way: they are a commit of their own."""

ENOUGH_BYTES = 1 << 20
"""Nor do writes whose queries are so long together."""

Outcomes = Sequence[WriteSummary | Exception]

CarryOut = Callable[[CallContext, Sequence[Write]], Awaitable[Outcomes]]
"""`StorageApi.write`, or something like it."""


class Group(NamedTuple):
    """Writes that arrived together. `size` is that of their queries in bytes; `spans` are those of the traced ones, to
    which the statements refer by number; `done` takes what became of them."""

    statements: Sequence[Write]
    size: int
    spans: SpanNames
    done: Callable[[Outcomes], None]


class PointWrites:
    """The writes for one storage node, as durable as each other, which `carry_out` calls. `keep` holds on to tasks,
    `sizes` counts how many go together."""

    def __init__(self, carry_out: CarryOut, keep: Callable[[asyncio.Task[Any]], None], sizes: Histogram) -> None:
        self._carry_out = carry_out
        self._keep = keep
        self._sizes = sizes
        self._waiting: list[Group] = []
        self._writes = self._bytes = self._under_way = 0

    def add(self, group: Group, at_once: bool) -> None:
        """Carry out writes; `at_once` with those that wait, whatever is under way."""
        self._waiting.append(group)
        self._writes += len(group.statements)
        self._bytes += group.size
        if at_once or not self._under_way or self._writes >= ENOUGH_WRITES or self._bytes >= ENOUGH_BYTES:
            self._call()

    def _call(self) -> None:
        groups, self._waiting = self._waiting, []
        self._sizes.observe(self._writes)
        self._writes = self._bytes = 0
        task = start_eagerly(self._make_call(groups)).task
        if task is not None:
            self._under_way += 1
            self._keep(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way -= 1
        if self._waiting and not task.cancelled():
            self._call()

    async def _make_call(self, groups: Sequence[Group]) -> None:
        statements, spans = _joined(groups)
        context = INTERNAL.traced(spans) if spans else INTERNAL
        try:
            outcomes: Outcomes = await self._carry_out(context, statements)
        except ReqlError as error:
            outcomes = [error] * len(statements)
        except Exception as error:
            outcomes = [internal_error(error)] * len(statements)
        first = 0
        for group in groups:
            end = first + len(group.statements)
            group.done(outcomes[first:end])
            first = end


def _joined(groups: Sequence[Group]) -> tuple[Sequence[Write], SpanNames]:
    """The statements of all, with their traces numbered as they are among the spans of all."""
    if len(groups) == 1:
        return groups[0].statements, groups[0].spans
    statements: list[Write] = []
    spans: SpanNames = ()
    for group in groups:
        if spans and group.spans:
            for write in group.statements:
                if write.trace is not None:
                    write.trace += len(spans)
        spans += group.spans
        statements += group.statements
    return statements, spans
