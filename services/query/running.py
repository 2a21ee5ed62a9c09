"""Running queries one by one: each in an evaluation of its own, which may wait without holding up the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from photondb.api.query import Answer, Request
from photondb.reql.errors import ClientError, op_failed
from photondb.reql.profile import Profile
from photondb.reql.runtime import Runtime
from photondb.reql.suspend import Evaluation, wait
from photondb.rpc.eager import start_eagerly
from services.query import responses
from services.query.cursors import Cursor
from services.query.failures import as_reql_error
from services.query.feeds import FeedCursor
from services.query.jobs import Job
from services.query.options import RunOptions
from services.query.responses import NO_ANSWER
from services.query.sessions import MAX_CURSORS, Session
from services.query.steps import QuerySteps

if TYPE_CHECKING:
    from services.query.channel import Channel

CONTINUE = "continue"

Execute = Callable[[], tuple[bytes, Cursor | None]]
"""Runs a query (inside an evaluation): gives its response, and the cursor when there is more to come."""


def start_query(
    channel: Channel, request: Request, runtime: Runtime, options: RunOptions, execute: Execute
) -> Answer | None:
    """Run a query up to where it first waits: its answer, or None when that comes later."""
    session = channel.session(request.session)
    token = request.token
    if token in session.cursors or token in session.running:
        error = ClientError(f"ERROR: duplicate token {token}")
        return Answer(request.session, token, responses.failure(error))

    def finish(result: tuple[bytes, Cursor | None]) -> bytes:
        payload, cursor = result
        if cursor is not None:
            if options.noreply or request.session not in channel.sessions or len(session.cursors) >= MAX_CURSORS:
                cursor.close()
                if len(session.cursors) >= MAX_CURSORS:
                    return responses.failure(op_failed(f"A connection may have {MAX_CURSORS} open cursors."))
            else:
                session.cursors[token] = cursor
        return NO_ANSWER if options.noreply else payload

    job = session.jobs[token] = Job(session, request, runtime)
    profile = runtime.profile if options.profile else None
    return _evaluate(channel, session, token, job, finish, execute, noreply=options.noreply, profile=profile)


def continue_query(channel: Channel, request: Request) -> Answer | None:
    """The next batch of a cursor."""
    session = channel.session(request.session)
    token = request.token
    cursor = session.cursors.get(token)
    if cursor is None or token in session.running:
        error = ClientError(f"Token {token} not in stream cache.")
        count(channel, CONTINUE, time.monotonic(), error)
        return Answer(request.session, token, responses.failure(error))
    job = session.jobs[token]
    if job.ended_by is not None:
        count(channel, CONTINUE, time.monotonic(), job.ended_by)
        return Answer(request.session, token, _fail(session, token, job.ended_by))
    job.batch_started = time.monotonic()
    if request.span is not None:
        channel.traces.go_on(request, job.runtime)
    if isinstance(cursor, FeedCursor) and cursor.direct is not None:
        return _continue_feed(channel, session, token, job, cursor)

    def finish(payload: bytes) -> bytes:
        if cursor.ended:
            session.cursors.pop(token, None)
        return payload

    return _evaluate(channel, session, token, job, finish, _later_batch, cursor, job.runtime, is_continuation=True)


def _later_batch(cursor: Cursor, runtime: Runtime) -> bytes:
    """The next batch, for a user who may still read what the query began to read. That is looked at when the batch is
    there: the changes of a feed may be long in coming."""
    batch = cursor.next_response()
    if runtime.permit is not None:
        wait(runtime.permit.renew())
    return batch


def _continue_feed(channel: Channel, session: Session, token: int, job: Job, cursor: FeedCursor) -> Answer | None:
    """The next batch of a feed whose changes go to the client as they are. Most feeds wait most of the time: it takes
    no evaluation, only a task."""
    try:
        started = start_eagerly(cursor.next_changes())
    except Exception as error:
        count(channel, CONTINUE, job.batch_started, error)
        return Answer(session.number, token, _fail(session, token, error))
    if started.task is None:
        count(channel, CONTINUE, job.batch_started)
        return Answer(session.number, token, started.value)

    def told(task: asyncio.Task[bytes]) -> None:
        if session.running.get(token) is not task:  # the query or the session has ended
            cursor.close()
            return
        del session.running[token]
        cancelled = job.ended_by or op_failed("The changefeed was closed.")
        error = cancelled if task.cancelled() else task.exception()
        payload = task.result() if error is None else _fail(session, token, error)
        count(channel, CONTINUE, job.batch_started, error)
        channel.send_later([Answer(session.number, token, payload)])

    session.running[token] = started.task
    started.task.add_done_callback(told)
    return None


def _fail(session: Session, token: int, error: BaseException) -> bytes:
    """End a query and its cursor; gives the response."""
    session.forget(token)
    cursor = session.cursors.pop(token, None)
    if cursor is not None:
        cursor.close()
    return responses.failure(as_reql_error(error))


def _evaluate(
    channel: Channel,
    session: Session,
    token: int,
    job: Job,
    finish: Callable[[Any], bytes],
    function: Callable[..., Any],
    *args: Any,
    is_continuation: bool = False,
    noreply: bool = False,
    profile: Profile | None = None,
) -> Answer | None:
    """Evaluate `function(*args)` and answer with what `finish` makes of its result, at once or later."""
    steps = job.runtime.profile
    if isinstance(steps, QuerySteps):
        evaluation = Evaluation().begin(steps.run, function, *args)
    else:
        evaluation = Evaluation().begin(function, *args)

    def outcome() -> bytes:
        payload = NO_ANSWER
        error: Exception | None = job.ended_by
        if error is None:
            try:
                payload = finish(evaluation.result())
            except Exception as raised:
                error = raised
        if error is not None:
            failure = _fail(session, token, error)
            payload = NO_ANSWER if noreply else failure
        if token not in session.cursors:
            session.forget(token)
        # What cannot be compiled has no family.
        operation = CONTINUE if is_continuation else job.runtime.family or "invalid"
        count(channel, operation, job.batch_started, error)
        if not job.runtime.untimed:
            channel.service.slow_queries.note(channel, job.request, job.batch_started, error)
        if profile is not None and payload:
            return responses.with_profile(payload, profile.datum())
        return payload

    if evaluation.finished:
        return Answer(session.number, token, outcome())

    async def carry_on() -> None:
        try:
            await evaluation.complete()
        except asyncio.CancelledError:
            if job.ended_by is None:
                raise  # the session ended
        except Exception:  # `outcome` reports it
            pass
        if session.running.get(token) is task:
            del session.running[token]
            channel.send_later([Answer(session.number, token, outcome())])

    task = start_eagerly(carry_on()).task  # so that it may be cancelled from now on
    assert task is not None
    session.running[token] = task
    if noreply:
        session.noreply.add(task)
        task.add_done_callback(session.noreply.discard)
    return None


def count(channel: Channel, operation: str, started: float, error: BaseException | None = None) -> None:
    """Count a request that is answered now."""
    requests = channel.service.metrics.requests
    requests.observe(operation, time.monotonic() - started)
    if error is not None:
        requests.fail(operation, error)


def stop_query(channel: Channel, request: Request) -> Answer:
    """End a query. A batch of it that is being fetched is answered as the empty end of the sequence, too."""
    session = channel.session(request.session)
    task = session.running.pop(request.token, None)
    cursor = session.cursors.pop(request.token, None)
    session.forget(request.token)
    if task is not None:
        task.cancel()
        channel.send_later([Answer(request.session, request.token, responses.END_OF_SEQUENCE)])
    if cursor is not None and task is None:
        cursor.close()
    return Answer(request.session, request.token, responses.END_OF_SEQUENCE)


def noreply_wait(channel: Channel, request: Request) -> Answer | None:
    """Answer when all noreply queries that came before have been carried out."""
    session = channel.session(request.session)
    answer = Answer(request.session, request.token, responses.WAIT_COMPLETE)
    pending = [task for task in session.noreply if not task.done()]
    started = time.monotonic()
    if not pending:
        count(channel, "noreply_wait", started)
        return answer

    async def wait_for_all() -> None:
        await asyncio.gather(*pending, return_exceptions=True)
        count(channel, "noreply_wait", started)
        channel.send_later([answer])

    channel.service.keep(asyncio.get_running_loop().create_task(wait_for_all()))
    return None
