"""The point writes of a batch: storage is told of them together, and their clients when they are durable."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from photondb.api.query import Answer
from photondb.api.storage import TableGone, WriteSummary
from photondb.reql.errors import ReqlError, op_failed
from photondb.reql.write_summary import summary_json
from services.query import responses
from services.query.by_node import Traced, by_goal
from services.query.failures import internal_error
from services.query.point_writes import Group, Outcomes
from services.query.responses import NO_ANSWER
from services.query.traces import PointTraces

if TYPE_CHECKING:
    from services.query.batch import Batch, PointWrite
    from services.query.channel import Channel


def start_writes(batch: Batch) -> None:
    """Have all point writes carried out; they are answered when they are durable."""
    if not batch.writes:
        return
    router = batch.service.router
    goals = [
        (
            0 if router is None else router.node_of_write(statement),
            (statement.durability or info.durability) == "hard",
        )
        for statement, (_, _, info, _, _) in zip(batch.write_statements, batch.writes, strict=True)
    ]
    for goal, writes, statements, traced in by_goal(goals, batch.writes, batch.write_statements, batch.traced_writes):
        spans = batch.begin_traced(writes, traced)
        if spans is not None:
            for number, position in enumerate(traced):
                statements[position].trace = number
        unanswered = [request.session for request, _, _, options, _ in writes if options.noreply]
        waits = [_expect_noreply(batch.channel, session) for session in unanswered]
        done = functools.partial(_written, batch, writes, traced, spans, waits)
        size = sum([len(request.payload) for request, *_ in writes])
        group = Group(statements, size, () if spans is None else spans.names, done)
        # Clients expect to read what they have written without waiting for an answer.
        batch.service.point_writes(goal).add(group, at_once=bool(waits))


def _expect_noreply(channel: Channel, number: int) -> asyncio.Future[None]:
    """What a session's NOREPLY_WAIT waits for."""
    session = channel.session(number)
    written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    session.noreply.add(written)
    written.add_done_callback(session.noreply.discard)
    return written


def _written(
    batch: Batch,
    writes: Sequence[PointWrite],
    traced: Traced,
    spans: PointTraces | None,
    waits: Sequence[asyncio.Future[None]],
    outcomes: Outcomes,
) -> None:
    """Answer writes that were carried out."""
    batch.count("point_write", len(writes))
    batch.note_slow(writes)
    for outcome in outcomes:
        if not isinstance(outcome, WriteSummary):
            batch.metrics.requests.fail("point_write", outcome)
    answers = []
    for (request, _, info, options, keys), outcome in zip(writes, outcomes, strict=True):
        if options.noreply:
            payload = NO_ANSWER
        elif isinstance(outcome, WriteSummary):
            if keys:
                outcome.generated_keys = list(keys)
            payload = responses.raw_atom(summary_json(outcome))
        elif isinstance(outcome, TableGone):
            payload = responses.failure(op_failed(f"Table `{info.database}.{info.name}` does not exist."))
        else:
            payload = responses.failure(outcome if isinstance(outcome, ReqlError) else internal_error(outcome))
        answers.append(Answer(request.session, request.token, payload))
    if spans is not None:
        spans.end([answers[position].payload for position in traced])
        for position in traced:
            answers[position].span = writes[position][0].span
    batch.channel.send_later(answers)
    for written in waits:
        if not written.done():
            written.set_result(None)
