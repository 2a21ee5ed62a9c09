"""The point reads of a batch: one multi-get for all of them, or one for each storage node."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from photondb.api.context import INTERNAL, CallContext
from photondb.api.query import Answer
from photondb.api.storage import TableGone
from photondb.datum.json import dumps
from photondb.reql.errors import ReqlError
from photondb.reql.function import Frame
from photondb.reql.runtime import Runtime
from photondb.rpc.eager import start_eagerly
from services.query import responses
from services.query.by_node import NODE_WAIT_S, Traced, by_goal
from services.query.execution import execute
from services.query.failures import internal_error
from services.query.metrics import QueryMetrics
from services.query.plans import Plan
from services.query.responses import NO_ANSWER

if TYPE_CHECKING:
    from services.query.batch import Batch, Other, PointRead

Get: TypeAlias = Callable[[CallContext, Sequence[tuple[int, bytes]]], Awaitable[list[bytes | None]]]


async def answer_reads(batch: Batch) -> None:
    """One multi-get for all point reads, and their answers: one for each storage node where there are several. Who
    waits for a node that takes long is answered later."""
    if not batch.reads:
        return
    router = batch.service.router
    if router is None:
        get: Get = batch.service.storage.get
        batch.answers += await _read(batch, get, batch.reads, batch.read_keys, batch.traced_reads, batch.others)
        return
    nodes = [router.node_of_key(table, key) for table, key in batch.read_keys]
    groups = by_goal(nodes, batch.reads, batch.read_keys, batch.traced_reads)
    if len(groups) == 1:
        get = functools.partial(router.get_from, nodes[0])
        batch.answers += await _read(batch, get, batch.reads, batch.read_keys, batch.traced_reads, batch.others)
        return
    others: list[list[Other]] = [[] for _ in groups]
    started = [
        start_eagerly(_read(batch, functools.partial(router.get_from, node), reads, keys, traced, of_node))
        for (node, reads, keys, traced), of_node in zip(groups, others, strict=True)
    ]
    waiting = [eager.task for eager in started if eager.task is not None]
    if waiting:
        await asyncio.wait(waiting, timeout=NODE_WAIT_S)
    for eager, of_node in zip(started, others, strict=True):
        if eager.task is None or eager.task.done():
            batch.answers += eager.value
            batch.others += of_node
        else:
            batch.service.keep(eager.task)
            eager.task.add_done_callback(functools.partial(_read_late, batch, of_node))


def _read_late(batch: Batch, others: Sequence[Other], task: asyncio.Task[list[Answer]]) -> None:
    """The reads of a node that took long are done; those of them that are to be run by themselves are started."""
    if task.cancelled():
        return
    batch.channel.send_later(task.result())
    batch.channel.start_later(others)


async def _read(
    batch: Batch,
    get: Get,
    reads: Sequence[PointRead],
    keys: Sequence[tuple[int, bytes]],
    traced: Traced,
    others: list[Other],
) -> list[Answer]:
    """The answers to some reads, from the documents that `get` gives. Those of tables that are not there go to
    `others`: the evaluator says so."""
    spans = batch.begin_traced(reads, traced)
    context = INTERNAL if spans is None else INTERNAL.traced(spans.names)
    try:
        found = await get(context, keys)
    except TableGone:
        await batch.service.refresh_catalogue()
        if spans is not None:
            for position, span in zip(traced, spans.one_by_one(), strict=True):
                batch.channel.traces.expect_answer(reads[position][0], span)
        for request, plan, frame, options in reads:
            runtime: Runtime = frame[0]
            others.append(batch.evaluation(request, runtime, options, functools.partial(execute, plan, frame, options)))
        return []
    except ReqlError as error:
        batch.count("point_read", len(reads))
        batch.metrics.requests.fail("point_read", error, len(reads))
        payload = responses.failure(error)
        if spans is not None:
            spans.end([payload] * len(traced))
        return [Answer(entry[0].session, entry[0].token, payload) for entry in reads]
    answers: list[Answer] = []
    append = answers.append
    for (request, plan, frame, options), raw in zip(reads, found, strict=True):
        if options.noreply:
            payload = NO_ANSWER
        elif plan.read.then is None:  # type: ignore[union-attr]
            payload = responses.raw_atom(raw)
        else:
            payload = _result(batch.metrics, plan, frame, raw)
        append(Answer(request.session, request.token, payload))
    if spans is not None:
        spans.end([answers[position].payload for position in traced])
    batch.count("point_read", len(reads))
    batch.note_slow(reads)
    batch.metrics.batch_reads.observe(len(reads))
    return answers


def _result(metrics: QueryMetrics, plan: Plan, frame: Frame, raw: bytes | None) -> bytes:
    read = plan.read
    assert read is not None
    try:
        if raw is not None and read.raw is not None:
            result = read.raw(frame, raw)
            if result is not None:
                return responses.raw_atom(result)
        return b'{"t":1,"r":[' + dumps(responses.result_datum(read.value(frame, raw))) + b"]}"
    except Exception as error:
        failure = error if isinstance(error, ReqlError) else internal_error(error)
        metrics.requests.fail("point_read", failure)
        return responses.failure(failure)
